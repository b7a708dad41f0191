"""Random SELECTs over the known table: everything that a reader may write, throwing casts included."""

# ruff: noqa: S608 - the SQL is made of the tests' own constants
from __future__ import annotations

import random

NUMBERS = ("n", "big", "score", "sensitivity")
TEXTS = ("app", "title", "type")


def _value(rng: random.Random) -> str:
    return rng.choice(
        [
            rng.choice(NUMBERS),
            rng.choice(TEXTS),
            f"length({rng.choice(TEXTS)})",
            f"n {rng.choice('+-*')} {rng.randint(-9, 9)}",
            f"upper({rng.choice(TEXTS)})",
            "date_trunc('month', ts)",
            "coalesce(title, app, type)",
            f"CASE WHEN n > {rng.randint(-60, 60)} THEN app ELSE title END",
            f"substr({rng.choice(TEXTS)}, {rng.randint(1, 5)}, 3)",
        ]
    )


def condition(rng: random.Random, depth: int = 2) -> str:
    """A condition that no value makes throw."""
    if depth and rng.random() < 0.4:
        joined = f"({condition(rng, depth - 1)} {rng.choice(('AND', 'OR'))} {condition(rng, depth - 1)})"
        return joined if rng.random() < 0.7 else f"NOT {joined}"
    return rng.choice(
        [
            f"n {rng.choice(('<', '>', '=', '<>', '<='))} {rng.randint(-80, 80)}",
            f"score BETWEEN {rng.randint(0, 9)} AND {rng.randint(5, 20)}",
            f"app = '{rng.choice(('Editor-QX', 'Mail-QX', 'Vault-QX'))}'",
            f"app {rng.choice(('LIKE', 'NOT LIKE'))} '{rng.choice(('%a%', 'M%', '%QX'))}'",
            f"title IS {rng.choice(('', 'NOT '))}NULL",
            f"type IN ('focus', '{rng.choice(('say', 'judge'))}')",
            f"ts {rng.choice(('<', '>='))} '2026-{rng.choice(('07', '08', '09'))}-{rng.randint(1, 28):02d}'",
            f"sensitivity {rng.choice(('=', '<', '>='))} {rng.randint(1, 4)}",
            f"n IN ({rng.randint(-60, 60)}, {rng.randint(-60, 60)}, 5)",
            "app IN (SELECT max(app) FROM events)",
        ]
    )


def quiet(rng: random.Random) -> str:
    """A query that cannot fail, and whose rows do not depend on the order of the rows read."""
    where = f" WHERE {condition(rng)}" if rng.random() < 0.8 else ""
    match rng.randint(0, 5):
        case 0:
            return f"SELECT * FROM events{where}"
        case 1:
            return f"SELECT {_value(rng)} AS v, {_value(rng)} AS u FROM events{where}"
        case 2:
            keys, total = (
                _value(rng),
                rng.choice(("count(*)", "sum(n)", "min(title)", "max(ts)", "count(DISTINCT app)")),
            )
            return f"SELECT {keys} AS k, {total} AS t FROM events{where} GROUP BY ALL"
        case 3:
            return f"SELECT DISTINCT {_value(rng)} AS v FROM events{where}"
        case 4:
            joined = "events a JOIN events b ON a.ts = b.ts AND a.n <= b.n"
            return f"SELECT a.n, b.n AS m FROM {joined} WHERE a.n > {rng.randint(-9, 40)}"
        case _:
            return f"WITH c AS (SELECT * FROM events{where}) SELECT n, rank() OVER (ORDER BY ts) AS r FROM c"


def throwing(rng: random.Random) -> str:
    """A query whose casts, conversions and sums may fail on some value."""
    risky = rng.choice(
        [
            f"CAST({rng.choice(TEXTS)} AS {rng.choice(('INTEGER', 'DATE', 'DOUBLE', 'BOOLEAN', 'UUID'))})",
            f"TRY_CAST({rng.choice(TEXTS)} AS INTEGER)",
            f"CAST({rng.choice(NUMBERS)} AS TINYINT)",
            f"{rng.randint(1, 9)} // (n - {rng.randint(-60, 60)})",
            f"n % (n - {rng.randint(-60, 60)})",
            f"big * {rng.choice((3, 10**8, 10**10))}",
            f"strptime({rng.choice(TEXTS)}, '%Y-%m-%d')",
            f"regexp_matches('x', CASE WHEN n = {rng.randint(-60, 60)} THEN '(' ELSE 'x' END)",
            f"repeat(app, CASE WHEN n = {rng.randint(-60, 60)} THEN -1 ELSE 1 END)",
            f"chr(n - {rng.randint(0, 60)})",
            f"make_date(2026, n + {rng.randint(-9, 60)}, 1)",
        ]
    )
    where = f" AND {condition(rng)}" if rng.random() < 0.5 else ""
    return rng.choice(
        [
            f"SELECT {risky} AS v FROM events WHERE true{where}",
            f"SELECT count(*) AS n FROM events WHERE {risky} IS NOT NULL{where}",
            f"SELECT count({risky}) AS n, app FROM events WHERE true{where} GROUP BY app",
            f"SELECT n FROM events WHERE true{where} ORDER BY {risky}, n LIMIT 3",
        ]
    )
