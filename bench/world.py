"""The lake under measurement: made in a folder that is thrown away, with a contract and a policy for the benchmark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

import lake
from bench.measure import ROOT, Scale
from lake.api import Connection, Lake
from lake.clear.landing.carry import OpenRuns
from lake.clear.landing.conform import Conformer, conform_all
from lake.clear.landing.content.screen import ContentScreen
from lake.clear.landing.pipeline import Pipeline
from lake.clear.landing.synth import synthesise
from lake.gateway.home import Home
from lake.gateway.service import GatewayService
from lake.rules.contract import parse_contract
from lake.settings import Secrets, Settings

DATASET = "desktop_events"
MOUSE = "mouse_events"
PURPOSE = "train_assistant"
ALL, FILTERED = "everything", "filtered"
USERS = {ALL: "bench_everything", FILTERED: "bench_filtered"}

START = dt.datetime.fromisoformat("2025-07-01")
"""Long past, so that no clock finds the rows in the future."""

KEPT_BYTES = 8 << 30
"""As an operator would allow who wants questions over all rows answered from memory."""

ROW_FILTER = "type <> 'afk' AND (app IS NULL OR app NOT LIKE '%Vault%')"
TITLE_LENGTH = 12

POLICY = f"""
purposes:
  {PURPOSE}: Measuring what protection costs
roles:
  {ALL}:
    description: Hides nothing, so that only the cost of protection is left to see
    grants:
      - {{dataset: {DATASET}, purposes: [{PURPOSE}], sensitivity: 4, columns: all, employee_id: real}}
  {FILTERED}:
    description: A row filter, a hidden column and a mask
    grants:
      - dataset: {DATASET}
        purposes: [{PURPOSE}]
        sensitivity: 4
        except: [seq]
        masks: {{window_title: {{truncate: {TITLE_LENGTH}}}}}
        row_filter: "{ROW_FILTER}"
        employee_id: real
users:
  {USERS[ALL]}: {{roles: [{ALL}]}}
  {USERS[FILTERED]}: {{roles: [{FILTERED}]}}
"""


def rows_of(scale: Scale, rows: int) -> pa.RecordBatchReader:
    """Generated rows, the same for the same arguments, in constant memory."""
    return synthesise(scale.employees, rows, scale.seed, start=START)


def contract(name: str) -> str:
    """Text of an example contract: ``desktop`` or ``mouse``."""
    return (ROOT / "examples" / "contracts" / f"{name}.yaml").read_text("utf-8")


def make_lake(path: Path, **elsewhere: str) -> None:
    """A new lake at ``path`` with its key file beside it, its parts there or elsewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lake.create(path, key_file=key_file(path), single_approver=True, **elsewhere)
    with open_lake(path, 1) as db:
        db.add_contract(contract("desktop"))
        db.add_contract(contract("mouse"))
        db.apply_policy(POLICY)


def key_file(path: Path) -> Path:
    """Where the key file of a lake lies."""
    return path.with_name(path.name + ".key")


def open_lake(path: Path, threads: int) -> Lake:
    """The lake as its operator sees it."""
    return lake.open(path, key_file=key_file(path), settings=Settings(threads=threads))


def connect(path: Path, role: str, threads: int, *, keep: bool = True) -> Connection:
    """The lake as a role sees it; what one question decrypted is there for the next, or everything is done anew."""
    settings = Settings(threads=threads, slice_cache=KEPT_BYTES if keep else 0, slice_seconds=3600.0)
    return lake.connect(path, user=USERS[role], purpose=PURPOSE, key_file=key_file(path), settings=settings)


@contextmanager
def service(path: Path, threads: int) -> Iterator[GatewayService]:
    """What is behind a gateway's door, keeping slices."""
    settings = Settings(threads=threads, sandboxes_ready=2, slice_cache=KEPT_BYTES, slice_seconds=3600.0)
    secret = Secrets(key_file=key_file(path))
    opened = GatewayService(lambda: Home.open(path, secret, settings=settings), settings)
    try:
        yield opened
    finally:
        opened.close()


def rated(
    rows: Iterable[pa.RecordBatch], name: str = "desktop", masks: bytes = b"another lake"
) -> Iterator[pa.RecordBatch]:
    """Rows as the lake lands them, filtered and rated: handed, free of charge, to who writes without a contract.

    Args:
        masks: key of the tokens for masked values; with a lake's own (``mask_tags``) the rows equal that lake's.
    """
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    rules = parse_contract(contract(name), name)
    return Pipeline(rules, ContentScreen(masks), OpenRuns()).run(conform_all(rows, Conformer(rules, now)))
