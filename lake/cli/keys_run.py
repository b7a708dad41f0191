"""What the commands of ``lake keys`` do; keys.py declares them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.cli import arguments as args
from lake.cli.output import emit, private_file, progress, table
from lake.errors import UsageError

if TYPE_CHECKING:
    from lake.gateway.keykeeping import KeyKeeping
    from lake.gateway.keyplans import KeyScope

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
BUCKETS = 256


def scope_of(arguments: argparse.Namespace) -> KeyScope:
    """The scope that the options name.

    Raises:
        UsageError: a month is none.
    """
    from lake.gateway.keyplans import KeyScope

    months = getattr(arguments, "month", None)
    if months and not all(MONTH.fullmatch(month) for month in months):
        raise UsageError("--month takes a month such as 2026-03")
    buckets = getattr(arguments, "bucket", None)
    if buckets and not all(0 <= bucket < BUCKETS for bucket in buckets):
        raise UsageError("--bucket takes a number from 0 to 255")

    def some(values: Iterable[Any] | None) -> frozenset[Any] | None:
        return frozenset(values) if values else None

    return KeyScope(some(arguments.employee), some(arguments.level), some(months), some(buckets))


def needs_scope(arguments: argparse.Namespace, scope: KeyScope) -> None:
    named = any((scope.employees, scope.sensitivities, scope.months, scope.buckets))
    if named == bool(getattr(arguments, "all", False)):
        raise UsageError("say which keys", hint="name some with --employee, --level and so on, or give --all")


@contextmanager
def keeping(
    arguments: argparse.Namespace, label: str = "keys", total: Callable[[KeyKeeping], int] | None = None
) -> Iterator[KeyKeeping]:
    """The lake's keys, opened by its operator; ``total`` says how much there is to do, for the progress bar."""
    from lake.gateway.keykeeping import KeyKeeping

    with args.open_lake(arguments) as lake:
        count = None if total is None else total(KeyKeeping(lake.home, lake.actor))
        with progress(label, count) as advance:
            yield KeyKeeping(lake.home, lake.actor, advance)


def status(arguments: argparse.Namespace) -> int:
    with keeping(arguments) as keys:
        document = keys.status(roots=arguments.roots_days, buckets=arguments.buckets_days, backup=arguments.backup_days)
    levels = [
        {
            "level": level["sensitivity"],
            "bucket keys": sum(level["bucket_keys"].values()),
            "states": ", ".join(f"{n:,} {state}" for state, n in sorted(level["bucket_keys"].items())),
            "oldest days": level["oldest_bucket_days"],
            "KEKs": sum(level["keks"].values()),
            "KEK states": ", ".join(f"{n:,} {state}" for state, n in sorted(level["keks"].items())),
        }
        for level in document["levels"]
    ]
    health = [
        {"key": entry["key"], "answers": "yes" if entry["answers"] else entry["error"], "ms": entry.get("ms", "")}
        | {"versions": ", ".join(f"{n} {state}" for n, state in entry.get("versions", {}).items())}
        for entry in document["health"]
    ]
    people = document["employees"]
    lines = [
        f"provider {document['provider']}, key epoch {document['key_epoch']}",
        table(health),
        "",
        table(levels),
        "",
        f"employees: {people['living']:,} living, {people['erased']:,} erased, {people['disabled']:,} disabled",
        "overdue:" if document["overdue"] else "nothing is overdue",
        *(f"  {line}" for line in document["overdue"]),
    ]
    emit(document, "\n".join(lines), as_json=arguments.json)
    return 1 if arguments.check and document["overdue"] else 0


def resume(arguments: argparse.Namespace) -> int:
    with keeping(arguments) as keys:
        operation = keys.resume()
        certificate = keys.certificate(operation) if operation is not None and operation.verb == "shred" else None
    if operation is None:
        emit({"resumed": None}, "there is nothing to finish", as_json=arguments.json)
        return 0
    document = {"resumed": operation.id, "verb": operation.verb} | ({"certificate": certificate} if certificate else {})
    text = f"{operation.verb} {operation.id} is finished" + (f"\n\n{certificate}" if certificate else "")
    emit(document, text, as_json=arguments.json)
    return 0


