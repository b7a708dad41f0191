"""A job for the tests of the runner, whose items are rows of the catalog: each counts how often it was committed."""

from __future__ import annotations

import sys

import sqlalchemy as sa

from jobs.runner.work import Counts, Item, Job, Option, Plan, Step
from lake.errors import IntegrityError, UnavailableError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.sealed.catalog.tables import marks


class Tally(Job):
    """Adds one to a mark for each item; the note of the same transaction keeps it from being added twice."""

    name = "tally"
    options = {"items": Option(int, "how many")}  # noqa: RUF012

    def __init__(self, home: Home, actor: Actor, *, items: int = 4, fails: int = -1, passes: int = -1) -> None:
        super().__init__(home, actor)
        self.items, self.fails, self.passes = items, fails, passes
        self.keep_going = True

    def plan(self) -> Plan:
        """As many items as it was told."""
        items = tuple(Item(f"mark/{index}", {"mark": index}) for index in range(self.items))
        return Plan(self.name, items, {"items": self.items})

    def execute(self, item: Item, step: Step) -> Counts:
        """Count once."""
        if item.work["mark"] == self.fails:
            raise IntegrityError("this one is broken")
        if item.work["mark"] == self.passes:
            raise UnavailableError("not now")
        if "counted" not in step.noted:
            with self.home.catalog.database.writing() as connection:
                name = f"tally-{item.work['mark']}"
                found = connection.execute(sa.select(marks.c.value).where(marks.c.name == name)).scalar() or 0
                connection.execute(marks.delete().where(marks.c.name == name))
                connection.execute(marks.insert(), [{"name": name, "value": found + 1}])
                step.note(connection, {"counted": True})
            sys.audit("lake.step", "tally.counted")
        return {"counted": 1}


def tallied(home: Home) -> dict[str, int]:
    """The marks."""
    with home.catalog.database.reading() as connection:
        rows = connection.execute(sa.select(marks).where(marks.c.name.like("tally-%"))).all()
    return {row.name: row.value for row in rows}
