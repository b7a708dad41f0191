"""The job that shreds employees: every key of theirs, then every object in every version, then their names.

Employees of one run share the new bucket keys, the backup and the trimmed roots. A hold stops it before it begins, and
once more right before the old roots are destroyed: until then a restored backup would still open.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from jobs.runner.work import Counts, Item, Job, Plan, Run, Step
from lake.errors import DeniedError, ObjectRetainedError, UsageError
from lake.gateway.collection.devices import Devices
from lake.gateway.collection.halts import Halts
from lake.gateway.erased import Erased
from lake.gateway.holds import HoldDesk
from lake.gateway.home import Home
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.recorder import Actor
from lake.person import person
from lake.rules.hold import Spared
from lake.sealed.catalog.tables import files

SHRED = "shred"
OBJECTS_OF_ITEM = 500


def opted_out(home: Home) -> list[str]:
    """Employees who opted out of collection and have not been shredded since."""
    asked = Halts(home, Devices(home)).opted_out()
    return sorted(home.directory.find(asked))


class ShredJob(Job):
    """Shreds employees.

    Args:
        employees: their ids; None to go on with a run that was cut off.
        backup: folder of the key backup that must open before anything is destroyed.
        by: who does it; default: the operating system's user.
    """

    name = SHRED
    keep_going = False
    destroys = True

    def __init__(
        self,
        home: Home,
        actor: Actor,
        *,
        employees: Collection[str] = (),
        backup: Path | None = None,
        copies_kept: int | None = None,
        by: str = "",
    ) -> None:
        super().__init__(home, actor)
        self._by = by or person()
        self._employees = tuple(employees)
        self._backup = backup
        self._copies_kept = copies_kept
        self._holds = HoldDesk(home)

    def plan(self) -> Plan:
        """See Job.

        Raises:
            UsageError: nobody is named, somebody is not known, or no folder for the backup is.
        """
        if not self._employees or self._backup is None:
            raise UsageError("name the employees, and a folder for the key backup", hint="lake jobs shred --help")
        keys = KeyKeeping(self.home, self.actor)
        subjects = dict(sorted(keys.subjects(self._employees).values()))
        planned = keys.plan_shred(self._employees)
        objects = self._objects(subjects.values())
        parts = [objects[at : at + OBJECTS_OF_ITEM] for at in range(0, len(objects), OBJECTS_OF_ITEM)]
        # In the order of the plan: keys first, so that from then on nothing is readable.
        items = [Item("keys", {"subjects": subjects, "backup": str(self._backup.absolute())})]
        items += [Item(f"objects/{number:06}", {"objects": part}) for number, part in enumerate(parts)]
        items.append(Item("directory", {"numbers": sorted(subjects.values())}))
        held = {one.hold for one in self._touching(subjects.values())}
        return Plan(self.name, tuple(items), {**planned, "objects": len(objects)}, {"holds": len(held)})

    def admit(self, plan: Plan) -> None:
        """See Job.

        Raises:
            DeniedError: a hold keeps rows of one of them.
        """
        (numbers,) = [item.work["subjects"].values() for item in plan.items if item.id == "keys"]
        self._refuse_held(numbers)

    def execute(self, item: Item, step: Step) -> Counts:
        """See Job."""
        if item.id == "keys":
            return self._keys(item, step)
        if item.id == "directory":
            return {"entries": Erased(self.home).erase(self._by, item.work["numbers"], step.lease)}
        kept = self.delete(item.work["objects"], step)
        step.save({"kept": kept})
        return {"objects": len(item.work["objects"]) - len(kept), "residuals": len(kept)}

    def _keys(self, item: Item, step: Step) -> Counts:
        numbers: Mapping[str, int] = item.work["subjects"]
        keys = KeyKeeping(self.home, self.actor)
        if "keks" not in step.noted:
            rows = keys.keeper.changes.keks_of(numbers)
            step.save({"keks": [[row.kek_id, row.version, hashlib.sha256(row.wrapped).hexdigest()] for row in rows]})
        sys.audit("lake.step", "shred.named")
        operation, certificate = keys.shred_subjects(
            numbers,
            Path(item.work["backup"]),
            copies_kept=self._copies_kept,
            before_destruction=lambda: self._refuse_held(numbers.values()),
        )
        sys.audit("lake.step", "shred.keys-destroyed")
        step.save({"operation": operation.id, "note": certificate})
        # What landed between plan and tombstone is of nobody's plan, and goes too.
        late = self._objects(numbers.values())
        kept = self.delete(late, step)
        step.save({"late": late, "kept": kept})
        detail = operation.detail
        return {
            "employees": len(numbers),
            "keks": len(detail["keks"]),
            "bucket_keys": len(detail["buckets"]),
            "survivors": int(detail["survivors"]),
            "refused": int(detail["refused"]),
        }

    def delete(self, objects: Sequence[str], step: Step) -> list[list[str]]:
        """Delete objects in every version; gives what the store keeps, and until when."""
        kept: list[list[str]] = []
        for key in objects:
            step.alive()
            try:
                self.home.objects.delete(key)
            except ObjectRetainedError as error:
                kept.append([key, str(error.details.get("until", ""))])
            sys.audit("lake.step", "shred.object-deleted")
        return kept

    def finish(self, run: Run) -> Mapping[str, Any]:  # noqa: ARG002 - the base has it
        """See Job."""
        self.home.catalog.database.checkpoint()
        return {"destroyed_at": int(self.home.clock().timestamp() * 1_000_000)}

    def _objects(self, numbers: Collection[int]) -> list[str]:
        """Every object that a row of theirs ever named."""
        query = sa.select(files.c.object_key).where(files.c.number.in_(sorted(numbers))).order_by(files.c.object_key)
        with self.home.catalog.database.reading() as connection:
            return list(connection.execute(query).scalars())

    def _touching(self, numbers: Collection[int]) -> list[Spared]:
        return [one for one in self._holds.spared() if one.number is None or one.number in numbers]

    def _refuse_held(self, numbers: Collection[int]) -> None:
        if held := {one.hold for one in self._touching(numbers)}:
            raise DeniedError(
                f"{len(held)} legal holds keep rows of these employees", hint="'lake hold list' shows them"
            )
