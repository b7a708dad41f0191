"""A unit of backup that was written once must open for ever: read with nothing of ours, and restored with all of it."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lake.gateway.backup_restore import Target, restore_unit
from lake.settings import Secrets
from tests.gateway.keylakes import sound
from tests.world import World

VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "backup_unit.json").read_text("utf-8"))
FILES = {name: base64.b64decode(content) for name, content in VECTOR["files"].items()}


def opened(key: bytes, blob: bytes, *fields: str) -> bytes:
    """A sealed blob of kind 8, as docs/formats.md says."""
    encoded = b"".join(len(field).to_bytes(4, "big") + field.encode() for field in fields)
    context = b"tlake\x00\x01" + bytes((8, len(fields))) + encoded
    assert blob[:2] == b"\x01\x01"
    okm = HKDF(algorithm=SHA256(), length=64, salt=blob[2:18], info=context).derive(key)
    assert okm[32:] == blob[18:50]
    return AESGCM(okm[:32]).decrypt(blob[50:62], blob[62:], context)


def test_a_unit_opens_by_the_words_of_its_format() -> None:
    """The unit key opens the index, which opens every part; the parts are what they were."""
    manifest = json.loads(FILES[f"{VECTOR['unit']}.unit"].split(b"\n")[1])
    lake = VECTOR["lake"]
    assert (manifest["id"], manifest["lake"], manifest["v"]) == (VECTOR["unit"], lake, 1)
    blob = FILES[f"parts/{manifest['index']}"]
    assert len(blob) == manifest["index_length"]
    index = json.loads(opened(bytes.fromhex(VECTOR["unit_key"]), blob, lake, "index", manifest["id"]))
    assert set(index) == set(VECTOR["parts"])
    for name, (digest, length, key, content) in index.items():
        blob = FILES[f"parts/{digest}"]
        assert (hashlib.sha256(blob).hexdigest(), len(blob)) == (digest, length)
        plain = opened(base64.b64decode(key), blob, lake, "part", name)
        assert base64.b64encode(plain).decode() == VECTOR["parts"][name]
        assert hashlib.sha256(plain).hexdigest() == content
    key_manifest = FILES[f"keys/{manifest['keys']}.manifest"]
    assert hashlib.sha256(key_manifest).hexdigest() == manifest["keys_digest"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of the vector, and beside it what opens it."""
    for name, content in FILES.items():
        path = tmp_path / "units" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, content in (
        ("key", VECTOR["key_file"].encode()),
        ("device.secret", base64.b64decode(VECTOR["device_secret"])),
    ):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_unit_of_then_restores_today(place: Path) -> None:
    """A lake that verifies, with the heads of then."""
    target = Target(place / "lake", roots=place)
    report = restore_unit(place / "units", target, Secrets(key_file=place / "key"), user="operator")
    assert {name: report[name] for name in ("unit", "lake", "commits", "entries")} == {
        name: VECTOR[name] for name in ("unit", "lake", "commits", "entries")
    }
    world = World(place / "lake", place / "key")
    assert sound(world)
    with world.open() as lake:
        assert lake.home.log.root_at(VECTOR["entries"]).hex() == VECTOR["audit_root"]
        assert set(lake.contracts.newest()) == {"moods"}
