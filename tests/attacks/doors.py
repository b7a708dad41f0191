"""Every way to ask the lake the same thing. A door answers with rows or with the class of an error, never both.

``Gateway`` is all that these attacks know of what they attack; another DuckDB gateway can be put in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.flight as fl

from keys.errors import KeysError
from lake.api import Connection
from lake.errors import LakeError
from lake.gateway.service import GatewayService
from lake.wire import flight_sql as wire
from tests.gateway.flight import asking
from tests.gateway.flight.doors import Opened, opened
from tests.gateway.served import caller, serving
from tests.world import World

Parameters = Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a table, or an error's code and words."""

    table: pa.Table | None
    error: str = ""
    words: str = ""

    def rows(self) -> list[str]:
        """Rows as texts, sorted; none of an error."""
        return [] if self.table is None else sorted(repr(list(row.values())) for row in self.table.to_pylist())

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Names and types of the columns."""
        return [] if self.table is None else [(field.name, str(field.type)) for field in self.table.schema]


class Door(Protocol):
    """One way in."""

    name: str

    def ask(self, user: str, purpose: str, sql: str, parameters: Parameters = ()) -> Answer:
        """Ask, and take all rows."""


class Embedded:
    """The library in the asker's own process."""

    name = "embedded"

    def __init__(self, world: World, stack: ExitStack) -> None:
        self._world = world
        self._stack = stack
        self._connections: dict[tuple[str, str], Connection] = {}

    def ask(self, user: str, purpose: str, sql: str, parameters: Parameters = ()) -> Answer:
        """Ask, and take all rows."""
        if (user, purpose) not in self._connections:
            self._connections[user, purpose] = self._stack.enter_context(self._world.connect(user, purpose))
        try:
            return Answer(self._connections[user, purpose].sql(sql, parameters).arrow())
        except (LakeError, KeysError) as error:
            return Answer(None, error.code, str(error))


class Service:
    """The gateway's one function, which every server calls."""

    name = "service"

    def __init__(self, service: GatewayService) -> None:
        self._service = service

    def ask(self, user: str, purpose: str, sql: str, parameters: Parameters = ()) -> Answer:
        """Ask, and take all rows."""
        try:
            stream = self._service.run(caller(user, purpose), sql, parameters)
            try:
                return Answer(pa.Table.from_batches(stream, stream.schema))
            finally:
                stream.close()
        except (LakeError, KeysError) as error:
            return Answer(None, error.code, str(error))


class Statement:
    """Arrow Flight SQL: a statement, its ticket, and what is behind it."""

    name = "flight statement"

    def __init__(self, door: Opened) -> None:
        self._door = door
        self._clients: dict[tuple[str, str], tuple[fl.FlightClient, fl.FlightCallOptions]] = {}

    def ask(self, user: str, purpose: str, sql: str, parameters: Parameters = ()) -> Answer:
        """Ask, and take all rows."""
        client, options = self._client(user, purpose)
        try:
            return Answer(self._ask(client, options, sql, parameters))
        except fl.FlightError as error:
            said = json.loads(error.extra_info)
            hint = f" ({said['hint']})" if said["hint"] else ""
            return Answer(None, said["error"], said["message"] + hint)

    def _ask(
        self, client: fl.FlightClient, options: fl.FlightCallOptions, sql: str, parameters: Parameters
    ) -> pa.Table:
        assert not parameters
        return asking.ask(client, options, wire.CommandStatementQuery(query=sql))

    def _client(self, user: str, purpose: str) -> tuple[fl.FlightClient, fl.FlightCallOptions]:
        if (user, purpose) not in self._clients:
            self._clients[user, purpose] = fl.connect(self._door.url), self._door.options(user, purpose)
        return self._clients[user, purpose]


class Prepared(Statement):
    """Arrow Flight SQL: a prepared statement, executed as often as ``times`` says; the last answer counts."""

    def __init__(self, door: Opened, times: int) -> None:
        super().__init__(door)
        self.name = f"flight prepared, {times} times"
        self._times = times

    def _ask(
        self, client: fl.FlightClient, options: fl.FlightCallOptions, sql: str, parameters: Parameters
    ) -> pa.Table:
        handle = asking.prepare(client, options, sql).prepared_statement_handle
        try:
            for _ in range(self._times):
                found = asking.ask(
                    client, options, wire.CommandPreparedStatementQuery(prepared_statement_handle=handle)
                )
            return found
        finally:
            closing = wire.ActionClosePreparedStatementRequest(prepared_statement_handle=handle)
            asking.act(client, options, "ClosePreparedStatement", wire.pack(closing))


@contextmanager
def embedded(world: World) -> Iterator[Door]:
    """A library on a lake."""
    with ExitStack() as stack:
        yield Embedded(world, stack)


@contextmanager
def service(world: World) -> Iterator[Door]:
    """A gateway's function on a lake, which keeps slices."""
    with serving(world, slice_cache=64 << 20) as opened:
        yield Service(opened)


@contextmanager
def statement(world: World) -> Iterator[Door]:
    """A gateway's Flight door on a lake."""
    with serving(world, slice_cache=64 << 20) as running, opened(running) as door:
        yield Statement(door)


WAYS: Mapping[str, Callable[[World], AbstractContextManager[Door]]] = {
    "embedded": embedded,
    "service": service,
    "flight": statement,
}
"""Ways to open a door on a lake."""
