"""The Compose file against the specification, against Compose itself where it is installed, and against our own rules.

No container is started: there is no engine where these tests run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml

from lake.cli.main import build_parser
from lake.dev import secret_files
from lake.gateway.broker_process import load_peers
from lake.gateway.key_services import read_service

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
OURS, ONE_SHOTS = "telemetry-lake:0.1.0", {"volumes", "init", "files", "operator", "keys"}
TOOLS = {"files", "operator", "keys"}
KEY_PLANE = {"openbao", "broker", "init", "keys"}
_PINNED = re.compile(
    r"[a-z./-]+:[A-Za-z0-9.-]*[0-9]+\.[0-9]+[A-Za-z0-9.-]*|[a-z./-]+:[A-Za-z0-9.-]+@sha256:[0-9a-f]{64}"
)
_FLOATING = re.compile(r":(latest|main|stable|edge|\d+)$")
_SECRET_NAME = re.compile(r"password|secret|token|credential|key$|access", re.IGNORECASE)
_LONG_WORD = re.compile(r"[A-Za-z0-9+_=-]{24,}")
_PLACE = re.compile(r"(/run/secrets/|/etc/lake/|/srv/lake/|tls:|s3://|https?://)\S*")

Compose = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> Compose:
    """The file as it is written."""
    found: Compose = yaml.safe_load(FILE.read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def validate() -> Callable[[Compose], object]:
    """The specification's own schema."""
    text = Path(__file__).with_name("compose-spec.json").read_text("utf-8")
    checked: Callable[[Compose], object] = fastjsonschema.compile(json.loads(text))
    return checked


def test_it_is_a_compose_file(compose: Compose, validate: Callable[[Compose], object]) -> None:
    """By the specification's schema."""
    validate(compose)


@pytest.mark.parametrize(
    ("service", "field", "value"),
    [("broker", "restrat", "always"), ("gateway", "ports", {"8815": 8815}), ("minio", "deploy", {"resources": 4})],
)
def test_the_schema_notices_mistakes(
    compose: Compose, validate: Callable[[Compose], object], service: str, field: str, value: object
) -> None:
    """A name that does not exist, and values of another form."""
    wrong = deepcopy(compose)
    wrong["services"][service][field] = value
    with pytest.raises(fastjsonschema.JsonSchemaException):
        validate(wrong)


