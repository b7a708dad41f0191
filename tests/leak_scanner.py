"""Looking for texts in files, however a careless program may have written them: encoded, or compressed in a stream."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

_ZSTD = b"\x28\xb5\x2f\xfd"
_STARTS = re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|\x78[\x01\x5e\x9c\xda]")
_MOST = 1 << 22
MIN_LENGTH = 6
"""A shorter text would be met by chance among random bytes."""


def forms(text: bytes) -> dict[str, bytes]:
    """The bytes to look for, by the name of the encoding; base64 at each of its three alignments."""
    found = {"raw": text, "hex": text.hex().encode(), "HEX": text.hex().upper().encode()}
    with suppress(UnicodeDecodeError):
        decoded = text.decode()
        found |= {"utf-16-le": decoded.encode("utf-16-le"), "utf-16-be": decoded.encode("utf-16-be")}
    for shift in range(3):
        # Only the characters that no neighbouring byte has a part in.
        padded = base64.b64encode(bytes(shift) + text)
        start, end = (0, 2, 3)[shift], (shift + len(text)) * 8 // 6
        found[f"base64-{shift}"] = padded[start:end]
        found[f"base64url-{shift}"] = base64.urlsafe_b64encode(bytes(shift) + text)[start:end]
    return found


def scan_bytes(content: bytes, texts: Iterable[bytes]) -> Iterator[tuple[bytes, str]]:
    """Each text that is there, with the form that it was found in."""
    layers = [("", content), *(("in a stream, ", layer) for layer in _decompressed(content))]
    for text in texts:
        assert len(text) >= MIN_LENGTH
        for name, form in forms(text).items():
            for where, layer in layers:
                if form in layer:
                    yield text, where + name


def scan(folders: Iterable[Path], texts: Iterable[bytes]) -> list[tuple[Path, bytes, str]]:
    """Every occurrence below the folders, in content or in the name of a file."""
    wanted = list(texts)
    found: list[tuple[Path, bytes, str]] = []
    for folder in folders:
        for path in folder.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            named = path.relative_to(folder).as_posix().encode()
            found += [(path, text, form) for text, form in scan_bytes(named + b"\n" + content, wanted)]
    return found


def _decompressed(content: bytes) -> Iterator[bytes]:
    for match in _STARTS.finditer(content):
        start = match.start()
        if content.startswith(_ZSTD, start):
            with suppress(pa.ArrowException, OSError, ValueError):
                yield _unzstd(content[start:])
            continue
        with suppress(zlib.error):
            yield zlib.decompressobj(wbits=47).decompress(content[start:], _MOST)


def _unzstd(content: bytes) -> bytes:
    parts: list[bytes] = []
    stream = pa.CompressedInputStream(pa.BufferReader(content), "zstd")
    try:
        while sum(map(len, parts)) < _MOST and (part := stream.read(4096)):
            parts.append(part)
    except (pa.ArrowException, OSError):
        if not parts:
            raise
    return b"".join(parts)
