"""A broker in a process of its own that dies at the worst moment: an error to try again on, and nothing half landed."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from keys.errors import BrokerFailedError, BrokerUnavailableError, KeyIntegrityError, RateLimitedError
from keys.limits import BrokerLimits
from keys.remote.roles import Role
from lake.api import Connection
from lake.errors import DocumentError, IntegrityError, UnavailableError, UsageError
from lake.gateway.broker_process import load_peers, read_peers, translated
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.recorder import parse_entry
from lake.settings import BrokerPlace
from tests import world as w
from tests.keys.remote.hosts import Apart, BrokerProcess, Brokers, by_uid, split
from tests.world import landed, row, same_rows, table

SENT = [row(f"EMP-NEW-{number}", datetime(2026, 9, 1), "focus", app="New-QX", n=number) for number in range(3)]
EVERYTHING = "SELECT * FROM events"


@pytest.fixture
def apart(template: w.World, tmp_path: Path) -> Apart:
    """The known lake, its key store elsewhere."""
    return split(template, tmp_path)


@pytest.fixture
def brokers(apart: Apart) -> Iterator[Brokers]:
    """Starts brokers of it."""
    started = Brokers(apart.keys, apart.key)
    yield started
    started.close()


FEW = w.known_rows()[:12]


@pytest.fixture(scope="module")
def few_template(tmp_path_factory: pytest.TempPathFactory) -> w.World:
    """A lake of few rows, for what is tried at every step; only to be copied."""
    return w.make(tmp_path_factory.mktemp("few"), rows=FEW)


@pytest.fixture
def few(few_template: w.World, tmp_path: Path) -> Apart:
    """A copy of it, its key store elsewhere."""
    return split(few_template, tmp_path)


@pytest.fixture
def few_brokers(few: Apart) -> Iterator[Brokers]:
    """Starts brokers of that."""
    started = Brokers(few.keys, few.key)
    yield started
    started.close()


def ingest(apart: Apart, broker: BrokerProcess) -> str:
    """Land the batch as a host that may land; what became of it."""
    with apart.lake(BrokerPlace(broker.address)) as lake:
        return lake.ingest("events", table(SENT), batch_id="sent").status


def rows(apart: Apart, brokers: Brokers) -> list[dict[str, object]]:
    """Every row, through a broker that is there for this."""
    broker = brokers.start(by_uid(Role.GATEWAY), name="reader")
    with apart.connect(BrokerPlace(broker.address)) as connection:
        found: list[dict[str, object]] = connection.sql(EVERYTHING).arrow().to_pylist()
    broker.stop()
    return found


def check_healthy(apart: Apart, brokers: Brokers) -> None:
    """No key, row, object or entry is damaged, as an operator sees it through a broker, and no object is left over."""
    broker = brokers.start(by_uid(Role.OPERATOR), name="doctor")
    with apart.lake(BrokerPlace(broker.address)) as lake:
        found = {finding.check: (finding.state, finding.message) for finding in Doctor(lake.home).examine_lake()}
    broker.stop()
    assert [each for each in found.items() if each[1][0] == DAMAGE] == []
    assert found["stray files"][0] == "ok", found["stray files"]


BEFORE = (
    ("broker.control_secrets.asked", 1),
    ("broker.anchor.asked", 1),
    ("broker.new_subjects.asked", 1),
    ("broker.new_subjects.done", 1),
    ("broker.announce.asked", 1),
    ("broker.announce.done", 1),
    ("broker.wrap.asked", 1),
    ("broker.wrap.done", 2),
    ("broker.wrap.asked", 3),
    ("broker.take_events.asked", 1),
    ("broker.take_events.done", 1),
)
AFTER = (("broker.advance_anchor.asked", 2), ("broker.advance_anchor.done", 2))
"""The first time is for the new employees' entries in the directory, the second for the batch."""


