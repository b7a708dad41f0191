from __future__ import annotations

import re

import duckdb
import pytest

from lake.clear.sandbox import functions


def _installed() -> set[str]:
    rows = duckdb.connect().execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()
    return {str(row[0]).lower() for row in rows}


def test_every_installed_function_has_been_reviewed() -> None:
    """A DuckDB that brings a function found in neither list fails here, which forces a review."""
    assert sorted(name for name in _installed() if not functions.is_reviewed(name)) == []


def test_no_listed_name_is_a_ghost() -> None:
    """Every name on the lists exists in the installed DuckDB."""
    assert sorted((functions.ALLOWED | functions.REFUSED) - _installed()) == []


def test_no_name_is_both_allowed_and_refused() -> None:
    """The lists are disjoint, families refused by prefix included."""
    assert not functions.ALLOWED & functions.REFUSED
    assert [name for name in functions.ALLOWED if name.startswith(tuple(functions.REFUSED_PREFIXES))] == []


def test_names_are_folded_and_in_one_group_only() -> None:
    """Names are lower case, and a name belongs to one group of its kind."""
    for groups in (functions.SCALAR_GROUPS, functions.AGGREGATE_GROUPS, functions.REFUSED_GROUPS):
        names = [name for group in groups for name in group.names]
        assert sorted(names) == sorted({name.lower() for name in names})
        assert all(group.reason for group in groups)


@pytest.mark.parametrize(
    "name",
    [
        "error",
        "stats",
        "sleep_ms",
        "setseed",
        "write_log",
        "nextval",
        "getvariable",
        "current_setting",
        "query",
        "version",
    ],
)
def test_dangerous_functions_are_not_callable(name: str) -> None:
    """The functions that the attack tables name are in no allowed list."""
    assert name not in functions.ALLOWED


def test_scalar_names_are_scalars_and_aggregates_are_aggregates() -> None:
    """A name allowed as one kind is of that kind in DuckDB."""
    rows = duckdb.connect().execute("SELECT DISTINCT lower(function_name), function_type FROM duckdb_functions()")
    kinds: dict[str, set[str]] = {}
    for name, kind in rows.fetchall():
        kinds.setdefault(name, set()).add(kind)
    assert [n for n in functions.SCALARS - {"unnest"} if not kinds[n] & {"scalar", "macro"}] == []
    assert [n for n in functions.AGGREGATES if not kinds[n] & {"aggregate", "macro"}] == []
    assert [n for n in functions.WINDOWS if "window" not in kinds[n]] == []
    assert [n for n in functions.TABLE_FUNCTIONS if "table" not in kinds[n]] == []


def test_macros_among_the_scalars_are_made_of_scalars() -> None:
    """No scalar is a macro over an aggregate, a window or several rows, unless it is listed as making rows."""
    rows = duckdb.connect().execute(
        "SELECT DISTINCT lower(function_name), macro_definition FROM duckdb_functions() WHERE function_type = 'macro'"
    )
    called = {name: set(re.findall(r'"?(\w+)"?\(', definition.lower())) for name, definition in rows.fetchall()}
    makers = functions.AGGREGATES | functions.WINDOWS | {"unnest"}
    found = {name for name in called if name in functions.SCALARS and called[name] & makers}
    assert found == functions.ROW_MAKING - {"unnest"}


def test_volatile_functions_are_those_that_duckdb_calls_so() -> None:
    """What DuckDB does not call consistent is on the list of the clock and chance, or is refused."""
    rows = duckdb.connect().execute(
        "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    )
    unstable = {name for (name,) in rows.fetchall()}
    assert sorted((unstable & functions.ALLOWED) - functions.VOLATILE) == []
    assert functions.VOLATILE <= functions.ALLOWED
