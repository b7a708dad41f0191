"""The search of the demonstration: it finds a text in every form in which it could lie on disk, and invents none."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import random
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "scan_for_plaintext.py"
NEEDLE = "Quartalsbericht Müller"
NOISE = random.Random(5).randbytes(3000)


@pytest.fixture(scope="module")
def scanner() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("scan_for_plaintext", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def text(size: int) -> bytes:
    """Bytes that compress, with the needle at their end."""
    words = random.Random(6).choices(["alpha", "beta", "gamma", "delta"], k=size // 5)
    return " ".join(words).encode() + NEEDLE.encode()


def zstd(content: bytes) -> bytes:
    """A zstd frame."""
    packed: bytes = pa.Codec("zstd").compress(content, asbytes=True)
    return packed


RAW = NEEDLE.encode()
PLANTED = {
    "UTF-8": RAW,
    "UTF-16LE": NEEDLE.encode("utf-16-le"),
    "UTF-16BE": NEEDLE.encode("utf-16-be"),
    "hexadecimal": RAW.hex().encode(),
    "HEXADECIMAL": RAW.hex().upper().encode(),
    "compressed UTF-8": gzip.compress(text(100)),
}


@pytest.mark.parametrize("form", PLANTED)
def test_each_encoding_is_found(scanner: ModuleType, tmp_path: Path, form: str) -> None:
    """Between other bytes, each under the name of its form."""
    (tmp_path / "object").write_bytes(NOISE + PLANTED[form] + NOISE)
    found = scanner.scan(tmp_path, [NEEDLE])
    assert [(hit.file, hit.needle, hit.form) for hit in found.hits] == [("object", NEEDLE, form)]


@pytest.mark.parametrize("before", range(3))
@pytest.mark.parametrize("after", range(3))
def test_base64_is_found_at_each_alignment(scanner: ModuleType, tmp_path: Path, before: int, after: int) -> None:
    """Inside a longer text its letters differ by where it begins; standard and URL alphabets."""
    inside = b"\xfb" * before + "???>>>~~~Ünï".encode() + b"\xff" * after
    for encode, form in ((base64.b64encode, "base64"), (base64.urlsafe_b64encode, "base64url")):
        (tmp_path / "object").write_bytes(b"." + encode(inside) + b".")
        assert form in {hit.form for hit in scanner.scan(tmp_path, ["???>>>~~~Ünï"]).hits}


PACKED = {
    "gzip": gzip.compress(text(100)),
    "zlib, fast": zlib.compress(text(100), 1),
    "zlib, default": zlib.compress(text(100), 6),
    "zlib, best": zlib.compress(text(100), 9),
    "zstd": zstd(text(100)),
    "gzip, larger than what is read at once": gzip.compress(text(6_000_000), 1),
    "zstd, larger than what is read at once": zstd(text(1_000_000)),
    "gzip, cut off": gzip.compress(text(100) + NOISE)[:-1000],
    "zlib, broken later on": zlib.compress(text(100) + random.Random(8).randbytes(40_000).hex().encode())[:20_000]
    + NOISE,
}


@pytest.mark.parametrize("form", PACKED)
def test_inside_compressed_data_it_is_found(scanner: ModuleType, tmp_path: Path, form: str) -> None:
    """At the start of a file and in its middle, as far as the stream can be read."""
    for before in (b"", NOISE):
        (tmp_path / "object").write_bytes(before + PACKED[form])
        found = scanner.scan(tmp_path, [NEEDLE])
        assert "compressed UTF-8" in {hit.form for hit in found.hits}
        assert found.unpacked > len(NEEDLE)


def test_names_of_files_and_folders_are_searched(scanner: ModuleType, tmp_path: Path) -> None:
    """A text in a name leaks as one in a file does; a name need not be UTF-8."""
    (tmp_path / RAW.hex()).mkdir()
    (tmp_path / RAW.hex() / "object").write_bytes(NOISE)
    (tmp_path / "a\udcff").write_bytes(NOISE)
    assert [hit.form for hit in scanner.scan(tmp_path, [NEEDLE]).hits] == ["name, hexadecimal"]


def test_a_text_across_the_pieces_in_which_a_file_is_searched_is_found(scanner: ModuleType) -> None:
    """Wherever the border of a piece cuts it."""
    matcher = scanner.Matcher([(NEEDLE, "UTF-8", RAW)])
    for cut in (0, 1, 2, 3, 4, 11, len(RAW) - 1, len(RAW)):
        content = bytes(scanner.CHUNK - cut) + RAW
        assert matcher.find(content) == {(NEEDLE, "UTF-8")}
        assert matcher.find(content[:-1]) == set()


def test_random_bytes_hold_nothing(scanner: ModuleType, tmp_path: Path) -> None:
    """What is found is there: encrypted bytes give no hit, and everything is counted."""
    (tmp_path / "object").write_bytes(random.Random(7).randbytes(2_000_000))
    needles = [f"needle{number:06}" for number in range(500)]
    found = scanner.scan(tmp_path, needles)
    assert (found.files, found.bytes, found.needles, found.hits) == (1, 2_000_000, 500, ())
    assert scanner.scan(tmp_path, []).hits == ()


def test_a_text_too_short_to_look_for_is_refused(scanner: ModuleType, tmp_path: Path) -> None:
    """It is not silently left out."""
    with pytest.raises(ValueError, match="at least 4 bytes"):
        scanner.scan(tmp_path, ["abc"])


@pytest.mark.parametrize(("content", "code"), [(NOISE, 0), (NOISE + RAW, 1)])
def test_the_script_exits_with_1_if_something_is_found(tmp_path: Path, content: bytes, code: int) -> None:
    """It can stand in a pipeline: texts on stdin, one a line."""
    (tmp_path / "object").write_bytes(content)
    ran = subprocess.run(
        [sys.executable, "-X", "utf8", str(SCRIPT), str(tmp_path)],
        input=f"{NEEDLE}\n\n".encode(),
        capture_output=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (code, b"")
    assert f"1 texts, {code} found".encode() in ran.stdout
