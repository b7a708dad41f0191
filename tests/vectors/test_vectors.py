"""The formats of docs/formats.md, held against fixed bytes. The vectors are never made anew: old lakes have these."""

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
from pyroaring import BitMap

from keys import envelope, keystore, proofs, unlock
from keys.broker import Broker
from keys.control import ControlKeys
from keys.envelope import Kind
from keys.errors import KeyIntegrityError, KeyStoreLockedError, ReceiptRefusedError
from keys.hierarchy import Hierarchy, root_name
from keys.keystore import BucketKeyRow, KekRow, KeyStore
from keys.providers.local import DEVICE, STORE, LocalProvider
from keys.providers.local_file import device_id, open_keys, parse
from keys.receipts import Receipt, verify_receipt
from keys.refs import DekRequest, FileBinding, KeyState, PartitionRef, WrappedDek
from keys.signing import NoteSigner, NoteVerifier
from lake.clear.reading.decode import fragment
from lake.clear.reading.mask import apply_mask
from lake.clear.reading.plan import FileToRead
from lake.errors import IntegrityError
from lake.gateway.directory import pseudonyms
from lake.rules import layout
from lake.rules.masks import Mask, MaskKind
from lake.rules.model import Partition
from lake.sealed.audit import entries, journal, merkle, tiles
from lake.sealed.audit.proofs import verify_consistency, verify_inclusion
from lake.sealed.catalog import chain, tables
from lake.sealed.catalog.database import Database
from lake.sealed.objects import Location

_HERE = Path(__file__).parent


def _load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_HERE / name).read_text("utf-8"))
    return document


def _field(value: Any) -> Any:
    """A field as the code takes it: bytes are written ``{"bytes": hex}``."""
    return bytes.fromhex(value["bytes"]) if isinstance(value, dict) else value


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


ENVELOPE, NOTES, MERKLE = _load("envelope.json"), _load("signed_notes.json"), _load("merkle.json")
AUDIT, CATALOG, LAKE, RECEIPTS = (
    _load("audit_files.json"),
    _load("catalog_chain.json"),
    _load("lake.json"),
    _load("receipts.json"),
)


@pytest.mark.parametrize("case", ENVELOPE["contexts"], ids=lambda case: case["name"])
def test_a_context_has_the_documented_bytes(case: dict[str, Any]) -> None:
    """The canonical encoding of a context does not change."""
    assert envelope.context(Kind(case["kind"]), *map(_field, case["fields"])).hex() == case["hex"]


@pytest.mark.parametrize("case", ENVELOPE["sealed_blobs"], ids=lambda case: case["name"])
def test_a_sealed_blob_opens_under_its_key_and_context_alone(case: dict[str, Any]) -> None:
    """A blob of 78 bytes and its plaintext opens; with any byte of blob, key or context changed it does not."""
    key, bound_to, blob = (bytes.fromhex(case[name]) for name in ("key", "context", "blob"))
    assert envelope.unseal(key, blob, bound_to).hex() == case["plaintext"]
    assert len(blob) == 78 + len(case["plaintext"]) // 2
    for at in range(len(blob)):
        with pytest.raises(KeyIntegrityError):
            envelope.unseal(key, _flipped(blob, at), bound_to)
    for other in ((_flipped(key, 0), bound_to), (key, _flipped(bound_to, len(bound_to) - 1))):
        with pytest.raises(KeyIntegrityError):
            envelope.unseal(other[0], blob, other[1])


def test_an_aad_prefix_is_the_hash_of_the_files_identity() -> None:
    """The external AAD prefix has 32 bytes and depends on lake, dataset, sensitivity, subject, month and file id."""
    for case in ENVELOPE["aad_prefixes"]:
        assert envelope.aad_prefix(*case["identity"]).hex() == case["hex"]


def test_a_note_is_signed_byte_for_byte() -> None:
    """Ed25519 is deterministic: the same seed and text give the same note, and the verifier key opens it."""
    signer = NoteSigner(NOTES["name"], bytes.fromhex(NOTES["seed"]))
    assert signer.verifier_key == NOTES["verifier_key"]
    assert signer.sign(NOTES["text"]) == NOTES["note"]
    assert NoteVerifier([NOTES["verifier_key"]]).open(NOTES["note"]) == NOTES["text"]