@pytest.mark.parametrize("crash", [*BEFORE, *AFTER], ids=lambda crash: f"{crash[0]}-{crash[1]}")
def test_a_broker_killed_within_an_ingest_leaves_the_batch_whole_or_absent(
    few: Apart, few_brokers: Brokers, crash: tuple[str, int]
) -> None:
    """The sender is told to try again; after a restart the same batch is there once, and nothing is left over."""
    step, turn = crash
    doomed = few_brokers.start(by_uid(Role.INGEST), step=step, turn=turn)
    with pytest.raises(BrokerUnavailableError) as caught:
        ingest(few, doomed)
    assert (caught.value.exit_code, caught.value.code) == (5, "broker_unavailable")
    assert doomed.killed()
    there = [*FEW, *SENT] if crash in AFTER else FEW
    assert same_rows(rows(few, few_brokers), landed(there))
    check_healthy(few, few_brokers)
    again = few_brokers.start(by_uid(Role.INGEST))
    assert ingest(few, again) == ("already landed" if crash in AFTER else "landed")
    assert ingest(few, again) == "already landed"
    assert same_rows(rows(few, few_brokers), landed([*FEW, *SENT]))
    check_healthy(few, few_brokers)


@pytest.mark.parametrize("step", ["broker.release.asked", "broker.release.done"])
def test_a_broker_killed_within_a_release_gives_no_row_and_the_query_can_be_asked_again(
    apart: Apart, brokers: Brokers, step: str
) -> None:
    """The receipt may be used up, so that it is not shown twice: asked again, the query has one of its own."""
    doomed = brokers.start(by_uid(Role.GATEWAY), step=step)
    with apart.connect(BrokerPlace(doomed.address)) as connection:
        with pytest.raises(BrokerUnavailableError) as caught:
            connection.sql(EVERYTHING)
        assert caught.value.exit_code == 5
        assert doomed.killed()
        assert len(apart.book()) == (step == "broker.release.done")
        brokers.start(by_uid(Role.GATEWAY))
        assert same_rows(connection.sql(EVERYTHING).arrow().to_pylist(), landed(w.known_rows()))
    assert len(apart.book()) == 1 + (step == "broker.release.done")


def test_a_lake_that_is_open_outlives_its_broker(apart: Apart, brokers: Brokers) -> None:
    """Killed between two calls and started again, it is asked again over a new connection: nobody notices."""
    broker = brokers.start(by_uid(Role.INGEST))
    with apart.lake(BrokerPlace(broker.address)) as lake:
        broker.kill()
        with pytest.raises(BrokerUnavailableError):
            lake.ingest("events", table(SENT), batch_id="sent")
        brokers.start(by_uid(Role.INGEST))
        assert lake.ingest("events", table(SENT), batch_id="sent").status == "landed"
        broker = brokers.start(by_uid(Role.INGEST), name="unused")
        assert lake.ingest("events", table(SENT), batch_id="sent").status == "already landed"
    assert same_rows(rows(apart, brokers), landed([*w.known_rows(), *SENT]))


def limited(apart: Apart, broker: BrokerProcess, sql: str, user: str = w.VERA, purpose: str = "incident") -> bool:
    """Whether a query is over a limit; if it is not, it has rows."""
    with apart.home(BrokerPlace(broker.address)) as home:
        try:
            assert Connection(home, user, purpose, None).sql(sql).arrow().num_rows
        except RateLimitedError:
            return True
    return False


LEVEL_4, LEVEL_1 = f"{EVERYTHING} WHERE sensitivity = 4", f"{EVERYTHING} WHERE sensitivity = 1"
"""8 files and 6."""


def test_a_limit_of_a_level_is_over_everybody_and_of_that_level_alone(apart: Apart, brokers: Brokers) -> None:
    """It outlives the broker: the book is in the key store."""
    peers = by_uid(Role.GATEWAY, limits='{per_level: {"4": 10}}')
    broker = brokers.start(peers)
    assert not limited(apart, broker, LEVEL_4)
    assert limited(apart, broker, LEVEL_4)
    assert limited(apart, broker, EVERYTHING, "olga", "own_data")
    assert not limited(apart, broker, LEVEL_1)
    broker.kill()
    assert limited(apart, brokers.start(peers), LEVEL_4)
    assert [sum(levels.values()) for _, levels in apart.book().values()] == [8, 6]


