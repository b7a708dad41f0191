"""How much of everything the door takes."""

from __future__ import annotations

from dataclasses import dataclass

from lake.clear.sandbox.syntax import MAX_CHARACTERS
from lake.settings import MIB


@dataclass(frozen=True, slots=True)
class FlightLimits:
    """Limits of the door; times in seconds, sizes in bytes.

    Attributes:
        calls: under way at a time, most of them waiting for a sandbox. Each occupies a thread, so more are refused.
        calls_each: of one user.
        spare: more of each for actions, so that who is at the limit can still cancel and close.
        statements_each: prepared by one user and not closed; one that is idle for ``statement_seconds`` is dropped.
        tickets_each: of one user, not used yet; a ticket lapses after ``ticket_seconds``.
        held: of statements and tickets together, SQL and parameters counted; ``held_each`` of one user.
        sql: characters.
        parameters: of one statement, their size, and items of lists in them.
        command: one command or action.
        batch: of a result, as it is sent; a single row may be larger.
        endpoints: parts of one result.
        stalled: a client takes no batch for so long: its query ends.
        look: between two looks for clients that are gone.
    """

    calls: int = 256
    calls_each: int = 16
    spare: int = 8
    statements_each: int = 100
    statement_seconds: float = 600.0
    tickets_each: int = 1000
    ticket_seconds: float = 60.0
    held: int = 64 * MIB
    held_each: int = 8 * MIB
    sql: int = MAX_CHARACTERS
    parameters: int = 1000
    parameters_size: int = MIB
    parameter_items: int = 100_000
    command: int = MIB
    batch: int = 2 * MIB
    endpoints: int = 64
    stalled: float = 600.0
    look: float = 1.0
