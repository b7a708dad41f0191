"""What each of a company's hosts has: a certificate, a place in the database and the store, and nothing of others'."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from lake.dev.secret_files import CA, STORE
from lake.dev.state import LOCAL, SQLITE, Choices, State

PEERS = Path(__file__).with_name("peers.yaml")
PROVIDER = "kind: openbao\naddress: https://127.0.0.1:{port}\nprefix: lake-\ntoken_file: {token}\nca_file: {ca}\n"
IDENTITY = "local_tokens: true\n"
ROLES = {
    "gateway": ("lake_gateway", "reader"),
    "ingest": ("lake_ingest", "ingest"),
    "jobs": ("lake_jobs", "jobs"),
    "operator": ("lake_owner", "jobs"),
}
"""Roles of hosts that ask the broker: the user of the catalog, and the identity of the store."""
KEYS = "keys"
"""The key store's host, in an operator's hands."""


def write_files(state: State) -> None:
    """Documents that only their owner may write, in copies of our own; the identity file only if there is none."""
    choices = state.choices()
    for host in ("broker", "operator"):
        token, ca = state.secrets / f"openbao.{host}.token", state.secrets / CA
        text = PROVIDER.format(port=choices.ports["openbao"], token=token, ca=ca)
        _own(state.folder / f"{host}.provider.yaml").write_text(text)
    shutil.copyfile(PEERS, _own(state.folder / "peers.yaml"))
    if not (state.folder / "identity.yaml").exists():
        _own(state.folder / "identity.yaml").write_text(IDENTITY)
    environments = {role: of_role(state, choices, role) for role in ROLES}
    environments[KEYS] = of_key_store(state, choices, "operator")
    for role, environment in environments.items():
        lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
        _own(state.folder / f"{role}.env").write_text("\n".join(lines) + "\n")


def of_role(state: State, choices: Choices, role: str) -> dict[str, str]:
    """The environment of a host that asks the broker; paths and addresses, no secret."""
    user, identity = ROLES[role]
    return {
        "LAKE_HOME": str(state.lake),
        "LAKE_BROKER": f"tls:127.0.0.1:{choices.ports['broker']}",
        "LAKE_BROKER_CA": str(state.secrets / CA),
        "LAKE_BROKER_CERT": str(state.secrets / f"{role}-host.pem"),
        "LAKE_BROKER_KEY": str(state.secrets / f"{role}-host.key"),
        **_catalog(state, choices, user),
        **_store(state, choices, identity),
    }


def of_key_store(state: State, choices: Choices, role: str) -> dict[str, str]:
    """The environment of the key store's host: the broker, or the operator who makes the lake and rotates its keys."""
    found = {"LAKE_HOME": str(state.lake), "LAKE_PROVIDER_FILE": str(state.folder / f"{role}.provider.yaml")}
    if choices.database != SQLITE:
        found["LAKE_KEYS_PASSWORD_FILE"] = str(state.secrets / "keys.password")
    if role == "operator":
        found |= {**_catalog(state, choices, "lake_owner"), **_store(state, choices, "jobs")}
    return found


def preparation(state: State, choices: Choices) -> list[str]:
    """Options of ``lake dev prepare``: where the parts of a new lake lie."""
    found = ["--secrets", str(state.secrets)]
    if choices.database == SQLITE:
        found += ["--key-store", str(state.folder / "keys")]
    else:
        place = f"127.0.0.1:{choices.ports['postgresql']}"
        found += ["--catalog-url", f"postgresql://{place}/lake_catalog"]
        found += ["--keys-url", f"postgresql://lake_keys@{place}/lake_keys"]
    if choices.store != LOCAL:
        found += ["--store", STORE, "--endpoint", f"http://127.0.0.1:{choices.ports['s3']}"]
    return found


def _catalog(state: State, choices: Choices, user: str) -> dict[str, str]:
    if choices.database == SQLITE:
        return {}
    password = state.secrets / f"catalog.{user.removeprefix('lake_')}.password"
    return {"PGUSER": user, "LAKE_CATALOG_PASSWORD_FILE": str(password)}


def _store(state: State, choices: Choices, identity: str) -> dict[str, str]:
    if choices.store == LOCAL:
        return {}
    return {"AWS_SHARED_CREDENTIALS_FILE": str(state.secrets / f"{identity}.credentials")}


def _own(path: Path) -> Path:
    path.touch(mode=0o600)
    return path