def test_compose_itself_reads_it(tmp_path: Path) -> None:
    """Anchors are resolved, variables filled in, and every reference leads to something."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed: apt-get install docker-compose")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LAKE_UID": "1234", "LAKE_GID": "2345"}
    command = [program, "--file", str(FILE), "--profile", "files", "--profile", "operator", "config"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {service["user"] for name, service in services.items() if name != "volumes"} == {"1234:2345"}
    del environment["LAKE_UID"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode != 0
    assert "make compose-secrets" in done.stderr


def services(compose: Compose) -> Iterator[tuple[str, Compose]]:
    """Every service with its name."""
    yield from compose["services"].items()


def test_every_image_is_pinned(compose: Compose) -> None:
    """By an exact version at least; what is not ours by a digest where it was known."""
    for name, service in services(compose):
        assert _PINNED.fullmatch(service["image"]), name
        assert not _FLOATING.search(service["image"]), name
        assert ("build" in service) == (service["image"] == OURS), name
    without = {name for name, service in services(compose) if "@sha256:" not in service["image"]}
    assert without == {name for name, service in services(compose) if service["image"] == OURS} | {"openbao"}


def test_nobody_is_root_or_has_a_capability(compose: Compose) -> None:
    """But the one that gives the volumes away, which may do only that, has no network, and ends."""
    for name, service in services(compose):
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "devices", "pid", "ipc", "userns_mode", "volumes_from", "group_add"} & set(service)
        if name == "volumes":
            continue
        assert re.fullmatch(r"\$\{LAKE_UID:\?[^}]+\}:\$\{LAKE_GID:\?[^}]+\}", service["user"]), name
        assert not {"cap_add", "network_mode"} & set(service), name
    root = compose["services"]["volumes"]
    assert (root["user"], root["cap_add"], root["network_mode"]) == ("0:0", ["CHOWN"], "none")
    assert not {"secrets", "networks", "ports", "environment"} & set(root)


def test_every_secret_is_a_file_of_its_own_that_is_made(compose: Compose, tmp_path: Path) -> None:
    """None has a default, each is mounted somewhere, and what is made is exactly what is mounted."""
    assert all(list(secret) == ["file"] for secret in compose["secrets"].values())
    files = {name: secret["file"] for name, secret in compose["secrets"].items()}
    assert files == {name: f"${{LAKE_SECRETS:-./secrets}}/{name}" for name in files}
    mounted = {secret for _, service in services(compose) for secret in service.get("secrets", [])}
    assert mounted == set(files)
    made = {path.name for path in secret_files.make(tmp_path / "secrets").iterdir()}
    assert made == mounted
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_who_holds_which_secret(compose: Compose) -> None:
    """Keys and credentials lie with the one that needs them; what opens the key service is not beside what asks it."""
    holders: dict[str, set[str]] = {}
    for name, service in services(compose):
        for secret in service.get("secrets", []):
            holders.setdefault(secret, set()).add(name)
    assert holders["openbao.unseal"] == {"openbao"}
    assert holders["openbao.administrator.token"] == {"openbao"}
    assert holders["openbao.broker.token"] == {"openbao", "broker"}
    assert holders["openbao.operator.token"] == {"openbao", "init", "keys"}
    assert holders["keys.password"] == {"postgres", "broker", "init", "keys"}
    assert holders["minio.password"] == {"minio"}
    assert holders["reader.credentials"] == {"gateway", "init"}
    assert holders["ingest.credentials"] == {"ingest", "files", "init"}
    for server in ("openbao", "broker", "gateway", "ingest"):
        assert holders[f"{server}.key"] == {server}
    for host in ("gateway", "jobs", "operator"):
        assert holders[f"{host}-host.key"] == {host}
    assert holders["ingest-host.key"] == {"ingest", "files"}


def test_no_environment_holds_a_secret(compose: Compose) -> None:
    """What sounds like a secret is a file's name, and nothing is as long and random as one."""
    for name, service in services(compose):
        assert "env_file" not in service, name
        for variable, value in service.get("environment", {}).items():
            place = _PLACE.fullmatch(str(value))
            assert place or not _SECRET_NAME.search(variable), f"{name}: {variable}"
            assert place or not _LONG_WORD.search(str(value)), f"{name}: {variable}"
        words = [*service.get("command", []), *service.get("entrypoint", [])]
        assert not [word for word in words if _LONG_WORD.fullmatch(word)], name


def test_what_is_reachable(compose: Compose) -> None:
    """Two ports, on loopback unless somebody says otherwise; only those that must meet the key service."""
    published = {name: service["ports"] for name, service in services(compose) if "ports" in service}
    assert published == {
        "gateway": ["${LAKE_LISTEN:-127.0.0.1}:${LAKE_PORT:-8815}:8815"],
        "ingest": ["${LAKE_LISTEN:-127.0.0.1}:${LAKE_INGEST_PORT:-8444}:8444"],
    }
    networks = {name: set(service.get("networks", [])) for name, service in services(compose)}
    assert {name for name, joined in networks.items() if "key-plane" in joined} == KEY_PLANE
    assert networks["openbao"] == {"key-plane"}
    assert {name for name, joined in networks.items() if "front" in joined} == {"gateway", "ingest"}
    assert {name for name, network in compose["networks"].items() if not network.get("internal")} == {"front"}


def test_what_runs_for_long_is_watched(compose: Compose) -> None:
    """A health check, a restart, a time to stop; and who waits for it waits until it is well."""
    for name, service in services(compose):
        assert service["logging"]["options"]["max-size"], name
        limits = service["deploy"]["resources"]["limits"]
        assert limits["memory"], name
        assert limits["cpus"], name
        assert service["pids_limit"], name
        if name in ONE_SHOTS:
            assert service["restart"] == "no", name
            assert ("profiles" in service) == (name in TOOLS), name
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"], name
            assert service["stop_grace_period"], name
            assert "profiles" not in service, name
        for other, condition in service.get("depends_on", {}).items():
            ended = other in ONE_SHOTS
            wanted = "service_completed_successfully" if ended else "service_healthy"
            assert condition["condition"] == wanted, f"{name} waits for {other}"


