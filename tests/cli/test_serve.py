"""``lake serve broker`` and its hosts as processes of their own: keys in one place, the lake in another."""

from __future__ import annotations

import base64
import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from keys.remote.roles import Role
from lake.cli.main import main
from tests.cli.site import EVENTS, SAID, Site, check, secrets_of, start, tls_files
from tests.keys.remote.hosts import NAMES, Authority, Brokers, by_name, by_uid


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of every host."""
    return Authority(tmp_path_factory.mktemp("ca"), "lake-ca")


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[[Authority | None], Site]]:
    """Makes the lake with its key store elsewhere."""
    made: list[Brokers] = []

    def make(authority: Authority | None) -> Site:
        root, vault = tmp_path / "lake", tmp_path / "vault"
        vault.mkdir(mode=0o700)
        made_lake = [
            "init",
            "--single-approver",
            "--lake",
            str(root),
            "--key-file",
            str(vault / "key"),
            "--key-store",
            str(vault / "store"),
        ]
        assert main(made_lake) == 0
        config = root / "lake.json"
        (vault / "lake.json").write_bytes(config.read_bytes())
        config.write_text(json.dumps(json.loads(config.read_text()) | {"key_store": "elsewhere"}))
        made.append(Brokers(vault, vault / "key"))
        return Site(root, vault, made[0], authority)

    yield make
    for brokers in made:
        brokers.close()


@pytest.fixture(params=["unix", "tls"])
def site(make_site: Callable[[Authority | None], Site], request: pytest.FixtureRequest, authority: Authority) -> Site:
    """A site, over a Unix socket and over mutual TLS."""
    return make_site(authority if request.param == "tls" else None)


@pytest.fixture
def unix_site(make_site: Callable[[Authority | None], Site]) -> Site:
    """A site over a Unix socket."""
    return make_site(None)


@pytest.fixture
def tls_site(make_site: Callable[[Authority | None], Site], authority: Authority) -> Site:
    """A site over mutual TLS."""
    return make_site(authority)


def test_a_lake_whose_keys_are_elsewhere_is_filled_read_and_checked(site: Site) -> None:
    """Each host does its own, through the broker, and no other host's: what it is refused leaves nothing behind."""
    site.prepare()
    ran = site.query()
    assert (ran.code, ran.document["rows"]) == (0, SAID), ran.err
    status = site.run(Role.OPERATOR, "status", "--json")
    assert (status.code, status.document["counts"]["files"]) == (0, 3), status.err
    doctor = site.run(Role.OPERATOR, "doctor", "--json")
    states = {each["check"]: each["state"] for each in doctor.document}
    assert doctor.code == 0, doctor.out
    assert {name: states[name] for name in ("keys", "catalog", "audit log", "objects", "stray files")} == dict.fromkeys(
        ("keys", "catalog", "audit log", "objects", "stray files"), "ok"
    )
    assert site.ingest().document["already_landed"] == 1
    for refused in (
        site.query(Role.INGEST),
        site.query(Role.OPERATOR),
        site.query(Role.JOBS),
        site.run(Role.INGEST, "status", "--json"),
    ):
        check(refused, 3, "broker_refused")
        assert b"spoken" not in refused.raw
    assert site.query().document["rows"] == SAID
    assert site.run(Role.OPERATOR, "status", "--json").document["counts"]["files"] == 3


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.OPERATOR])
def test_who_may_not_land_lands_nothing(unix_site: Site, role: Role) -> None:
    """A new batch of another host's is refused before an object is written."""
    unix_site.prepare()
    file = unix_site.root.parent / "more.ndjson"
    file.write_text(json.dumps(EVENTS[0] | {"said": "more"}) + "\n")
    before = sorted(unix_site.root.glob("data/**/*"))
    check(unix_site.run(role, "ingest", str(file), "--dataset", "events", "--json"), 3, "broker_refused")
    assert sorted(unix_site.root.glob("data/**/*")) == before
    assert len(unix_site.query().document["rows"]) == 3


WATCH = """
touched = []
def watch(event, arguments):
    if event in ("open", "sqlite3.connect", "os.listdir", "os.scandir") and VAULT in str(arguments[0]):
        touched.append(event)
sys.addaudithook(watch)
import atexit
atexit.register(lambda: print(len(touched), file=sys.stderr))
"""


