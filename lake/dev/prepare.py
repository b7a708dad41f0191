"""Makes a lake ready for its processes: the store's users, the lake itself, its database's roles, its documents.

What is there already is left alone, so that it can be run before every start, and goes on after a crash.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from lake import api
from lake.errors import UnavailableError, UsageError
from lake.gateway.config import Elsewhere
from lake.rules import layout
from lake.settings import Secrets

GRANTS = Path(__file__).with_name("grants.sql")
ADMINISTRATOR = "minio.credentials"
_PASSWORD = "LAKE_CATALOG_PASSWORD_FILE"  # noqa: S105 - the name of a variable


class _Opening(TypedDict):
    key_file: Path | None
    passphrase_file: Path | None
    provider_file: Path | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be ready.

    Attributes:
        root: folder of the lake.
        opened: how its key store is opened.
        elsewhere: where parts of a new lake lie.
        secrets: folder with the credentials of the store's administrator and users.
        documents: of its ``contracts/*.yaml`` and ``policies/policy.yaml`` are put in force.
        key_store: folder of a new lake's key store.
    """

    root: Path
    opened: Secrets
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    secrets: Path | None = None
    documents: Path | None = None
    key_store: Path | None = None


def prepare(plan: Plan) -> Iterator[str]:
    """Do what is still to do; says what was done.

    Raises:
        LakeError, KeysError: a part does not answer, or is not what it should be.
    """
    if plan.elsewhere.store:
        yield from _provision(plan)
    opened = plan.opened
    opening: _Opening = {
        "key_file": opened.key_file,
        "passphrase_file": opened.passphrase_file,
        "provider_file": opened.provider_file,
    }
    if not (plan.root / layout.CONFIG).exists():
        alone = plan.documents is not None  # whoever prepares a lake with documents brings its first contracts
        api.create(plan.root, **opening, key_store=plan.key_store, single_approver=alone, **_elsewhere(plan.elsewhere))
        yield f"made the lake in {plan.root}"
    if plan.elsewhere.catalog_url:
        _grant(plan.elsewhere.catalog_url)
        yield "gave the hosts their rights in the catalog"
    if plan.documents is None:
        return
    with api.open(plan.root, **opening) as lake:
        for path in sorted((plan.documents / "contracts").glob("*.yaml")):
            if lake.add_contract(_text(path), str(path)):
                yield f"put the contract {path.name} in force"
        policy = plan.documents / "policies" / "policy.yaml"
        if policy.exists() and lake.apply_policy(_text(policy), str(policy)):
            yield f"put the policy {policy.name} in force"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path} cannot be read as UTF-8 text") from None


def _elsewhere(where: Elsewhere) -> dict[str, str]:
    named = {"store": where.store, "endpoint": where.endpoint} if where.store else {}
    return {**named, "catalog_url": where.catalog_url, "keys_url": where.keys_url}


def _provision(plan: Plan) -> Iterator[str]:
    try:
        from lake.sealed.objects import provision  # noqa: PLC0415 - needs an extra
        from lake.sealed.objects.provision_server import Server, administrator  # noqa: PLC0415
    except ImportError:
        raise UsageError("the SDK of MinIO is not installed", hint="pip install 'telemetry-lake[s3]'") from None
    from lake.sealed.objects.provision_policies import Place  # noqa: PLC0415

    if plan.secrets is None:
        raise UsageError("a store needs the folder with its credentials", hint="give --secrets DIR")
    server = Server(plan.elsewhere.endpoint, administrator(plan.secrets / ADMINISTRATOR))
    wanted = provision.Wanted(Place.parse(plan.elsewhere.store), credentials=plan.secrets)
    try:
        for step in provision.Provisioning(server, wanted).steps(apply=True):
            if step.state != provision.THERE:
                yield f"{step.state}: {step.name}: {step.message}"
    finally:
        server.close()


def _grant(url: str) -> None:
    """All rights in one transaction; what was given already stays.

    Raises:
        UnavailableError: the database does not answer, or refuses; its text is not repeated.
    """
    try:
        import psycopg  # noqa: PLC0415 - needs an extra
    except ImportError:
        raise UsageError("psycopg is not installed", hint="pip install 'telemetry-lake[postgres]'") from None

    named = os.environ.get(_PASSWORD)
    password = Path(named).read_text("utf-8").strip() if named else None
    try:
        with psycopg.connect(url, password=password, connect_timeout=10) as connection:
            connection.execute(GRANTS.read_bytes())
    except psycopg.Error as error:
        raise UnavailableError(
            f"the hosts could not be given their rights in the catalog (SQLSTATE {error.sqlstate or 'none'})",
            hint="does the server run, and are the roles there? see lake/dev/databases.sql",
        ) from None
