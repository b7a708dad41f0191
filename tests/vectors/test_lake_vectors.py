"""One lake in fixed bytes: its key store files, wraps, tags and a data file open as docs/formats.md says."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from keys import envelope, tables, unlock
from keys.broker import Broker
from keys.changes import Changes
from keys.control import ControlKeys
from keys.envelope import Kind
from keys.errors import KeyIntegrityError, KeyStoreLockedError
from keys.hierarchy import Hierarchy
from keys.keystore import KeyStore
from keys.names import root_name
from keys.operations.verify import verify_keys
from keys.providers import WrappedKey
from keys.providers.local import DEVICE, STORE, LocalProvider
from keys.providers.local_file import device_id, open_keys, parse
from keys.refs import DekRequest, FileBinding, KeyState, PartitionRef, WrappedDek
from keys.rows import BucketKeyRow, KekRow, RootRow
from keys.signing import NoteVerifier
from lake.clear.reading.decode import fragment
from lake.clear.reading.mask import apply_mask
from lake.clear.reading.plan import FileToRead
from lake.errors import IntegrityError
from lake.gateway.directory import pseudonyms
from lake.rules import layout
from lake.rules.masks import Mask, MaskKind
from lake.rules.model import Partition
from lake.sealed.catalog.database import Database
from lake.sealed.objects import Location

LAKE: dict[str, Any] = json.loads((Path(__file__).parent / "lake.json").read_text("utf-8"))


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def _secret(kind: str) -> unlock.UnlockSecret:
    return unlock.UnlockSecret(kind, LAKE["key_stores"][kind]["secret"].encode())


@pytest.mark.parametrize("kind", [unlock.KEY_FILE, unlock.PASSPHRASE])
def test_a_key_store_file_opens_with_its_secret_and_device(kind: str) -> None:
    """Header, sealing key and root keys are as documented, for a key file and for a passphrase."""
    case = LAKE["key_stores"][kind]
    content, device = bytes.fromhex(case["keystore_bin"]), bytes.fromhex(LAKE["device_secret"])
    file = parse(content)
    assert content[:8] == b"TLKEYS\x00\x01"
    assert content[12 : 12 + int.from_bytes(content[8:12], "big")].decode() == case["header"]
    assert (file.header.lake, file.header.salt.hex()) == (LAKE["lake"], LAKE["salt"])
    assert device_id(device) == file.header.device == LAKE["device_id"]
    sealing_key = _secret(kind).sealing_key(file.header.parameters, file.header.salt, device)
    assert sealing_key.hex() == case["sealing_key"]
    found = {
        name: {str(number): {"state": state.value, "key": key.hex()} for number, (state, key) in versions.items()}
        for name, versions in open_keys(file, sealing_key).items()
    }
    assert found == LAKE["roots"]
    with pytest.raises(KeyStoreLockedError):
        open_keys(parse(_flipped(content, 20)), sealing_key)


@pytest.fixture(name="provider")
def _provider(tmp_path: Path) -> LocalProvider:
    """The vector's key store on disk, opened."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    store = bytes.fromhex(LAKE["key_stores"][unlock.KEY_FILE]["keystore_bin"])
    for name, content in ((STORE, store), (DEVICE, bytes.fromhex(LAKE["device_secret"]))):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    return LocalProvider(folder, _secret(unlock.KEY_FILE))


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> Iterator[Database]:
    """An empty key store database."""
    database = Database.sqlite(tmp_path / "keystore.db", "key store", create=True)
    tables.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture(name="store")
def _store(database: Database) -> KeyStore:
    """The vector's roots, control secrets and wrapped keys in a key store database."""
    store = KeyStore(database)
    roots = [
        RootRow(name, int(number), KeyState(version["state"]), 0)
        for name, versions in LAKE["roots"].items()
        for number, version in versions.items()
    ]
    store.create("local", roots, {name: (1, bytes.fromhex(blob)) for name, blob in LAKE["control_secrets"].items()})
    bucket, kek = LAKE["bucket_key"], LAKE["kek"]
    store.add_subjects([(kek["subject"], bucket["bucket"])])
    common: dict[str, Any] = {"state": KeyState.ENABLED, "created_at": 0}
    row = BucketKeyRow(**{**bucket, "wrapped": bytes.fromhex(bucket["wrapped"])}, **common)
    store.add_bucket_keys([row], root_name(bucket["sensitivity"]))
    store.add_keks([KekRow(**{**kek, "wrapped": bytes.fromhex(kek["wrapped"])}, **common)])
    return store