def test_an_ingest_host_needs_nothing_of_the_key_store(unix_site: Site) -> None:
    """It opens no file there and is told of none; the same command with the key file does, which shows the watch."""
    unix_site.prepare()
    watch = f"VAULT = {str(unix_site.vault)!r}\n{WATCH}"
    ran = unix_site.ingest(source=watch)
    assert ran.code == 0
    assert ran.err.split() == ["0"]
    assert not (unix_site.root / "elsewhere").exists()
    assert not any("vault" in path.read_text(errors="replace") for path in unix_site.root.glob("*.json"))
    arguments = ["status", "--lake", str(unix_site.vault), "--key-file", str(unix_site.vault / "key"), "--json"]
    seen = int(start(arguments, watch).stderr.decode().split()[-1])
    assert seen > 0


def test_a_broker_that_is_gone_is_an_error_to_try_again_on(site: Site) -> None:
    """Killed between two commands: every command says so with exit code 5, and goes on after a restart."""
    site.prepare()
    site.query()
    for broker in list(site.running.values()):
        broker.kill()
    for ran in (site.ingest(), site.query(), site.run(Role.INGEST, "status", "--json")):
        check(ran, 5, "broker_unavailable")
        assert "try again" in ran.err
    for role in (Role.INGEST, Role.GATEWAY, Role.OPERATOR):
        site.serve(role)
    assert site.query().document["rows"] == SAID
    assert site.ingest().document["already_landed"] == 1


def test_a_broker_killed_within_a_batch_leaves_it_whole_or_absent(site: Site) -> None:
    """As the command line shows it: exit code 5, no row, and the same file lands once the broker is back."""
    site.prepare()
    file = site.root.parent / "more.ndjson"
    file.write_text(json.dumps(EVENTS[0] | {"said": "spoken-9"}) + "\n")
    command = ("ingest", str(file), "--dataset", "events", "--json")
    doomed = site.serve(Role.INGEST, step="broker.wrap.done")
    check(site.run(Role.INGEST, *command), 5, "broker_unavailable")
    assert doomed.killed()
    site.serve(Role.INGEST)
    assert site.query().document["rows"] == SAID
    assert site.run(Role.INGEST, *command).document["rows"] == 1
    assert site.query().document["rows"] == [*SAID, {"employee": "EMP-0", "said": "spoken-9"}]
    assert site.run(Role.OPERATOR, "doctor").code == 0


def test_a_user_that_the_broker_does_not_know_is_refused(unix_site: Site) -> None:
    """The kernel says who it is, whatever the command says."""
    broker = unix_site.brokers.start(by_uid(Role.GATEWAY, uid=4_000_000), name="gateway")
    unix_site.running["gateway"] = broker
    check(unix_site.query(), 3, "broker_refused")
    assert "does not know the user" in broker.stop()


def test_a_certificate_counts_only_if_everything_about_it_is_right(tls_site: Site, tmp_path: Path) -> None:
    """Another CA's, an expired one, a server's, an unknown name: refused, and the others are served as before."""
    tls_site.prepare()
    ca = tls_site.authority
    assert ca is not None
    other = Authority(tmp_path, "other-ca")
    for identity in (
        other.issue(NAMES[Role.GATEWAY]),
        ca.issue(NAMES[Role.GATEWAY], age=timedelta(days=400)),
        ca.issue(NAMES[Role.GATEWAY], server=True),
        ca.issue("stranger.lake.example"),
        ca.issue(f"x.{NAMES[Role.GATEWAY]}"),
    ):
        check(tls_site.query(identity=identity), 3, "broker_refused")
    assert tls_site.query().document["rows"] == SAID


def test_a_broker_that_cannot_prove_who_it_is_is_told_nothing(tls_site: Site, tmp_path: Path) -> None:
    """Of another CA, expired, of another name: no batch is sent there."""
    ca = tls_site.authority
    assert ca is not None
    other = Authority(tmp_path, "other-ca")
    for server in (
        other.issue("localhost", server=True),
        ca.issue("localhost", age=timedelta(days=400), server=True),
        ca.issue("localhost"),
    ):
        place = ("--listen", "127.0.0.1:0", *tls_files(ca, server))
        tls_site.running["all"] = tls_site.brokers.start(by_name(), *place, name="all")
        check(tls_site.query(), 3, "broker_refused")
        tls_site.running["all"].kill()


