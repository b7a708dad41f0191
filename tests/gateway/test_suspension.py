"""What is suspended stays in good order: rotated like the rest, not taken for damage, and opened by nobody."""

# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import pytest

from keys.errors import KeyStateError
from lake.gateway.doctor import DAMAGE, WARNING, Doctor
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.gateway.reconcile import reconcile
from tests import world as w
from tests.world import ADA, BEN, World, landed, same_rows

EXPECTED = landed(w.known_rows())


def test_a_disabled_employee_is_rotated_and_stays_disabled(world: World) -> None:
    """No query opens their keys before, meanwhile or after; enabled again, every row is there."""
    with world.open() as lake, world.open(clock=lambda: w.NOW.replace(hour=13)) as later:
        KeyKeeping(lake.home, lake.actor).change_state(
            KeyScope(employees=frozenset({ADA})), disabled=True, whole_level=False
        )
        operation = KeyKeeping(later.home, later.actor).rotate_keks(KeyScope())
        assert (operation.detail["keks"], operation.detail["deks"]) == (32, 32)
        with pytest.raises(KeyStateError):
            world.rows()
        found = world.rows(f"SELECT * FROM events WHERE employee = '{BEN}'")
        assert same_rows(found, [one for one in EXPECTED if one["employee"] == BEN])
        KeyKeeping(lake.home, lake.actor).change_state(
            KeyScope(employees=frozenset({ADA})), disabled=False, whole_level=False
        )
    assert same_rows(world.rows(), EXPECTED)


@pytest.mark.parametrize("whole_level", [True, False])
def test_disabled_keys_are_no_damage(world: World, whole_level: bool) -> None:
    """A level, or its KEKs: the doctor and the verification count what they could not open."""
    scope = KeyScope(sensitivities=frozenset({4}))
    with world.open() as lake:
        keys = KeyKeeping(lake.home, lake.actor)
        assert keys.verify_deks() == {"deks": 32, "suspended_deks": 0}
        keys.change_state(scope, disabled=True, whole_level=whole_level)
        assert keys.verify_deks() == {"deks": 24, "suspended_deks": 8}
        found = list(Doctor(lake.home).examine_lake())
        assert not [each for each in found if each.state == DAMAGE]
        assert [each.message for each in found if each.check == "objects" and each.state == WARNING]
        assert keys.verify()["keks"] == 32
        with pytest.raises(KeyStateError):
            world.rows()
        keys.change_state(scope, disabled=False, whole_level=whole_level)
        assert reconcile(lake.home, lake.actor).differences == []
    assert same_rows(world.rows(), EXPECTED)