def rotate_root(arguments: argparse.Namespace) -> int:
    from lake.gateway.keyplans import every_root, roots_of

    names = roots_of(arguments.level or (), control=arguments.control)
    if bool(names) == arguments.all:
        raise UsageError("say which roots", hint="--level N, --control or --all")
    names = every_root() if arguments.all else names
    if arguments.dry_run or (arguments.trim and not arguments.yes):
        text = f"would make new versions of {', '.join(names)}"
        trimmed = "; the old ones would be destroyed; --yes does it" if arguments.trim else ""
        emit({"roots": names, "changed": False}, text + trimmed, as_json=arguments.json)
        return 0
    with keeping(arguments) as keys:
        operation = keys.rotate_roots(names, Path(arguments.trim) if arguments.trim else None)
    versions = {name: new for name, (_, new) in operation.detail["roots"].items()}
    document = {"operation": operation.id, "roots": versions, "changed": True, "trimmed": bool(arguments.trim)}
    text = "\n".join(f"{name} is at version {version}" for name, version in versions.items())
    emit(document, text, as_json=arguments.json)
    return 0


def rotate_bucket(arguments: argparse.Namespace) -> int:
    scope = scope_of(arguments)
    needs_scope(arguments, scope)
    with keeping(arguments, "KEKs", lambda keys: keys.count_in(keys.places(scope))) as keys:
        places = keys.places(scope)
        if arguments.dry_run or not places:
            count = keys.count_in(places)
            document = {"bucket_keys": len(places), "keks": count, "changed": False}
            emit(document, f"{len(places):,} bucket keys with {count:,} KEKs", as_json=arguments.json)
            return 0
        operation = keys.rotate_buckets(places)
    swept = operation.detail["keks"]
    made = {"operation": operation.id, "bucket_keys": len(places), "keks": swept, "changed": True}
    text = f"{len(places):,} bucket keys have new versions; {swept:,} KEKs were wrapped again"
    emit(made, text, as_json=arguments.json)
    return 0


def rotate_kek(arguments: argparse.Namespace) -> int:
    scope = scope_of(arguments)
    needs_scope(arguments, scope)
    with keeping(arguments, "files", lambda keys: keys.count_files(scope)) as keys:
        if arguments.dry_run:
            count = keys.count_keks(scope)
            emit({"keks": count, "changed": False}, f"{count:,} KEKs", as_json=arguments.json)
            return 0
        operation = keys.rotate_keks(scope, compromised=arguments.compromised)
    counts = {name: operation.detail[name] for name in ("keks", "deks", "disabled")}
    text = "{keks:,} KEKs have new versions; {deks:,} DEKs were wrapped again".format(**counts)
    text += "; {disabled:,} KEKs are disabled and stay as they are".format(**counts) if counts["disabled"] else ""
    emit({"operation": operation.id, **counts, "changed": True}, text, as_json=arguments.json)
    return 0


def change_state(arguments: argparse.Namespace) -> int:
    scope = scope_of(arguments)
    if arguments.whole_level and (not scope.sensitivities or scope.employees or scope.months):
        raise UsageError("--whole-level goes with --level alone")
    if not any((scope.employees, scope.sensitivities, scope.months)):
        raise UsageError("say which keys", hint="--employee, --level, --month")
    with keeping(arguments) as keys:
        if arguments.dry_run:
            counts = keys.plan_state(scope, whole_level=arguments.whole_level)
            text = ", ".join(f"{count:,} {name}" for name, count in counts.items())
            emit({**counts, "changed": False}, f"{text}; nothing was changed", as_json=arguments.json)
            return 0
        changed = keys.change_state(scope, disabled=arguments.disabled, whole_level=arguments.whole_level)
    verb = "disabled" if arguments.disabled else "enabled"
    text = f"{verb}: " + ", ".join(f"{count:,} {name}" for name, count in changed.items())
    emit({"verb": verb, **changed}, text, as_json=arguments.json)
    return 0


