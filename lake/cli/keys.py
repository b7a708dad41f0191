"""``lake keys``: what operators do with keys. The options stand here, what is done in keys_run.py."""

from __future__ import annotations

import argparse
from typing import Any

from lake.cli import arguments as args
from lake.cli import keys_run as run


def register(subparsers: Any) -> None:
    """Add the commands."""
    commands = args.group(subparsers, "keys", "look after keys: rotate, suspend, shred, back up, verify")
    _register_status(commands)
    _register_rotation(commands)
    _register_states(commands)
    _register_shredding(commands)
    _register_checks(commands)
    _register_backups(commands)


def _register_status(commands: Any) -> None:
    status = args.command(
        commands, "status", "show versions, states, ages, what is overdue, and whether the provider answers",
        "lake keys status --lake ./mylake",
    )  # fmt: skip
    for name, days in (("roots", 365), ("buckets", 365), ("backup", 7)):
        status.add_argument(
            f"--{name}-days", type=int, default=days, metavar="N", help=f"overdue after N days (default: {days})"
        )
    status.add_argument("--check", action="store_true", help="exit with 1 if something is overdue")
    status.set_defaults(run=run.status)
    resume = args.command(
        commands, "resume", "finish the operation that a crash or an outage has cut off", "lake keys resume"
    )
    resume.set_defaults(run=run.resume)


def _register_rotation(commands: Any) -> None:
    rotation = args.group(commands, "rotate", "new versions of keys; what is below is wrapped again")
    root = args.command(rotation, "root", "new versions of roots", "lake keys rotate root --all")
    root.add_argument("--level", type=int, action="append", choices=(1, 2, 3, 4), help="the root of this sensitivity")
    root.add_argument("--control", action="store_true", help="the root of the control secrets")
    root.add_argument("--all", action="store_true", help="every root")
    root.add_argument(
        "--trim", metavar="DIR", help="destroy the old versions too, after a backup to DIR was opened; needs --yes"
    )
    root.add_argument("--yes", action="store_true", help="do it; with --trim nothing is changed without")
    _dry_run(root)
    root.set_defaults(run=run.rotate_root)
    bucket = args.command(
        rotation, "bucket", "new bucket keys; their KEKs are wrapped again", "lake keys rotate bucket --level 4"
    )
    _scope(bucket, months=False)
    bucket.add_argument("--bucket", type=int, action="append", metavar="N", help="a bucket, 0 to 255")
    bucket.add_argument("--all", action="store_true", help="every bucket key")
    _dry_run(bucket)
    bucket.set_defaults(run=run.rotate_bucket)
    kek = args.command(
        rotation, "kek", "new KEKs; the DEKs of their files are wrapped again", "lake keys rotate kek --month 2026-03"
    )
    _scope(kek)
    kek.add_argument("--all", action="store_true", help="every KEK")
    kek.add_argument(
        "--compromised",
        action="store_true",
        help="the old ones open for rekey only: run it next",
    )
    _dry_run(kek)
    kek.set_defaults(run=run.rotate_kek)


def _register_states(commands: Any) -> None:
    for name, summary in (
        ("disable", "suspend keys: nothing below opens until they are enabled again"),
        ("enable", "let suspended keys open again"),
    ):
        parser = args.command(commands, name, summary, f"lake keys {name} --employee E100001")
        _scope(parser)
        parser.add_argument("--whole-level", action="store_true", help="with --level: everything of that sensitivity")
        _dry_run(parser)
        parser.set_defaults(run=run.change_state, disabled=name == "disable")


def _register_shredding(commands: Any) -> None:
    shred = args.command(
        commands,
        "shred",
        "destroy every key of employees for good; shows the plan, and acts with --yes",
        "lake keys shred --employee E100001 --backup /backup/keys --certificate shred.note --yes",
    )
    shred.add_argument("--employee", action="append", required=True, metavar="ID", help="whose keys; may be repeated")
    shred.add_argument("--backup", required=True, metavar="DIR", help="where the backup goes that must open first")
    shred.add_argument("--certificate", metavar="FILE", help="write the signed certificate here")
    shred.add_argument(
        "--copies-kept",
        type=int,
        metavar="DAYS",
        help="for how long snapshots of the key service and copies of its disk are kept: the certificate's horizon"
        " (default: snapshots_kept of the provider file)",
    )
    shred.add_argument("--yes", action="store_true", help="do it; without it nothing is changed")
    _dry_run(shred)
    shred.set_defaults(run=run.shred)
    verify = args.command(
        commands,
        "verify-shred",
        "search key store, backups and provider for a way to keys of erased employees; exit code 4 if there is one",
        "lake keys verify-shred --backup /backup/keys",
    )
    verify.add_argument(
        "--backup", action="append", default=[], metavar="DIR", help="search this folder too; may be repeated"
    )
    verify.set_defaults(run=run.verify_shred)
    check = args.command(
        commands,
        "verify-certificate",
        "check a shred certificate; needs no key",
        "lake keys verify-certificate shred.note --verifier-key KEY",
    )
    check.add_argument("file", metavar="FILE")
    check.add_argument("--verifier-key", metavar="KEY", help="public key of the lake's log (default: of --lake)")
    check.set_defaults(run=run.verify_certificate)


def _register_checks(commands: Any) -> None:
    verify = args.command(
        commands, "verify", "open every wrap under its parent, and keep none", "lake keys verify --deks"
    )
    verify.add_argument("--deks", action="store_true", help="the wrap of every file's DEK too")
    verify.set_defaults(run=run.verify)


def _register_backups(commands: Any) -> None:
    backup = args.command(
        commands, "backup", "back up the key store and open what is new in it", "lake keys backup --to /backup/keys"
    )
    backup.add_argument("--to", required=True, metavar="DIR", help="folder of backups; unchanged parts are kept once")
    backup.set_defaults(run=run.backup)
    test = args.command(commands, "restore-test", "open every wrap of a backup", "lake keys restore-test /backup/keys")
    test.add_argument("place", metavar="DIR")
    test.add_argument("--id", metavar="ID", help="which backup (default: the newest)")
    test.set_defaults(run=run.restore_test)
    restore = args.command(
        commands,
        "restore",
        "make a key store of a backup in a new folder; needs the lake's folder, no key",
        "lake keys restore /backup/keys --to ./restored-keys",
    )
    restore.add_argument("place", metavar="DIR")
    restore.add_argument("--to", required=True, metavar="FOLDER", help="a folder that does not exist")
    restore.add_argument("--id", metavar="ID", help="which backup (default: the newest)")
    restore.set_defaults(run=run.restore)
    move = args.command(
        commands,
        "move",
        "put the top of the key hierarchy under another provider; touches no data",
        "lake keys move --to bao.yaml --yes",
    )
    move.add_argument("--to", required=True, metavar="FILE", help="provider file of the new provider, or local")
    move.add_argument("--yes", action="store_true", help="do it; without it nothing is changed")
    _dry_run(move)
    move.set_defaults(run=run.move)


def _scope(parser: argparse.ArgumentParser, *, months: bool = True) -> None:
    parser.add_argument("--employee", action="append", metavar="ID", help="keys of this employee; may be repeated")
    parser.add_argument("--level", type=int, action="append", choices=(1, 2, 3, 4), help="keys of this sensitivity")
    if months:
        parser.add_argument("--month", action="append", metavar="YYYY-MM", help="keys of this month; may be repeated")


def _dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say how much it would be, and change nothing")