def test_a_limit_of_a_principal_is_over_all_levels_and_of_that_one_alone(apart: Apart, brokers: Brokers) -> None:
    """Another user is not held back."""
    broker = brokers.start(by_uid(Role.GATEWAY, limits="{per_principal: 13}"))
    assert not limited(apart, broker, LEVEL_4)
    assert limited(apart, broker, LEVEL_1)
    assert not limited(apart, broker, EVERYTHING, "olga", "own_data")
    assert limited(apart, broker, LEVEL_4)


def test_what_was_refused_for_a_limit_is_in_the_audit_log(apart: Apart, brokers: Brokers) -> None:
    """As an outcome without rows, under its code."""
    broker = brokers.start(by_uid(Role.GATEWAY, limits='{per_level: {"4": 0}}'))
    assert limited(apart, broker, LEVEL_4)
    with apart.home(BrokerPlace(broker.address)) as home:
        *_, (_, last) = home.log.entries()
    entry = parse_entry(last)
    assert (entry["type"], entry["out"], entry["error"], entry["rows"]) == ("query.outcome", "error", "rate_limited", 0)


def test_a_peers_file_is_read_whole() -> None:
    """Users, certificates and limits, each as it stands there."""
    text = """
    uids: {0: operator, 1001: gateway}
    certificates: {gateway.example.org: gateway, "spiffe://lake/ingest": ingest, jobs.example.org: jobs}
    limits: {per_level: {"3": 100, "4": 0}, per_principal: 7}
    """
    peers, limits = read_peers(text, "peers")
    assert peers.uids == {0: Role.OPERATOR, 1001: Role.GATEWAY}
    assert peers.certificates == {
        "gateway.example.org": Role.GATEWAY,
        "spiffe://lake/ingest": Role.INGEST,
        "jobs.example.org": Role.JOBS,
    }
    assert limits == BrokerLimits({3: 100, 4: 0}, 7)
    assert read_peers("uids: {1: ingest}", "peers")[1] == BrokerLimits()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "uids: {}",
        "uids: {1001: root}",
        "uids: {1001: [gateway]}",
        "uids: {-1: gateway}",
        "uids: {01: gateway}",
        "uids: {bob: gateway}",
        "uids: {1001: gateway, 1001: ingest}",
        "uids: [1001]",
        'certificates: {"*.example.org": gateway}',
        'certificates: {"": gateway}',
        "certificates: {a.example: Gateway}",
        "uids: {1: gateway}\nlimits: {per_level: {5: 1}}",
        "uids: {1: gateway}\nlimits: {per_level: {4: -1}}",
        "uids: {1: gateway}\nlimits: {per_level: {4: many}}",
        "uids: {1: gateway}\nlimits: {per_principal: 1.5}",
        "uids: {1: gateway}\nlimits: {per_minute: 5}",
        "uids: {1: gateway}\nroles: {}",
    ],
)
def test_a_peers_file_that_is_not_clear_is_refused(text: str) -> None:
    """Nothing in it is guessed or left out."""
    with pytest.raises(DocumentError):
        read_peers(text, "peers")


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_a_peers_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Who writes it hands out roles."""
    file = tmp_path / "peers.yaml"
    file.write_text("uids: {1: gateway}")
    file.chmod(0o644)
    assert load_peers(file)[0].uids == {1: Role.GATEWAY}
    file.chmod(mode)
    with pytest.raises(UsageError, match="others can write"):
        load_peers(file)


def test_errors_of_the_lakes_own_database_keep_their_meaning() -> None:
    """Try again, or damaged; of what is not known nothing is told."""
    assert isinstance(translated(UnavailableError("busy")), BrokerUnavailableError)
    assert isinstance(translated(IntegrityError("damaged")), KeyIntegrityError)
    assert isinstance(translated(UsageError("wrong")), BrokerFailedError)
    assert translated(RuntimeError("text")) is None