def shred(arguments: argparse.Namespace) -> int:
    if arguments.copies_kept is not None and arguments.copies_kept < 0:
        raise UsageError("--copies-kept takes a number of days from 0 on")
    with keeping(arguments, "KEKs", lambda keys: keys.plan_shred(arguments.employee)["survivors"]) as keys:
        plan = keys.plan_shred(arguments.employee)
        if arguments.dry_run or not arguments.yes:
            text = (
                f"{plan['employees']:,} employees, {plan['keks']:,} KEKs and {plan['bucket_keys']:,} bucket keys"
                f" would be destroyed; {plan['survivors']:,} KEKs of others would be wrapped again;"
                f" {plan['rows']:,} rows in {plan['files']:,} files would be unreadable for good."
                " Nothing was changed; --yes does it"
            )
            emit({**plan, "changed": False}, text, as_json=arguments.json)
            return 0
        kept = arguments.copies_kept
        operation, certificate = keys.shred(arguments.employee, Path(arguments.backup), copies_kept=kept)
    if arguments.certificate:
        with private_file(Path(arguments.certificate)) as file:
            file.write(certificate.encode())
    document = {**plan, "changed": True, "operation": operation.id, "certificate": certificate}
    text = f"{plan['keks']:,} KEKs are destroyed" + (
        f"; certificate in {arguments.certificate}" if arguments.certificate else f"\n\n{certificate}"
    )
    emit(document, text, as_json=arguments.json)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    with keeping(arguments, "wraps", lambda keys: keys.count_wraps(deks=arguments.deks)) as keys:
        counts = keys.verify() | (keys.verify_deks() if arguments.deks else {})
    text = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    emit(counts, f"every wrap opens: {text}", as_json=arguments.json)
    return 0


def verify_shred(arguments: argparse.Namespace) -> int:
    with keeping(arguments) as keys:
        found = keys.verify_shred([Path(place) for place in arguments.backup])
    paths = [{"key": path.kek_id, "in": path.artefact, "opened by": path.via} for path in found.paths]
    document = {
        "employees": found.subjects,
        "keks": found.keks,
        "searched": list(found.artefacts),
        "wraps_tried": found.wraps_tried,
        "not_searched": list(found.unreadable),
        "paths": paths,
    }
    lines = [
        f"{found.keks:,} KEKs of {found.subjects:,} erased employees, {len(found.artefacts):,} places searched",
        f"{found.wraps_tried:,} wraps tried",
        *(f"could not be searched: {place}" for place in found.unreadable),
        f"{len(paths)} ways to a key that should be gone" if paths else "no way to any of them was found",
        *([table(paths)] if paths else []),
    ]
    emit(document, "\n".join(lines), as_json=arguments.json)
    return 0 if found.clean else 4


def verify_certificate(arguments: argparse.Namespace) -> int:
    from lake.gateway.config import read_config
    from lake.gateway.keykeeping import read_certificate

    key = arguments.verifier_key or read_config(args.lake_path(arguments)).audit_key
    data = read_certificate(args.read_text(arguments.file), key)
    after = data["horizon"]["after"] or "a day that nobody has stated (snapshots of the key service)"
    text = (
        f"signed by {data['lake']}: {len(data['keks']):,} KEKs of {len(data['subjects']):,} employees destroyed,"
        f" {data['old_wraps_refused']:,} old wraps refused; nothing brings them back after {after}"
    )
    emit(data, text, as_json=arguments.json)
    return 0


def backup(arguments: argparse.Namespace) -> int:
    with keeping(arguments) as keys:
        backup_id, opened = keys.backup(Path(arguments.to))
    text = f"backup {backup_id}; opened: " + ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in opened.items())
    emit({"backup": backup_id, "opened": opened}, text, as_json=arguments.json)
    return 0


def restore_test(arguments: argparse.Namespace) -> int:
    with keeping(arguments, "parts") as keys:
        backup_id, opened = keys.restore_test(Path(arguments.place), arguments.id)
    text = f"backup {backup_id} opens: " + ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in opened.items())
    emit({"backup": backup_id, "opened": opened}, text, as_json=arguments.json)
    return 0


def restore(arguments: argparse.Namespace) -> int:
    from lake.gateway.keyrestore import restore_keys

    backup_id, rows = restore_keys(args.lake_path(arguments), Path(arguments.place), Path(arguments.to), arguments.id)
    text = f"backup {backup_id} restored to {arguments.to}, {rows:,} rows; see the runbook for what comes next"
    emit({"backup": backup_id, "rows": rows, "folder": arguments.to}, text, as_json=arguments.json)
    return 0


def move(arguments: argparse.Namespace) -> int:
    from lake.gateway.key_services import open_target

    if arguments.dry_run or not arguments.yes:
        text = f"would move the keys to {arguments.to}; nothing was changed, --yes does it"
        emit({"changed": False}, text, as_json=arguments.json)
        return 0
    with keeping(arguments) as keys:
        target = open_target(arguments.to, keys.folder, keys.lake, args.secrets(arguments))
        try:
            operation = keys.move(target)
        finally:
            target.close()
    counts = operation.detail["counts"]
    text = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    emit({"operation": operation.id, "changed": True, **counts}, f"moved: {text}", as_json=arguments.json)
    return 0
