"""``lake store``: what administrators do with the object store's server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lake.cli import arguments as args
from lake.cli.output import emit, say, table
from lake.errors import UsageError


def register(subparsers: args.Subparsers) -> None:
    """Add the commands."""
    commands = args.group(subparsers, "store", "look after the object store's server")
    provision = args.command(
        commands,
        "provision",
        "bucket, lifecycle rules, users and policies of a MinIO server; shows the plan, and acts with --apply",
        "lake store provision --store s3://telemetry/lake --endpoint http://127.0.0.1:9000",
    )
    provision.add_argument("--store", required=True, metavar="URL", help="s3://BUCKET/PREFIX")
    provision.add_argument("--endpoint", required=True, metavar="URL", help="http://HOST:PORT or https://HOST:PORT")
    provision.add_argument("--region", default="us-east-1", metavar="NAME", help="region (default: us-east-1)")
    provision.add_argument("--versioning", action="store_true", help="keep what was overwritten or deleted for a while")
    provision.add_argument(
        "--noncurrent-days", type=_days, default=30, metavar="N", help="how long, with --versioning (default: 30)"
    )
    provision.add_argument(
        "--abort-days", type=_days, default=1, metavar="N", help="remove unfinished uploads after N days (default: 1)"
    )
    provision.add_argument(
        "--admin",
        metavar="FILE",
        help="credentials of the administrator, in AWS's format (default: MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, or"
        " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE)",
    )
    provision.add_argument("--credentials", metavar="DIR", help="where the secrets of new users are written")
    provision.add_argument(
        "--renew",
        action="append",
        default=[],
        choices=("ingest", "reader", "jobs"),
        help="give this user a new secret; may be repeated",
    )
    provision.add_argument("--apply", action="store_true", help="do it; without it nothing is changed")
    provision.set_defaults(run=_provision)


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 36_500:
        raise ValueError
    return days


def _provision(arguments: argparse.Namespace) -> int:
    try:
        from lake.sealed.objects import provision
        from lake.sealed.objects.provision_server import Server, administrator
    except ImportError:
        raise UsageError("the SDK of MinIO is not installed", hint="pip install 'telemetry-lake[s3]'") from None
    from lake.sealed.objects.credential_files import path_of
    from lake.sealed.objects.provision_policies import IDENTITIES, Place, policy

    place = Place.parse(arguments.store)
    folder = Path(arguments.credentials) if arguments.credentials else None
    wanted = provision.Wanted(
        place,
        versioning=arguments.versioning,
        noncurrent_days=arguments.noncurrent_days,
        abort_days=arguments.abort_days,
        credentials=folder,
        renew=frozenset(arguments.renew),
    )
    admin = administrator(Path(arguments.admin) if arguments.admin else None)
    steps: list[dict[str, str]] = []
    server = Server(arguments.endpoint, admin, arguments.region)
    try:
        for step in provision.Provisioning(server, wanted).steps(apply=arguments.apply):
            steps.append({"step": step.name, "state": step.state, "message": step.message})
            if step.state == provision.MADE:
                say(f"made: {step.name}")
    finally:
        server.close()
    policies = {place.name(identity): policy(place, identity) for identity in IDENTITIES}
    files = {identity: str(path_of(folder, identity)) for identity in IDENTITIES} if folder else {}
    document: dict[str, Any] = {
        "store": arguments.store,
        "endpoint": arguments.endpoint,
        "applied": arguments.apply,
        "steps": steps,
        "policies": policies,
        "credentials": {identity: path for identity, path in files.items() if Path(path).exists()},
    }
    emit(document, _text(document), as_json=arguments.json)
    states = {step["state"] for step in steps}
    if not arguments.apply and states & {provision.MAKE, provision.CHANGE}:
        say("nothing was changed: --apply does it")
    left = [step["step"] for step in steps if step["state"] in {provision.CANNOT, provision.LOOK}]
    if left:
        say(f"left for you: {', '.join(left)}")
    return 1 if left else 0


def _text(document: dict[str, Any]) -> str:
    import json

    lines = [table(document["steps"], ("state", "step", "message"))]
    lines += ["", *(f"policy {name}\n{json.dumps(content)}" for name, content in document["policies"].items())]
    if document["credentials"]:
        lines += ["", *(f"credentials of {name}: {path}" for name, path in document["credentials"].items())]
    return "\n".join(lines)
