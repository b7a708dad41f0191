"""The questions that are asked, each with the bounds by which a catalog can leave files out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bench.world import START, TITLE_LENGTH

EMPLOYEE = "E00002"
WINDOW = (START + timedelta(days=41, hours=9), START + timedelta(days=41, hours=11))


@dataclass(frozen=True, slots=True)
class Query:
    """One SELECT over ``{events}``, which may also name ``{employee}``, ``{first}`` and ``{last}``.

    Attributes:
        employee, window: what the query restricts itself to, and a catalog can prune by.
        export: a large result, taken batch by batch.
    """

    name: str
    sql: str
    employee: str | None = None
    window: tuple[datetime, datetime] | None = None
    export: bool = False

    def over(self, events: str) -> str:
        """The SQL over a table of that name."""
        first, last = self.window or ("", "")
        return self.sql.format(events=events, employee=self.employee, first=first, last=last)


QUERIES = (
    Query(
        "full aggregate",
        """SELECT count(*) AS n, count(DISTINCT employee) AS people, sum(x) AS x, sum(y) AS y, sum(hold_ms) AS hold,
        sum(duration_ms) AS duration, min(ts) AS first, max(ts) AS last, max(sensitivity) AS level FROM {events}""",
    ),
    Query(
        "group by app, type",
        """SELECT app, type, count(*) AS n, sum(duration_ms) AS duration FROM {events} GROUP BY app, type""",
    ),
    Query(
        "two-hour window",
        """SELECT type, count(*) AS n, sum(x) AS x, max(ts) AS last FROM {events}
        WHERE ts >= TIMESTAMP '{first}' AND ts < TIMESTAMP '{last}' GROUP BY type""",
        window=WINDOW,
    ),
    Query(
        "one employee",
        """SELECT app, count(*) AS n, sum(duration_ms) AS duration FROM {events}
        WHERE employee = '{employee}' GROUP BY app""",
        employee=EMPLOYEE,
    ),
    Query(
        "needle",
        """SELECT employee, ts, prompt_text FROM {events} WHERE prompt_text LIKE '%77'""",
    ),
    Query(
        "top 100",
        """SELECT ts, employee, type, app, window_title FROM {events}
        ORDER BY ts DESC, employee, type, app, window_title LIMIT 100""",
    ),
    Query(
        "distinct",
        """SELECT count(DISTINCT session) AS sessions, count(DISTINCT window_title) AS titles,
        count(DISTINCT url_host) AS hosts FROM {events}""",
    ),
    Query(
        "sessions",
        """WITH gaps AS (SELECT employee, session, date_diff('second', lag(ts) OVER (PARTITION BY employee
        ORDER BY ts), ts) AS gap FROM {events} WHERE type IN ('key', 'window_focus'))
        SELECT employee, count(*) AS n, sum(CASE WHEN gap > 300 THEN 1 ELSE 0 END) AS pauses FROM gaps
        GROUP BY employee""",
    ),
    Query(
        "export slice",
        """SELECT employee, ts, type, session, x, y, app, window_title, duration_ms FROM {events}
        WHERE type IN ('mouse', 'window_focus')""",
        export=True,
    ),
    Query("export five columns", """SELECT ts, type, x, y, app FROM {events}""", export=True),
)

FILTERED_QUERIES = tuple(query for query in QUERIES if query.name not in {"top 100", "sessions"})
"""Those whose answer does not hang on a column that the role ``filtered`` sees otherwise than it is ordered by."""

MASKED_VIEW = f"* EXCLUDE (seq) REPLACE (window_title[:{TITLE_LENGTH}] AS window_title)"
"""What the role ``filtered`` sees, in SQL."""