def test_data_lies_in_named_volumes(compose: Compose) -> None:
    """Each is used, none is anonymous; what comes from the project cannot be written, but for the folder of backups."""
    used = set()
    for name, service in services(compose):
        for mount in service.get("volumes", []):
            if isinstance(mount, dict):
                assert mount["type"] == "volume", name
                used.add(mount["source"])
                continue
            source, _, target = mount.rpartition(":") if mount.endswith(":ro") else (mount, "", "")
            source = (source if target else mount).rsplit(":", 1)[0]
            if source in compose["volumes"]:
                used.add(source)
            else:
                assert source.startswith(("./", "${LAKE_")), f"{name}: {mount}"
                assert mount.endswith(":ro") or source == "${LAKE_BACKUPS:-./backups}", f"{name}: {mount}"
                if source.startswith("./"):
                    assert (ROOT / source).exists(), f"{name}: {mount}"
    assert used == set(compose["volumes"])


def test_the_commands_exist(compose: Compose) -> None:
    """What a container of ours runs is accepted by the command line."""
    parser = build_parser()
    found = 0
    for name, service in services(compose):
        if service["image"] != OURS or name in {"volumes", "jobs"}:
            continue
        words = [*service.get("entrypoint", ["lake"])[1:], *service["command"]]
        if words[-1] == "--help":
            with pytest.raises(SystemExit) as ended:
                parser.parse_args(words)
            assert ended.value.code == 0
        else:
            assert callable(parser.parse_args(words).run), name
        found += 1
    assert found == 7


def test_the_documents_of_the_deployment_are_valid(tmp_path: Path) -> None:
    """Provider and peers files are read as the processes read them; the scripts have no mistake a shell would see."""
    for name in ("broker", "operator"):
        copy = tmp_path / f"{name}.yaml"
        shutil.copyfile(ROOT / "deploy" / f"provider.{name}.yaml", copy)
        copy.chmod(0o600)
        assert read_service(copy).kind == "openbao"
    peers = tmp_path / "peers.yaml"
    shutil.copyfile(ROOT / "lake" / "dev" / "peers.yaml", peers)
    peers.chmod(0o600)
    table, limits = load_peers(peers)
    assert set(table.certificates) == set(secret_files.HOSTS)
    assert limits.per_principal
    assert subprocess.run(["sh", "-n", ROOT / "deploy" / "jobs.sh"], check=False).returncode == 0


def test_the_rights_are_those_of_the_runbook() -> None:
    """What is given to the hosts is what the page on PostgreSQL gives, to the letter."""
    page = (ROOT / "docs" / "operations" / "postgresql.md").read_text("utf-8")
    given = (ROOT / "lake" / "dev" / "grants.sql").read_text("utf-8")
    shown = page.partition("-- roles\n")[2].partition("```")[0]
    assert shown.count("GRANT") > 5
    assert given.endswith(shown)


def test_the_secrets_are_nobody_elses(tmp_path: Path) -> None:
    """Modes, randomness, and no second time: they are there wholly or not at all."""
    folder = secret_files.make(tmp_path / "secrets", ["gateway.example.org", "192.0.2.7"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    paths = list(folder.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    before = {path: path.read_bytes() for path in paths}
    assert len(set(before.values())) == len(paths)
    with pytest.raises(secret_files.UsageError, match="never overwritten"):
        secret_files.make(folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    other = secret_files.make(tmp_path / "other")
    assert not {path.read_bytes() for path in other.iterdir() if path.name != "minio.user"} & set(before.values())
    with pytest.raises(secret_files.UsageError, match="neither a host's name"):
        secret_files.make(tmp_path / "third", ["a b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "secrets"]