def test_merkle_roots_and_proofs_have_the_documented_hashes() -> None:
    """Leaves, roots, inclusion and consistency paths are those of RFC 6962, for the log and for the broker."""
    leaves = [merkle.leaf_hash(entry.encode()) for entry in MERKLE["entries"]]
    roots = [bytes.fromhex(root) for root in MERKLE["roots"]]
    assert [leaf.hex() for leaf in leaves] == MERKLE["leaves"]
    assert [merkle.tree_hash(leaves[:size]) for size in range(len(roots))] == roots
    for case in MERKLE["inclusion"]:
        index, size, path = case["index"], case["size"], [bytes.fromhex(item) for item in case["path"]]
        verify_inclusion(leaves[index], index, size, path, roots[size])
        assert proofs.verify_inclusion(leaves[index], index, size, path, roots[size])
        assert not proofs.verify_inclusion(leaves[index], index, size, path, roots[size - 1])
    for case in MERKLE["consistency"]:
        old, new, path = case["old"], case["new"], [bytes.fromhex(item) for item in case["path"]]
        verify_consistency(old, roots[old], new, roots[new], path)
        assert proofs.verify_consistency(old, new, roots[old], roots[new], path)
        assert not proofs.verify_consistency(old, new, roots[old - 1], roots[new], path)


def test_files_of_the_audit_log_have_the_documented_bytes() -> None:
    """Journal records, bundles, tile paths, bitmaps and canonical JSON do not change."""
    case = AUDIT["journal"]
    commit = [entry.encode() for entry in case["entries"]]
    assert journal.encode_commit(commit, case["note"]).hex() == case["hex"]
    (read,) = journal.read_commits(bytes.fromhex(case["hex"]))
    assert (read.entries, read.note) == (tuple(commit), case["note"])
    assert tiles.encode_bundle([entry.encode() for entry in AUDIT["bundle"]["entries"]]).hex() == AUDIT["bundle"]["hex"]
    for tile in AUDIT["tile_paths"]:
        assert tiles.tile_path(tile["level"], tile["index"], tile["width"]) == tile["path"]
        assert tiles.parse_tile_path(tile["path"]) == (tile["level"], tile["index"], tile["width"])
    for numbers in AUDIT["bitmaps"]:
        assert entries.members(numbers["base64"]) == set(numbers["numbers"])
        assert BitMap.deserialize(base64.b64decode(numbers["base64"])) == BitMap(numbers["numbers"])
    assert entries.canonical(AUDIT["canonical"]["value"]).hex() == AUDIT["canonical"]["hex"]


def test_the_catalogs_chain_has_the_documented_lines_and_macs() -> None:
    """Row lines, digests and MACs of commits do not change, and a row's values stand in column order."""
    key = bytes.fromhex(CATALOG["mac_key"])
    head = chain.Head(0, chain.GENESIS)
    columns = {table.name: [column.name for column in table.columns] for table in tables.CHAINED}
    for commit in CATALOG["commits"]:
        lines = []
        for row in commit["rows"]:
            values = {name: _field(value) for name, value in row["values"].items()}
            assert list(values) == columns[row["table"]]
            lines.append(chain.row_line(row["table"], values))
            assert lines[-1].decode() == row["line"]
        digest = chain.digest(lines)
        head = chain.link(lambda message: envelope.mac(key, message), head, commit["kind"], commit["at"], digest)
        assert (digest.hex(), head.seq, head.mac.hex()) == (commit["digest"], commit["seq"], commit["mac"])


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


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[KeyStore]:
    """The vector's control secrets and wrapped keys in a key store database."""
    database = Database.sqlite(tmp_path / "keystore.db", "key store", create=True)
    with database.writing() as connection:
        keystore.metadata.create_all(connection)
    store = KeyStore(database)
    store.add_control_secrets({name: (1, bytes.fromhex(blob)) for name, blob in LAKE["control_secrets"].items()})
    bucket, kek = LAKE["bucket_key"], LAKE["kek"]
    store.add_subjects([(kek["subject"], bucket["bucket"])])
    wrapped = bytes.fromhex(bucket["wrapped"])
    store.add_bucket_keys([BucketKeyRow(bucket["sensitivity"], bucket["bucket"], 1, KeyState.ENABLED, 1, wrapped)])
    store.add_keks([KekRow(**{**kek, "wrapped": bytes.fromhex(kek["wrapped"])}, state=KeyState.ENABLED)])
    yield store
    database.close()


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


