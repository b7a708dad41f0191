"""The attacks, by what they try: SQL that would show hidden rows, get round the policy, reach the host, or exhaust it.

``{t}`` is the table that the attacker may read in part. What they may see of it has ``said`` as digits and ``n`` above
zero; what they may not has ``said`` as words and ``n`` = 0, so that whatever is evaluated on a hidden row raises.
"""

# ruff: noqa: E501, S608 - the attacks as they are written
from __future__ import annotations

from dataclasses import dataclass

SAME, REFUSED, DENIED, FAILS = "the same rows as without the hidden ones", "query_refused", "denied", "query_failed"


@dataclass(frozen=True, slots=True)
class Case:
    """One attack: its number in the threat model's list, what it tries, the SQL, and what must come of it."""

    number: int
    tries: str
    sql: str
    expect: str = SAME


ORACLES = (
    Case(1, "cast of a hidden text in a condition", "SELECT count(*) FROM {t} WHERE CAST(said AS INTEGER) >= 0"),
    Case(1, "cast under union", "SELECT CAST(said AS INTEGER) FROM {t} UNION ALL SELECT n FROM {t}"),
    Case(1, "cast under distinct", "SELECT DISTINCT CAST(said AS INTEGER) % 3 FROM {t}"),
    Case(2, "cast beside a join with itself", "SELECT count(*) FROM {t} a JOIN {t} b USING (n) WHERE a.said::INT > 0"),
    Case(
        3,
        "error with a hidden text",
        "SELECT count(*) FROM {t} WHERE CASE WHEN said LIKE 'bob%' THEN error(said) IS NULL ELSE true END",
        REFUSED,
    ),
    Case(4, "division by a hidden zero", "SELECT count(*) FROM {t} WHERE 1 // n >= 0"),
    Case(4, "remainder by a hidden zero", "SELECT sum(1 % n) FROM {t}"),
    Case(
        4,
        "a regular expression that only hidden rows break",
        "SELECT count(*) FROM {t} WHERE regexp_matches('x', CASE WHEN n = 0 THEN '(' ELSE 'x' END)",
    ),
    Case(4, "a date that only hidden rows break", "SELECT count(*) FROM {t} WHERE strptime(said, '%M') IS NOT NULL"),
    Case(4, "chr of a hidden number", "SELECT count(*) FROM {t} WHERE chr(n - 1) IS NOT NULL"),
    Case(
        4,
        "make_date of a hidden month",
        "SELECT count(*) FROM {t} WHERE make_date(2026, CASE WHEN n = 0 THEN 13 ELSE 1 END, 1) IS NOT NULL",
    ),
    Case(
        5,
        "overflow of a hidden sum",
        "SELECT count(*) FROM {t} WHERE (CASE WHEN n = 0 THEN 9223372036854775807 ELSE 1 END) + 1 > 0",
    ),
    Case(
        5,
        "memory for hidden rows alone",
        "SELECT sum(length(repeat('x', CASE WHEN n = 0 THEN 2000000000 ELSE 1 END))) FROM {t}",
    ),
    Case(
        6,
        "time for hidden rows alone",
        "SELECT count(*) FROM {t} WHERE CASE WHEN n = 0 THEN sleep_ms(50) IS NULL ELSE true END",
        REFUSED,
    ),
    Case(8, "statistics of a column", "SELECT DISTINCT stats(said) FROM {t}", REFUSED),
    Case(11, "a sample by blocks of the files", "SELECT count(*) FROM {t} USING SAMPLE 10%", REFUSED),
    Case(11, "a sample of all that there is", "SELECT count(*) FROM {t} USING SAMPLE 100 PERCENT (bernoulli)"),
    Case(12, "cast in a self-join", "SELECT count(*) FROM {t} a, {t} b WHERE a.n = b.n AND b.said::INT > 0"),
    Case(12, "cast in a correlated subquery", "SELECT (SELECT max(b.said::INT) FROM {t} b WHERE b.n = a.n) FROM {t} a"),
    Case(12, "cast in EXISTS", "SELECT count(*) FROM {t} a WHERE EXISTS (SELECT 1 FROM {t} b WHERE b.said::INT = a.n)"),
    Case(12, "cast in a window", "SELECT sum(said::INT) OVER (ORDER BY ts ROWS UNBOUNDED PRECEDING) FROM {t}"),
    Case(12, "cast in QUALIFY", "SELECT n FROM {t} QUALIFY row_number() OVER (ORDER BY said::INT) < 5"),
    Case(12, "cast in FILTER", "SELECT count(*) FILTER (WHERE said::INT > 0) FROM {t}"),
    Case(
        12,
        "cast in a recursive CTE",
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < (SELECT count(said::INT) FROM {t})) SELECT max(i) FROM r",
    ),
    Case(12, "cast in LATERAL", "SELECT sum(x) FROM {t} a, LATERAL (SELECT a.said::INT AS x)"),
    Case(12, "cast in a positional join", "SELECT count(a.said::INT) FROM {t} a POSITIONAL JOIN {t} b"),
    Case(12, "cast in an ASOF join", "SELECT count(b.said::INT) FROM {t} a ASOF JOIN {t} b ON a.ts >= b.ts"),
    Case(
        13, "a hidden text letter by letter", "SELECT substr(said, 1, 1) AS c, count(*) FROM {t} GROUP BY c ORDER BY c"
    ),
    Case(13, "the order of hidden texts", "SELECT n FROM {t} ORDER BY said LIMIT 3"),
    Case(13, "a join with guesses", "SELECT count(*) FROM {t} JOIN (VALUES ('bobsecret1'), ('5')) g(s) ON said = s"),
)
ROUNDABOUT = (
    Case(16, "the table with a schema", "SELECT * FROM main.{t}", REFUSED),
    Case(16, "the table with a catalog", "SELECT * FROM memory.main.{t}", REFUSED),
    Case(16, "query_table", "SELECT * FROM query_table('{t}')", REFUSED),
    Case(16, "query", "SELECT * FROM query('FROM {t}')", REFUSED),
    Case(16, "another table", "SELECT * FROM moods", DENIED),
    Case(16, "no table at all", "SELECT * FROM nowhere", DENIED),
    Case(17, "a temporary table", "CREATE TEMP TABLE {t} AS SELECT 1", REFUSED),
    Case(18, "a temporary macro", "CREATE TEMP MACRO lower(x) AS 'a'", REFUSED),
    Case(19, "a macro for others", "CREATE OR REPLACE MACRO lower(x) AS 'a'", REFUSED),
    Case(20, "a variable", "SET VARIABLE u = 'bob'", REFUSED),
    Case(20, "reading a variable", "SELECT getvariable('u')", REFUSED),
    Case(21, "a search path", "SET search_path = 'temp'", REFUSED),
    Case(21, "USE", "USE memory", REFUSED),
    Case(21, "another database", "ATTACH ':memory:' AS z", REFUSED),
    Case(22, "a CTE in the table's place", "WITH {t} AS (SELECT 'bob' AS said) SELECT * FROM {t}", REFUSED),
    Case(23, "a DELETE in a CTE", "WITH c AS (DELETE FROM {t} RETURNING n) SELECT * FROM c", REFUSED),
    Case(23, "an INSERT in a CTE", "WITH c AS (INSERT INTO {t} VALUES (1) RETURNING n) SELECT * FROM c", REFUSED),
    Case(23, "an UPDATE in a CTE", "WITH c AS (UPDATE {t} SET n = 1 RETURNING n) SELECT * FROM c", REFUSED),
    Case(24, "two statements", "SELECT 1; DROP TABLE {t}", REFUSED),
    Case(24, "two SELECTs", "SELECT n FROM {t}; SELECT said FROM {t}", REFUSED),
    Case(25, "a PRAGMA whose argument is evaluated", "PRAGMA table_info(nextval('s')::varchar)", REFUSED),
    Case(25, "a PRAGMA that raises a setting", "PRAGMA table_info(error(current_setting('temp_directory')))", REFUSED),
    *(
        Case(26, f"the statement {words.split()[0]}", words, REFUSED)
        for words in (
            "SHOW TABLES", "CALL duckdb_tables()", "EXECUTE p", "PREPARE p AS SELECT 1", "COPY {t} TO '/tmp/x'",
            "COPY (SELECT * FROM {t}) TO STDOUT", "EXPORT DATABASE '/tmp/x'", "IMPORT DATABASE '/tmp/x'", "LOAD httpfs",
            "INSTALL httpfs", "CHECKPOINT", "BEGIN", "COMMIT", "VACUUM", "ANALYZE", "DROP TABLE {t}", "RESET threads",
            "INSERT INTO {t} VALUES (1)", "DELETE FROM {t}", "UPDATE {t} SET n = 1", "ALTER TABLE {t} ADD COLUMN z INT",
            "CREATE VIEW v AS SELECT 1", "CREATE SEQUENCE s", "DETACH memory", "EXPLAIN ANALYZE SELECT * FROM {t}",
            "FROM (SHOW TABLES)", "FROM (SHOW ALL TABLES)",
        )
    ),
    Case(27, "the table in quotes", 'SELECT count(*) FROM "{t}"'),
    Case(27, "the table first", "FROM {t} SELECT count(*)"),
    Case(27, "TABLE", "TABLE {t}"),
    Case(27, "comments within", "SELECT/**/count(*)--x\nFROM/* {t} */{t}"),
    Case(27, "capital letters", "SELECT COUNT(*) FROM {T}"),
    Case(27, "a text for a table", "SELECT * FROM '{t}'", SAME),
    Case(41, "the catalog's views", "SELECT sql FROM duckdb_views()", REFUSED),
    Case(41, "sqlite's catalog", "SELECT * FROM sqlite_master", DENIED),
    Case(41, "the query itself", "SELECT current_query()", REFUSED),
)  # fmt: skip
HOST = (
    *(
        Case(33, f"a file by {words.split('(')[0].split()[-1]}", words, REFUSED)
        for words in (
            "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_blob('/etc/passwd')",
            "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_json('/etc/passwd')",
            "SELECT * FROM read_parquet('/tmp/*.parquet')", "SELECT * FROM parquet_metadata('/tmp/x')",
            "SELECT * FROM glob('/*')", "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT * FROM read_duckdb('/tmp/x')",
        )
    ),
    Case(33, "a file for a table", "SELECT * FROM '/etc/passwd'", DENIED),
    Case(33, "a Parquet file for a table", "SELECT * FROM 'x.parquet'", DENIED),
    Case(34, "the environment", "SELECT getenv('HOME')", REFUSED),
    Case(35, "a variable of Python", "SELECT * FROM world", DENIED),
    *(
        Case(36, f"the setting by {words}", f"SELECT * FROM {words}", REFUSED)
        for words in (
            "duckdb_settings()", "pragma_version()", "pragma_platform()", "pragma_user_agent()",
            "pragma_database_size()", "duckdb_memory()", "duckdb_connection_count()",
        )
    ),
    Case(36, "the folder of secrets", "SELECT current_setting('secret_directory')", REFUSED),
    Case(36, "a transaction's number", "SELECT txid_current()", REFUSED),
    Case(36, "settings as PostgreSQL has them", "SELECT * FROM pg_settings", DENIED),
    Case(37, "the secrets", "SELECT * FROM duckdb_secrets()", REFUSED),
    Case(37, "the extensions", "SELECT * FROM duckdb_extensions()", REFUSED),
    Case(38, "the log of others", "SELECT * FROM duckdb_logs()", REFUSED),
    Case(39, "a forged line of the log", "SELECT write_log('forged')", REFUSED),
    Case(40, "another partition's file", "SELECT * FROM read_parquet('data/events/subject=*/**')", REFUSED),
    Case(42, "an address in memory", "SELECT * FROM arrow_scan(1, 2, 3)", REFUSED),
    Case(42, "an object of Python", "SELECT * FROM pandas_scan(1)", REFUSED),
    Case(42, "a function of Python", "SELECT python_map_function(1)", REFUSED),
)  # fmt: skip
TEXTS = (
    Case(63, "dollar quotes", "SELECT $$x; DROP TABLE {t}; --$$ AS s, count(*) FROM {t}"),
    Case(63, "a comment that does not end", "SELECT 1 /* {t}", REFUSED),
    Case(63, "a NUL", "SELECT 1 \0 FROM {t}", REFUSED),
    Case(63, "a megabyte", "SELECT '" + "x" * 1_000_000 + "' FROM {t}", REFUSED),
    Case(63, "nothing", "", REFUSED),
    Case(63, "a comment alone", "-- {t}", REFUSED),
    Case(63, "half of a character", "SELECT '\ud800' FROM {t}", REFUSED),
    Case(63, "letters that look alike", "SELECT count(*) FROM ev\u0435nts", DENIED),
    Case(48, "parentheses without end", "SELECT " + "(" * 50_000 + "1" + ")" * 50_000, REFUSED),
    Case(48, "NOT without end", "SELECT " + "NOT " * 20_000 + "true", REFUSED),
    Case(48, "CASE without end", "SELECT " + "CASE WHEN true THEN " * 5_000 + "1" + " END" * 5_000, REFUSED),
    Case(48, "lists without end", "SELECT " + "[" * 20_000 + "]" * 20_000, REFUSED),
    Case(46, "two million constants", "SELECT 1 IN (" + ",".join("1" * 1 for _ in range(60_000)) + ")", REFUSED),
)
ALL = (*ORACLES, *ROUNDABOUT, *HOST, *TEXTS)
