"""A lake under a real key service and back: the same rows, and typed errors while the service is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from keys.errors import (
    KeyIntegrityError,
    KeyOperationError,
    KeysError,
    KeyStateError,
    ProviderDeniedError,
    ProviderUnavailableError,
)
from keys.names import ROOT_NAMES
from lake.errors import UsageError
from lake.gateway.keykeeping import read_certificate
from lake.gateway.keyplans import KeyScope
from tests import world as w
from tests.gateway.baolakes import move, rows, service_file
from tests.gateway.keylakes import QUESTIONS, Answers, answers, keeping, later, operations, sound, state_of, without
from tests.keys.providers.openbao_server import OpenBaoServer
from tests.world import ADA, World, child, finished, landed, row, same_rows

pytest_plugins = ("tests.keys.providers.case_openbao",)

EXPECTED = landed(w.known_rows())
KEKS = len({(one["sensitivity"], one["ts"].month) for one in EXPECTED if one["employee"] == ADA})


@pytest.fixture
def bao(world: World, openbao: OpenBaoServer) -> Path:
    """The lake's keys are moved to OpenBao; the provider file."""
    path = service_file(world, openbao)
    move(world, path)
    return path


def test_there_and_back_again(world: World, answered: Answers, openbao: OpenBaoServer) -> None:
    """No object and no wrap of the catalog is touched; queries, landing and rotation go on in both places."""
    files = state_of(world)[2]
    path = service_file(world, openbao)
    move(world, path)
    assert state_of(world)[2] == files
    assert answers(world, provider_file=path) == answered
    with world.open(provider_file=path, clock=later) as lake:
        assert keeping(lake).status()["provider"] == "openbao"
        lake.ingest("events", w.table([row("EMP-NEW", w.NOW.replace(tzinfo=None), "judge", note="new", n=1)]))
        keys = keeping(lake)
        keys.rotate_roots(ROOT_NAMES, world.root.parent / "backups")
        keys.rotate_buckets(keys.places(KeyScope()))
        keys.rotate_keks(KeyScope())
    assert sound(world, provider_file=path)
    move(world, "local", path)
    assert len(world.rows()) == 145
    assert sound(world)
    entries = operations(world)
    assert [(entry["step"], entry.get("to")) for entry in entries if entry["verb"] == "move"] == [
        ("begin", "openbao"),
        ("done", None),
        ("begin", "local"),
        ("done", None),
    ]


def test_the_provider_of_before_opens_nothing_any_more(world: World, bao: Path) -> None:
    """The key file alone is not enough, and a process that was open before must be started again."""
    with pytest.raises(UsageError, match="held by a provider of kind 'openbao'"):
        world.rows()
    move(world, "local", bao)
    with world.connect() as reader:
        assert same_rows(reader.sql("SELECT * FROM events").arrow().to_pylist(), EXPECTED)
        other = bao.with_name("other.yaml")
        other.write_text(bao.read_text().replace("prefix: t", "prefix: u"))
        move(world, other)
        with pytest.raises(KeyStateError, match="moved to another provider"):
            reader.sql("SELECT * FROM events")
    assert same_rows(rows(world, other), EXPECTED)


MOVING = """
from tests.gateway.baolakes import move
sys.addaudithook(hook)
move(world, sys.argv[5])
"""


@pytest.mark.parametrize("step", ["openbao.key-made", "move.roots-made", "move.wrapped", "move.switched"])
def test_a_move_that_is_killed_is_finished_by_the_same_command(world: World, openbao: OpenBaoServer, step: str) -> None:
    """Before the switch the old provider holds, after it the new one; the half that is left is made good."""
    path = service_file(world, openbao)
    assert finished(child(world, MOVING, step, 1, path))[0] < 0
    switched = step == "move.switched"
    now = path if switched else None
    assert answers(world, QUESTIONS[:1], provider_file=now)[0]
    with world.open(provider_file=now) as lake, pytest.raises(KeyOperationError, match="same command"):
        keeping(lake).resume()
    move(world, path, now)
    assert same_rows(rows(world, path), EXPECTED)
    assert sound(world, provider_file=path)


def test_a_target_that_is_not_there_stops_a_move_before_it_begins(world: World, openbao: OpenBaoServer) -> None:
    """Wrong address, wrong token, keys of another lake: nothing is unfinished, and nothing is changed."""
    path = service_file(world, openbao)
    text = path.read_text()
    taken = service_file(world, openbao, "taken")
    other = w.make(world.root.parent / "other", rows=w.known_rows()[:2])
    move(other, taken)
    before = state_of(world)
    cases: list[tuple[str, str, type[Exception]]] = [
        (text.replace(openbao.address, "https://127.0.0.1:9"), openbao.root_token, ProviderUnavailableError),
        (text, "s.wrong", ProviderDeniedError),
        (taken.read_text(), openbao.root_token, KeyOperationError),
    ]
    for content, token, kind in cases:
        path.write_text(content)
        path.with_suffix(".token").write_text(token)
        with pytest.raises(kind):
            move(world, path)
        with world.open() as lake:
            assert keeping(lake).status()["unfinished"] == []
    assert state_of(world) == before
    assert len(rows(other, taken)) == 2


def test_a_wrong_or_lost_provider_is_a_typed_error(world: World, openbao: OpenBaoServer, bao: Path) -> None:
    """Whoever opens the lake: retryable where waiting may help, and never a row."""
    text, token = bao.read_text(), bao.with_suffix(".token")

    def opened() -> KeysError:
        with pytest.raises(KeysError) as failed:
            world.open(provider_file=bao)
        assert openbao.root_token not in str(failed.value)
        return failed.value

    token.write_text("s.wrong")
    assert (type(opened()), opened().exit_code) == (ProviderDeniedError, 5)
    token.write_text(openbao.root_token)
    bao.write_text(text.replace(openbao.address, "https://127.0.0.1:9"))
    assert (type(opened()), opened().exit_code) == (ProviderUnavailableError, 5)
    stranger = service_file(world, openbao, "stranger")
    bao.write_text(stranger.read_text())
    assert isinstance(opened(), KeyStateError)  # its keys do not exist there
    other = w.make(world.root.parent / "other", rows=w.known_rows()[:2])
    move(other, stranger)
    assert isinstance(opened(), KeyIntegrityError)  # they are another lake's
    bao.write_text(text)
    assert same_rows(rows(world, bao), EXPECTED)


def test_a_snapshot_of_the_service_is_what_the_horizon_is_about(world: World, openbao: OpenBaoServer) -> None:
    """Restored, it brings the old roots back: the search finds the way to the erased, as the certificate warned."""
    path = service_file(world, openbao, more="snapshots_kept: 30d\n")
    move(world, path)
    backups = world.root.parent / "backups"
    with world.open(provider_file=path) as lake:
        keeping(lake).backup(backups)
        snapshot = openbao.snapshot()
        text = keeping(lake).shred([ADA], backups)[1]
        assert keeping(lake).verify_shred([]).clean
        horizon = read_certificate(text, lake.home.config.audit_key)["horizon"]
    assert (horizon["provider_snapshot_days"], horizon["after"]) == (30, "2026-10-15T12:00:00+00:00")
    assert same_rows(rows(world, path), without(EXPECTED, ADA))
    openbao.restore(snapshot)
    with world.open(provider_file=path) as lake:
        found = keeping(lake).verify_shred([])
    assert len(found.paths) == KEKS
    assert not found.clean