def test_every_wrap_from_root_to_data_file_opens(provider: LocalProvider, store: KeyStore, tmp_path: Path) -> None:
    """Root, bucket key, KEK and DEK open in turn, and the DEK and AAD prefix decrypt the data file to its rows."""
    file = LAKE["file"]
    hierarchy = Hierarchy(LAKE["lake"], store, provider)
    assert hierarchy.verify() == {"bucket_keys": 1, "keks": 1}
    notes = NoteVerifier([LAKE["audit_key"]])
    broker = Broker(hierarchy, store, origin=layout.audit_origin(LAKE["lake"]), notes=notes, clock=_now)
    wrapped = WrappedDek(file["kek_id"], file["kek_version"], bytes.fromhex(file["wrapped_dek"]))
    broker.check_wrap(DekRequest(_binding(file), wrapped))
    with pytest.raises(KeyIntegrityError):
        broker.check_wrap(DekRequest(_binding({**file, "rows": file["rows"] + 1}), wrapped))

    (kek,) = store.keks([(file["kek_id"], file["kek_version"])]).values()
    dek = envelope.unseal(hierarchy.open_kek(kek, hierarchy.bucket_rows()), wrapped.blob, bytes.fromhex(file["dek_context"]))
    prefix = broker.aad_prefix(_binding(file).partition, file["file_id"])
    assert prefix.hex() == file["aad_prefix"]
    assert _rows(tmp_path, file, base64.b64decode(file["content"]), dek, prefix) == file["values"]
    for altered in (_flipped(base64.b64decode(file["content"]), 40), base64.b64decode(file["content"])[:-1]):
        with pytest.raises((OSError, IntegrityError)):
            _rows(tmp_path, file, altered, dek, prefix)
    with pytest.raises(OSError, match="ecrypt"):
        _rows(tmp_path, file, base64.b64decode(file["content"]), dek, bytes(32))


def _now() -> datetime:
    return datetime.fromisoformat(RECEIPTS["now"]).astimezone(UTC)


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


def _receipt(case: Mapping[str, Any]) -> Receipt:
    return Receipt(
        proof=case["proof"],
        entry=case["entry"].encode(),
        scope=case["scope"].encode() if case["scope"] else None,
        consistency=tuple(bytes.fromhex(item) for item in case["consistency"]),
    )


@pytest.mark.parametrize("case", RECEIPTS["receipts"], ids=lambda case: case["name"])
def test_a_receipt_verifies_and_names_the_partition(case: dict[str, Any]) -> None:
    """A fresh INTENT, proven against the broker's anchor, names the employees of its scope and nobody else."""
    notes = NoteVerifier([RECEIPTS["verifier_key"]])
    anchor = (case["anchor"]["size"], bytes.fromhex(case["anchor"]["root"]))
    verified = verify_receipt(_receipt(case), RECEIPTS["origin"], notes, anchor, _now())
    assert (verified.index, verified.size, verified.root.hex()) == (case["index"], case["size"], case["root"])
    partition = PartitionRef(*RECEIPTS["names"]["partition"])
    assert {number for number in range(10) if verified.names(partition, number)} == set(RECEIPTS["names"]["numbers"])
    for forged in (
        {**case, "entry": case["entry"].replace("ml_engineer", "responder")},
        {**case, "consistency": []},
        {**case, "scope": '{"files":0,"partitions":{}}', "entry": case["entry"] + " "},
    ):
        with pytest.raises(ReceiptRefusedError):
            verify_receipt(_receipt(forged), RECEIPTS["origin"], notes, anchor, _now())