def test_the_key_store_opens_to_the_lake(provider: LocalProvider) -> None:
    """Key file, device secret and key store on disk open to the lake that they were made for."""
    assert provider.lake == LAKE["lake"]
    assert provider.describe("root-dss4").versions[1] is KeyState.DESTROYED


def test_control_secrets_give_the_documented_tags(provider: LocalProvider, store: KeyStore) -> None:
    """Lookup, actor, literal and batch tags, role keys, pseudonyms and masks do not change."""
    control, tags = ControlKeys(LAKE["lake"], store, provider), LAKE["tags"]
    assert control.signer(layout.audit_origin(LAKE["lake"])).verifier_key == LAKE["audit_key"]
    assert control.lookup_tag(tags["lookup"]["employee"]).hex() == tags["lookup"]["tag"]
    assert control.actor_tag(tags["actor"]["user"]) == tags["actor"]["tag"]
    assert control.literal_tag(tags["literal"]["text"]) == tags["literal"]["tag"]
    batch, content = tags["batch"], tags["content"]
    assert control.literal_tag(f"batch {batch['dataset']} {batch['batch_id']}") == batch["tag"]
    assert control.literal_tag(f"batch {content['dataset']} content {content['sha256']}") == content["tag"]
    role = control.pseudonym_key(tags["role_key"]["role"], tags["role_key"]["purpose"])
    assert role.hex() == tags["role_key"]["key"]
    assert pseudonyms({0: tags["pseudonym"]["subject"]}, role) == {0: tags["pseudonym"]["label"]}
    masked = apply_mask(pa.array([tags["mask"]["value"]], pa.string()), Mask(MaskKind.PSEUDONYM), role)
    assert masked.to_pylist() == [tags["mask"]["text"]]
    message = bytes.fromhex(tags["catalog_mac"]["message"])
    assert control.catalog_mac(message).hex() == tags["catalog_mac"]["mac"]
    sealed = LAKE["sealed_employee"]
    assert control.open_employee(sealed["subject"], bytes.fromhex(sealed["blob"])) == sealed["employee"]


def _binding(file: Mapping[str, Any]) -> FileBinding:
    return FileBinding(
        partition=PartitionRef(file["dataset"], file["subject"], file["sensitivity"], file["month"]),
        file_id=file["file_id"],
        object_key=file["object_key"],
        format=file["format"],
        format_version=file["format_version"],
        schema_version=file["schema_version"],
        length=file["length"],
        sha256=bytes.fromhex(file["sha256"]),
        rows=file["rows"],
        first_ts=datetime.fromisoformat(file["first_ts"]),
        last_ts=datetime.fromisoformat(file["last_ts"]),
    )


