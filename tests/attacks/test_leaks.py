"""Nothing readable is left: no value, name, text of a query or key in any file, message or output of the lake."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from keys import envelope
from keys.broker import Broker
from keys.errors import KeysError
from lake.errors import LakeError
from lake.gateway.doctor import Doctor
from lake.gateway.reports import Interval, Reports
from tests import world as w
from tests.leak_scanner import forms, scan, scan_bytes
from tests.world import World, child, finished, row, table

CANARIES = (
    *w.EMPLOYEES,
    "Editor-QX",
    "Vault-QX",
    "Canaryfolio",
    "saidcanary",
    "notecanary",
    w.VERA,
    "first-batch",
    "literal-canary",
    "batch-canary",
    "field-canary",
    "type-canary",
)
TEXTS = [text.encode() for text in CANARIES]

LIFE = """
import tempfile, traceback, logging
logging.basicConfig(level=logging.DEBUG)
from lake.errors import LakeError
from keys.errors import KeysError
from lake.gateway.doctor import Doctor
from lake.gateway.reports import Interval, Reports

def attempt(action):
    try:
        action()
    except (LakeError, KeysError) as error:
        traceback.print_exc()
        print(error, repr(error), error.details, error.hint)

bad = w.table([w.row(w.ADA, w.datetime(2026, 9, 1), "focus", app="Editor-QX" * 9)])
odd = w.table([w.row(w.ADA, w.datetime(2026, 9, 1), "type-canary", app="Editor-QX")])
odd = odd.append_column("field-canary", odd["app"])
with world.open() as lake:
    lake.ingest("events", odd, batch_id="batch-canary")
    attempt(lambda: lake.ingest("events", bad, batch_id="batch-canary-2"))
    reports = Reports(lake.home, lake.policies, lake.actor)
    reports.blast_radius(w.VERA, Interval()), reports.activity(Interval())
    reports.subject_report(w.ADA, Interval(), identities=True)
    print(repr(lake.home), repr(lake), repr(lake.home.control), repr(lake.home.broker), repr(lake.policies.current))
    print([finding for finding in Doctor(lake.home).examine()])
with world.connect() as connection:
    for sql in (
        "SELECT * FROM events WHERE app = 'literal-canary'",
        "SELECT list(title ORDER BY title), max(said || note) FROM events, range(100) GROUP BY n",
        "SELECT CAST(title AS INTEGER) FROM events",
        "SELECT strptime(said, '%Y') FROM events",
        "SELECT * FROM literal_canary",
        "SELECT FROM 'literal-canary",
        "SELECT nope('literal-canary')",
        "COPY events TO '/tmp/literal-canary'",
    ):
        attempt(lambda: connection.sql(sql).arrow())
    print(repr(connection), repr(connection._gateway))
"""


@pytest.fixture
def lived(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[World, Path, str]:
    """A lake after ingest, queries, errors and reports in a child; its temporary folder; and all that it printed."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    status, out, err = finished(child(world, LIFE))
    assert status == 0, err
    return world, temporary, out + err


def test_no_plaintext_is_left_in_any_file(lived: tuple[World, Path, str]) -> None:
    """No value, employee, user, constant, batch id, unknown field or type is in a file of the lake or beside it."""
    world, temporary, _ = lived
    assert scan([world.root, temporary], TEXTS) == []
    assert not list(temporary.iterdir())


def test_no_value_is_in_messages_and_output(lived: tuple[World, Path, str]) -> None:
    """Errors, tracebacks, representations and logging show no value of a row."""
    _, _, output = lived
    assert "could not be converted" in output
    rows = [text for text in TEXTS if text.startswith((b"EMP", b"Editor", b"Vault", b"Canary", b"said", b"note"))]
    code = "\n".join(line for line in output.splitlines() if not line.startswith("    "))
    assert list(scan_bytes(code.encode(), rows)) == []


def test_no_key_is_left_anywhere(world: World, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """No DEK or KEK that passed through the broker is in a file, an output, an exception or a representation."""
    seen: list[bytes] = []
    original, fresh, opening = Broker.release, envelope.new_key, envelope.unseal

    def release(self: Broker, receipt: Any, requests: Sequence[Any]) -> list[bytes]:
        deks = original(self, receipt, requests)
        seen.extend(dek for dek in deks if dek)  # none of a file whose rows are held
        return deks

    def new_key() -> bytes:
        seen.append(key := fresh())
        return key

    def unseal(*arguments: Any) -> bytes:
        opened = opening(*arguments)
        if len(opened) == 32:
            seen.append(opened)
        return opened

    monkeypatch.setattr(Broker, "release", release)
    monkeypatch.setattr(envelope, "new_key", new_key)
    monkeypatch.setattr(envelope, "unseal", unseal)
    texts: list[str] = []
    with world.open() as lake:
        lake.ingest("events", table([row(w.ADA, datetime(2026, 6, 1), "focus", app="x")]))
        list(Doctor(lake.home).examine())
        Reports(lake.home, lake.policies, lake.actor).blast_radius(w.VERA, Interval())
        texts.append(repr(vars(lake.home)))
    with world.connect() as connection:
        connection.sql("SELECT * FROM events").arrow()
        for sql in ("SELECT CAST(said AS INTEGER) FROM events", "SELECT * FROM other"):
            with pytest.raises((LakeError, KeysError)) as caught:
                connection.sql(sql).arrow()
            texts.append(f"{caught.value!r} {caught.value} {vars(caught.value)}")
    world.objects()[0].unlink()
    with world.connect() as connection:  # the one before has read it, and may answer
        with pytest.raises((LakeError, KeysError)) as caught:
            connection.sql("SELECT * FROM events").arrow()
        texts.append(f"{caught.value!r} {caught.value}")
    keys = set(seen)
    assert len(keys) > 32
    assert scan([world.root], keys) == []
    printed = capfd.readouterr()
    assert list(scan_bytes("\n".join([*texts, printed.out, printed.err]).encode(), keys)) == []


@pytest.mark.parametrize("form", sorted(forms(b"planted-canary")))
def test_the_scanner_finds_what_is_planted(tmp_path: Path, form: str) -> None:
    """The control: a text in any encoding, at any place, is found."""
    for shift in range(3):
        (tmp_path / "file").write_bytes(os.urandom(50) + forms(b"planted-canary")[form] + os.urandom(shift))
        assert scan([tmp_path], [b"planted-canary"])


def test_the_scanner_finds_what_is_compressed(tmp_path: Path) -> None:
    """The control: a text inside a gzip, zlib or zstd stream, after other bytes, is found; in a name, too."""
    plain = b"some text with a planted-canary and more " * 3
    for number, packed in enumerate(
        (gzip.compress(plain), zlib.compress(plain), pa.compress(plain, "zstd").to_pybytes())
    ):
        (tmp_path / str(number)).write_bytes(b"other bytes" + packed + b"tail")
    (tmp_path / "planted-canary").mkdir()
    assert len({path for path, _, _ in scan([tmp_path], [b"planted-canary"])}) == 4