def test_plain_tcp_is_not_spoken_to(tls_site: Site) -> None:
    """Without TLS a connection gets not one byte of the broker's, and ends."""
    broker = tls_site.serve()
    with socket.create_connection(("127.0.0.1", int(broker.address.rpartition(":")[2])), 20) as connection:
        connection.sendall(b"\x00\x00\x00\x02{}" * 100)
        received = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(1000):
                received += part
        assert b"protocol" not in received
    assert "handshake failed" in broker.stop()


@pytest.mark.parametrize("limits", ['{per_level: {"3": 4}}', "{per_principal: 4}"])
def test_over_a_limit_the_exit_code_is_that_of_trying_again(unix_site: Site, limits: str) -> None:
    """Three keys are within the limit, three more in the same minute are not; one user's limit is not another's."""
    unix_site.prepare()
    unix_site.serve(Role.GATEWAY, limits)
    assert unix_site.query().document["rows"] == SAID
    ran = unix_site.query()
    check(ran, 5, "rate_limited")
    assert b"spoken" not in ran.raw
    other = unix_site.query(user="eve")
    assert other.code == (0 if "principal" in limits else 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_broker_that_is_asked_to_stop_stops(unix_site: Site, number: int) -> None:
    """With exit code 0, and its socket is gone."""
    broker = unix_site.serve(interpreter=True)
    path = Path(broker.address.removeprefix("unix:"))
    assert path.is_socket()
    broker.process.send_signal(number)
    broker.process.communicate(timeout=60)
    assert broker.process.returncode == 0
    assert not path.exists()


def test_what_a_broker_holds_shows_nowhere(unix_site: Site) -> None:
    """After a batch, a query and a refusal: no secret in its output, its environment or its arguments."""
    for role in Role:
        unix_site.serve(role, interpreter=True)
    unix_site.prepare()
    assert unix_site.query().code == 0
    assert unix_site.run(Role.INGEST, "doctor").code == 4  # the ingest host may not have the keys checked
    shown = b""
    for broker in unix_site.running.values():
        for name in ("environ", "cmdline"):
            shown += Path(f"/proc/{broker.process.pid}/{name}").read_bytes()
        shown += json.dumps(broker.ready).encode() + broker.stop().encode()
    assert b"serve" in shown
    assert b"was refused" in shown
    for secret in secrets_of(unix_site):
        for form in (secret, secret.hex().encode(), base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
            assert form.rstrip(b"=") not in shown


def test_what_does_not_fit_together_is_a_usage_error(unix_site: Site) -> None:
    """Two places, or none; half of TLS; a peers file that others can write; an address that is none."""
    peers = unix_site.vault / "peers.yaml"
    peers.write_text(by_uid(Role.GATEWAY))
    serve = ["serve", "broker", "--lake", str(unix_site.vault), "--key-file", str(unix_site.vault / "key")]
    serve += ["--peers", str(peers)]
    path = str(unix_site.brokers.folder / "s")
    status = ["status", "--lake", str(unix_site.root)]
    for arguments in (
        serve,
        [*serve, "--socket", path, "--listen", "127.0.0.1:0"],
        [*serve, "--listen", "127.0.0.1:0"],
        [*serve, "--listen", "127.0.0.1:70000"],
        [*serve, "--listen", "8443"],
        [*serve, "--socket", path, "--tls-cert", path],
        [*serve, "--socket", "/proc/no/such/folder"],
        [*serve[:-1], str(peers) + ".no", "--socket", path],
        [*status, "--broker", "http://127.0.0.1"],
        [*status, "--broker", "unix:"],
        [*status, "--broker", "tls:127.0.0.1:443"],
        [*status, "--broker", f"unix:{path}", "--key-file", str(unix_site.vault / "key")],
    ):
        ran = start(arguments)
        assert (ran.returncode, ran.stdout) == (2, b""), (arguments, ran.stderr)
    peers.chmod(0o666)
    assert b"others can write" in start([*serve, "--socket", path]).stderr


def test_what_needs_the_key_store_itself_says_so(unix_site: Site) -> None:
    """Rotation and shredding are for the broker's own host."""
    check(unix_site.run(Role.OPERATOR, "keys", "status", "--json"), 2, "usage")
