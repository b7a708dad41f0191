"""A lake on S3 beside the same lake in a folder: SeaweedFS on this machine, so that nothing is waited for but the work.

What a network adds is not in these figures; docs/decisions/0023-reading-from-s3.md has some with a slow line.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import world
from bench.measure import BenchError, Scale, check_equal, interleaved, say
from bench.queries import QUERIES
from bench.query import ratios, same_answers, through_gateway
from lake.gateway.ingest import BatchReport
from tests.servers.s3_processes import ADMIN, SECRET, S3Process, missing

S3, FOLDER = "lake", "folder"
"""``lake`` is the side whose ratio to the other is taken."""
BUCKET = "bench"


def measure(scale: Scale, folder: Path) -> dict[str, Any] | None:
    """Ingest and questions on both; None where there is no server to try."""
    if why := missing("seaweedfs"):
        say(f"  {why}: left out")
        return None
    with _server() as endpoint:
        places = {S3: folder / "s3", FOLDER: folder / "local"}
        world.make_lake(places[S3], store=f"s3://{BUCKET}/lake", endpoint=endpoint)
        world.make_lake(places[FOLDER])
        try:
            landed = _ingest(scale, places)
            asked = _queries(scale, places)
        finally:
            shutil.rmtree(folder)
    return {"ingest": landed, "query": asked}


@contextmanager
def _server() -> Iterator[str]:
    """A server with a bucket, and its credentials in the environment."""
    import boto3

    before = dict(os.environ)
    os.environ.update(AWS_ACCESS_KEY_ID=ADMIN, AWS_SECRET_ACCESS_KEY=SECRET, AWS_EC2_METADATA_DISABLED="true")
    server = S3Process("seaweedfs")
    try:
        client = boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield server.endpoint
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)


def _ingest(scale: Scale, places: Mapping[str, Path]) -> dict[str, Any]:
    """The same rows into both; megabytes are those of the objects written."""
    rows = world.rows_of(scale, scale.rows).read_all()
    reports: dict[str, BatchReport] = {}
    turn = count()

    def land(name: str) -> Callable[[], None]:
        def run() -> None:
            with world.open_lake(places[name], scale.threads) as db:
                reports[name] = db.ingest(world.DATASET, rows.to_batches(), batch_id=f"turn-{next(turn)}")
            if reports[name].status != "landed":
                raise BenchError("a batch was taken for one that has landed before")

        return run

    say("  ingest")
    seconds = interleaved({name: land(name) for name in places}, scale.repeat, warm=False)
    check_equal("rows that landed", scale.rows, reports[S3].rows)
    check_equal("files of both sides", reports[FOLDER].files, reports[S3].files)
    return {
        "rows": scale.rows,
        "files": reports[S3].files,
        "bytes": reports[S3].bytes,
        "seconds": seconds,
        "megabytes_per_second": {name: reports[name].bytes / 1e6 / taken for name, taken in seconds.items()},
        "rows_per_second": {name: scale.rows / taken for name, taken in seconds.items()},
        "slower_than": {FOLDER: seconds[S3] / seconds[FOLDER]},
    }


def _queries(scale: Scale, places: Mapping[str, Path]) -> dict[str, Any]:
    """Every question of the role that sees all, of both lakes."""
    seconds: dict[str, dict[str, float]] = {}
    with (
        world.connect(places[S3], world.ALL, scale.threads, keep=False) as store,
        world.connect(places[FOLDER], world.ALL, scale.threads, keep=False) as local,
    ):
        for query in QUERIES:
            say(f"  {query.name}")
            sides: dict[str, Callable[[], list[pa.RecordBatch]]] = {
                S3: through_gateway(store, query),
                FOLDER: through_gateway(local, query),
            }
            same_answers(query, sides, one_lake=False)
            seconds[query.name] = interleaved(sides, scale.repeat, warm=False)
    return {"seconds": seconds, "ratios": ratios(seconds, FOLDER, S3)}
