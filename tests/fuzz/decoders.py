"""Fuzzing what reads bytes from outside, guided by coverage: ``make fuzz``, or ``-m tests.fuzz.decoders SECONDS``.

Inputs that reach lines which none before reached are kept and changed further. A decoder passes if every input ends in
rows or in one of the lake's own errors; anything else is printed with the input, and the run fails.
"""

from __future__ import annotations

import base64
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa

from lake.errors import LakeError
from lake.gateway.receiving.bodies import ARROW, NDJSON, Form, open_body
from lake.gateway.receiving.header import parse_header
from lake.gateway.receiving.limits import ReceivingLimits
from lake.rules.contract import parse_contract
from lake.settings import MIB
from tests import world as w
from tests.gateway.receiving.site import arrow, ndjson, packed
from tests.gateway.receiving.test_headers import GOOD

LIMITS = ReceivingLimits(body=MIB, text=4 * MIB, line=8192, rows=10_000, ratio_free=65_536)
CONTRACT = parse_contract(w.CONTRACT, "contract")
WATCHED = str(Path(__file__).resolve().parents[2] / "lake") + "/"
LONGEST = 4096
Decoder = Callable[[bytes], None]


def _body(kind: str, encoding: str) -> Decoder:
    form = Form.of(kind, encoding)

    def decode(content: bytes) -> None:
        for batch in open_body(pa.py_buffer(content), form, CONTRACT, LIMITS):
            batch.validate(full=True)
            assert batch.num_rows <= LIMITS.rows

    return decode


def _header(content: bytes) -> None:
    parse_header(content)


DECODERS: dict[str, Decoder] = {
    "header": _header,
    "ndjson": _body(NDJSON, ""),
    "gzip": _body(NDJSON, "gzip"),
    "zstd": _body(NDJSON, "zstd"),
    "arrow": _body(ARROW, ""),
}


def seeds() -> dict[str, list[bytes]]:
    """What inputs begin as."""
    rows = w.known_rows()[:3]
    lines = ndjson(rows)
    return {
        "header": [json.dumps(GOOD).encode(), json.dumps(GOOD | {"captured": None, "seq": None}).encode()],
        "ndjson": [lines, b'{"employee":"a","ts":"2026-09-15T12:00:00Z","type":"focus","x":[{"y":1e9}]}\n'],
        "gzip": [packed(lines, "gzip")],
        "zstd": [packed(lines, "zstd")],
        "arrow": [arrow(rows), arrow(rows, compression="zstd")],
    }


def fuzz(name: str, seconds: float, seed: int, most: int = sys.maxsize) -> tuple[int, int]:
    """Inputs tried and lines reached, for so many seconds or inputs.

    Raises:
        AssertionError: an input broke the decoder; its text has the input in base64.
    """
    chance, decode, corpus = random.Random(seed), DECODERS[name], list(seeds()[name])
    reached: set[tuple[int, int]] = set()
    for content in corpus:
        reached |= _lines(decode, content, name)
    end, tried = time.monotonic() + seconds, 0
    while time.monotonic() < end and tried < most:
        content = _changed(chance, corpus)
        lines = _lines(decode, content, name)
        tried += 1
        if not lines <= reached:
            reached |= lines
            corpus.append(content)
    return tried, len(reached)


def _lines(decode: Decoder, content: bytes, name: str) -> set[tuple[int, int]]:
    """The lake's own lines that an input reaches."""
    found: set[tuple[int, int]] = set()

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            found.add((id(frame.f_code), frame.f_lineno))
        return local

    def entered(frame: FrameType, _event: str, _: Any) -> Any:
        return local if frame.f_code.co_filename.startswith(WATCHED) else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        decode(content)
    except LakeError:
        pass
    except Exception as error:  # whatever it is, it is found
        shown = base64.b64encode(content).decode()
        raise AssertionError(f"{name}: {type(error).__name__} for the input (base64) {shown}") from error
    finally:
        sys.settrace(before)
    return found


def _changed(chance: random.Random, corpus: list[bytes]) -> bytes:
    """One of the inputs, changed in one to four places."""
    content = bytearray(chance.choice(corpus))
    for _ in range(chance.randint(1, 4)):
        place, size = chance.randint(0, len(content)), chance.choice((1, 1, 2, 4, 8, 32))
        match chance.randrange(6):
            case 0:
                content[place : place + size] = chance.randbytes(size)
            case 1:
                del content[place : place + size]
            case 2:
                content[place:place] = content[place : place + size]
            case 3:
                other = chance.choice(corpus)
                start = chance.randint(0, len(other))
                content[place : place + size] = other[start : start + size]
            case 4:
                content[place : place + 1] = chance.choice((b'"', b"{", b"[", b"\n", b"\0", b"\xff", b"\\", b"1e400"))
            case _:
                if content:
                    content[min(place, len(content) - 1)] ^= 1 << chance.randrange(8)
    return bytes(content[:LONGEST])


def main() -> int:
    """Fuzz each decoder for some seconds; the seed is printed, so that a run can be had again."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    print(f"seed {seed}", flush=True)
    for name in DECODERS:
        tried, reached = fuzz(name, seconds, seed)
        print(f"{name}: {tried:,} inputs, {reached} lines reached", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