def test_every_wrap_from_root_to_data_file_opens(
    provider: LocalProvider, store: KeyStore, database: Database, tmp_path: Path
) -> None:
    """Root, bucket key, KEK and DEK open in turn, and the DEK and AAD prefix decrypt the data file to its rows."""
    file = LAKE["file"]
    hierarchy = Hierarchy(LAKE["lake"], store, provider, clock=_now)
    counts = verify_keys(hierarchy, Changes(database))
    assert (counts["control_secrets"], counts["bucket_keys"], counts["keks"]) == (7, 1, 1)
    notes = NoteVerifier([LAKE["audit_key"]])
    broker = Broker(hierarchy, store, origin=layout.audit_origin(LAKE["lake"]), notes=notes, clock=_now)
    wrapped = WrappedDek(file["kek_id"], file["kek_version"], bytes.fromhex(file["wrapped_dek"]))
    broker.check_wrap(DekRequest(_binding(file), wrapped))
    with pytest.raises(KeyIntegrityError):
        broker.check_wrap(DekRequest(_binding({**file, "rows": file["rows"] + 1}), wrapped))

    view = store.view_of_keks([file["subject"]], [(file["kek_id"], file["kek_version"])])
    (kek,) = hierarchy.open_keks(view, list(view.keks.values())).values()
    dek = envelope.unseal(kek, wrapped.blob, bytes.fromhex(file["dek_context"]))
    assert dek == _dek_by_hand(provider, file)
    prefix = broker.aad_prefix(_binding(file).partition, file["file_id"])
    assert prefix.hex() == file["aad_prefix"]
    assert _rows(tmp_path, file, base64.b64decode(file["content"]), dek, prefix) == file["values"]
    for altered in (_flipped(base64.b64decode(file["content"]), 40), base64.b64decode(file["content"])[:-1]):
        with pytest.raises((OSError, IntegrityError)):
            _rows(tmp_path, file, altered, dek, prefix)
    with pytest.raises(OSError, match="ecrypt"):
        _rows(tmp_path, file, base64.b64decode(file["content"]), dek, bytes(32))


def _dek_by_hand(provider: LocalProvider, file: Mapping[str, Any]) -> bytes:
    """The DEK by the documented contexts alone."""
    lake, bucket, kek = LAKE["lake"], LAKE["bucket_key"], LAKE["kek"]
    level, root = bucket["sensitivity"], root_name(bucket["sensitivity"])
    place = (lake, level, bucket["bucket"], bucket["version"])
    bound_to = envelope.context(Kind.BUCKET_KEY, *place, root)
    item = WrappedKey(bucket["root_version"], bytes.fromhex(bucket["wrapped"]), bound_to)
    (bucket_key,) = provider.unwrap(root, [item])
    bound_to = envelope.context(Kind.KEK, *place, kek["subject"], kek["month"], kek["kek_id"], kek["version"])
    kek_key = envelope.unseal(bucket_key, bytes.fromhex(kek["wrapped"]), bound_to)
    names = ["dataset", "sensitivity", "subject", "month", "kek_id", "kek_version", "file_id", "object_key", "length"]
    fields = [file[name] for name in names] + [bytes.fromhex(file["sha256"])]
    fields += [file[name] for name in ("schema_version", "format", "format_version", "rows", "first_ts", "last_ts")]
    bound_to = envelope.context(Kind.DEK, lake, *fields)
    assert bound_to.hex() == file["dek_context"]
    return envelope.unseal(kek_key, bytes.fromhex(file["wrapped_dek"]), bound_to)


def _now() -> datetime:
    return datetime(2026, 11, 24, tzinfo=UTC)


def _rows(root: Path, file: Mapping[str, Any], content: bytes, dek: bytes, prefix: bytes) -> list[list[Any]]:
    place = root / file["object_key"]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    to_read = FileToRead(
        file_id=file["file_id"],
        object_key=file["object_key"],
        format=file["format"],
        format_version=file["format_version"],
        length=file["length"],
        rows=file["rows"],
        number=0,
        label=None,
        sensitivity=file["sensitivity"],
        dek=dek,
        aad_prefix=prefix,
    )
    part = fragment(to_read, Location("local", str(root)))
    table = ds.FileSystemDataset([part], part.physical_schema, ds.ParquetFileFormat()).to_table()
    assert table.schema.names == ["ts", "type", "prompt_text"]
    return [[row["ts"].isoformat(), row["type"], row["prompt_text"]] for row in table.to_pylist()]


def test_the_layout_names_the_object_and_the_roots() -> None:
    """An object's key and the names of root keys do not change, and the stored digest is that of the content."""
    file = LAKE["file"]
    partition = Partition(file["dataset"], file["subject"], file["sensitivity"], file["month"])
    assert layout.object_key(partition, file["file_id"]) == file["object_key"]
    assert layout.is_object_key(file["object_key"])
    assert root_name(3) in LAKE["roots"]
    content = base64.b64decode(file["content"])
    assert (len(content), hashlib.sha256(content).hexdigest()) == (file["length"], file["sha256"])
