"""The key service is down, sealed or refuses: typed errors, nothing half done, and it goes on when it is back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from keys.errors import (
    KeyOperationError,
    ProviderDeniedError,
    ProviderError,
    ProviderSealedError,
    ProviderUnavailableError,
)
from lake.api import Lake
from lake.gateway.keyplans import KeyScope
from tests import world as w
from tests.gateway.baolakes import EVERYTHING, move, rows, service_file
from tests.gateway.keylakes import keeping, later, sound, without
from tests.keys.providers.openbao_server import OpenBaoServer, wait_until
from tests.world import ADA, World, landed, row, same_rows

pytest_plugins = ("tests.keys.providers.case_openbao",)

EXPECTED = landed(w.known_rows())


@pytest.fixture
def bao(world: World, openbao: OpenBaoServer) -> Path:
    """The lake's keys are moved to OpenBao; the provider file."""
    path = service_file(world, openbao)
    move(world, path)
    return path


def down(server: OpenBaoServer, _: Path) -> Callable[[], None]:
    """Nobody answers."""
    server.kill()
    return lambda: started(server)


def sealed(server: OpenBaoServer, _: Path) -> Callable[[], None]:
    """It is up, and sealed by its operator; it unseals itself when it starts."""
    server.call("PUT", "sys/seal")

    def unseal() -> None:
        server.kill()
        started(server)

    return unseal


def denied(server: OpenBaoServer, token: Path) -> Callable[[], None]:
    """The token is revoked; who gives the next one puts it into the file."""
    server.call("POST", "auth/token/revoke", {"token": token.read_text()})

    def renew() -> None:
        token.write_text(server.token(EVERYTHING))

    return renew


def started(server: OpenBaoServer) -> None:
    server.start()
    wait_until(server.active)


OUTAGES = {"down": (down, ProviderUnavailableError), "sealed": (sealed, ProviderSealedError)} | {
    "denied": (denied, ProviderDeniedError)
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_service_that_is_away_stops_everything_cleanly(
    world: World, openbao: OpenBaoServer, bao: Path, outage: str
) -> None:
    """Query, landing, rotation of each kind, shredding: typed and retryable, nothing half done; then it goes on."""
    begin, kind = OUTAGES[outage]
    objects = world.objects()
    new = w.table([row("EMP-NEW", w.NOW.replace(tzinfo=None), "judge", note="new", n=1)])
    with world.open(provider_file=bao, clock=later) as lake, world.connect(provider_file=bao) as reader:
        end = begin(openbao, bao.with_suffix(".token"))
        try:
            for attempt in (
                lambda: reader.sql("SELECT * FROM events"),
                lambda: lake.ingest("events", new, batch_id="new"),
                lambda: keeping(lake).verify(),
                lambda: keeping(lake).backup(world.root.parent / "backups"),
            ):
                fails(attempt, kind)
            assert world.objects() == objects
            status = keeping(lake).status()
            assert [entry["answers"] for entry in status["health"]] == [False] * 5
            assert sum("does not answer" in line for line in status["overdue"]) == 5
            rotations_fail(lake, kind)
        finally:
            end()
        assert same_rows(reader.sql("SELECT * FROM events").arrow().to_pylist(), EXPECTED)
        assert keeping(lake).resume() is not None
        assert lake.ingest("events", new, batch_id="new").rows == 1
        assert same_rows(without(rows(world, bao), "EMP-NEW"), EXPECTED)
    assert sound(world, provider_file=bao)


def fails(attempt: Callable[[], object], kind: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as failed:
        attempt()
    assert isinstance(failed.value, kind)
    assert failed.value.exit_code == 5


def rotations_fail(lake: Lake, kind: type[ProviderError]) -> None:
    """The first stops on its way and is resumed later; the others wait for it."""
    fails(lambda: keeping(lake).rotate_roots(["root-dss4"]), kind)
    assert [found["verb"] for found in keeping(lake).status()["unfinished"]] == ["rotate root"]
    fails(lambda: keeping(lake).resume(), kind)
    with pytest.raises(KeyOperationError, match="not finished"):
        keeping(lake).rotate_keks(KeyScope())


@pytest.mark.parametrize("verb", ["bucket", "kek", "shred"])
def test_an_operation_that_loses_its_service_is_finished_by_resume(
    world: World, openbao: OpenBaoServer, bao: Path, verb: str
) -> None:
    """The token is taken away in the middle; others' rows are whole before and after."""
    token = bao.with_suffix(".token")
    with world.open(provider_file=bao, clock=later) as lake:
        keys = keeping(lake)
        verbs: dict[str, Callable[[], object]] = {
            "bucket": lambda: keys.rotate_buckets(keys.places(KeyScope())),
            "kek": lambda: keys.rotate_keks(KeyScope()),
            "shred": lambda: keys.shred([ADA], world.root.parent / "backups"),
        }
        end = denied(openbao, token)
        fails(verbs[verb], ProviderDeniedError)
        end()
        expected = without(EXPECTED, ADA) if verb == "shred" else EXPECTED
        assert same_rows(rows(world, bao), expected)
        assert keys.resume() is not None
    assert same_rows(rows(world, bao), expected)
    assert sound(world, provider_file=bao)
