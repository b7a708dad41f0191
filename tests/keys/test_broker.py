"""The door out: fresh DEKs for files being landed, and DEKs of files for a receipt that names their partitions."""

# ruff: noqa: PLR0917 - pytest hands fixtures in by name
from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from keys import keystore
from keys.errors import KeyIntegrityError, KeysError, KeyStateError, ReceiptRefusedError
from keys.keystore import KeyStore


@pytest.fixture(name="kind", params=["sqlite", "postgresql"])
def _kind(request):
    """On each database in turn."""
    return request.param


@pytest.fixture
def people(world):
    """Two employees."""
    return world.broker.new_subjects(2)


@pytest.fixture
def mine(world, people):
    """The first employee's partition."""
    return world.partition(people[0])


def test_pseudonyms_are_random_and_numbered(world):
    """New employees get 26 characters of base32, the next numbers, and a bucket."""
    refs = world.broker.new_subjects(3) + world.broker.new_subjects(2)
    assert [ref.number for ref in refs] == list(range(5))
    assert len({ref.subject for ref in refs}) == 5
    assert all(len(ref.subject) == 26 and set(ref.subject) <= set("abcdefghijklmnopqrstuvwxyz234567") for ref in refs)
    assert all(0 <= ref.bucket < 256 for ref in refs)


def test_every_file_has_a_key_of_its_own(world, mine):
    """A thousand files of one partition have a thousand DEKs, file ids and prefixes."""
    issue = world.broker.landing_keys([mine])
    keys = [issue(mine) for _ in range(1_000)]
    for values in ({key.dek for key in keys}, {key.file_id for key in keys}, {key.aad_prefix for key in keys}):
        assert len(values) == 1_000
    assert {len(key.dek) for key in keys} == {len(key.aad_prefix) for key in keys} == {32}
    assert keys[0].aad_prefix == world.broker.aad_prefix(mine, keys[0].file_id)


def test_a_key_is_wrapped_for_its_own_file_only(world, people, mine):
    """A DEK cannot be wrapped for another file or partition."""
    request, _ = world.landed(mine)
    key = world.broker.landing_keys([mine])(mine)
    for wrong in (
        request.binding,
        replace(request.binding, file_id=key.file_id, partition=world.partition(people[1])),
        replace(request.binding, file_id=key.file_id, partition=replace(mine, dataset="laptop")),
    ):
        with pytest.raises(KeyIntegrityError):
            key.wrap(wrong)


def test_a_receipt_releases_the_keys_it_names(world, people, mine, scope):
    """DEKs come in the order asked, for exactly the named partitions, and the book keeps count."""
    partitions = [mine, world.partition(people[1], level=1), world.partition(people[1], month="2026-02")]
    landed = [world.landed(partition) for partition in partitions for _ in range(2)]
    named = scope(*((each, number) for each, number in zip(partitions, (0, 1, 1), strict=True)))
    receipt = world.receipt(world.intent(named))
    requests = [request for request, _ in landed]
    assert world.broker.release(receipt, requests[::-1]) == [dek for _, dek in landed][::-1]
    actor = json.loads(receipt.entry)["actor"]["p"]
    assert world.store.releases() == {0: (actor, {1: 2, 3: 4})}
    assert world.broker.anchor_size() == 1


def test_of_what_is_held_no_key_is_given(world, people, mine, scope):
    """It is decided and counted as ever, and refused as ever; neither the DEK nor a KEK of it alone is opened."""
    other = world.partition(people[1])
    (held, _), (request, dek) = world.landed(mine), world.landed(other)
    named = scope((mine, 0), (other, 1))
    held = replace(held, held=True)
    with world.database.writing() as connection:  # what cannot be opened is not looked at
        mine_row = (keystore.keks.c.subject == mine.subject) & (keystore.keks.c.month == mine.month)
        connection.execute(keystore.keks.update().where(mine_row).values(wrapped=b"not a wrap"))
    assert world.broker.release(world.receipt(world.intent(named)), [held, request]) == [b"", dek]
    assert sum(levels[3] for _, levels in world.store.releases().values()) == 2
    with pytest.raises(KeyIntegrityError):
        world.broker.release(world.receipt(world.intent(named)), [replace(held, held=False)])
    with pytest.raises(ReceiptRefusedError):
        world.broker.release(world.receipt(world.intent(scope((other, 1)))), [held])
    for state in ("disabled", "destroyed", "compromised"):
        with world.database.writing() as connection:
            connection.execute(keystore.keks.update().where(mine_row).values(state=state))
        with pytest.raises(KeyStateError):
            world.broker.release(world.receipt(world.intent(named)), [held])
    with world.database.writing() as connection:
        connection.execute(keystore.keks.update().where(mine_row).values(state="enabled"))
        connection.execute(keystore.subjects.update().values(disabled=True))
    with pytest.raises(KeyStateError):
        world.broker.release(world.receipt(world.intent(named)), [held])


def test_keys_open_in_another_process(world, mine, scope):
    """A reopened broker releases what this one has wrapped."""
    request, dek = world.landed(mine)
    assert world.reopened().release(world.receipt(world.intent(scope((mine, 0)))), [request]) == [dek]


@pytest.mark.parametrize("other", ["subject", "month", "level", "dataset"])
def test_an_unnamed_partition_is_refused(world, people, mine, scope, other):
    """A receipt for one partition is no good for another employee, month, level or dataset."""
    wrong = {
        "subject": world.partition(people[1]),
        "month": world.partition(people[0], month="2026-04"),
        "level": world.partition(people[0], level=4),
        "dataset": replace(mine, dataset="laptop"),
    }[other]
    named, _ = world.landed(mine)
    unnamed, _ = world.landed(wrong)
    receipt = world.receipt(world.intent(scope((mine, 0))))
    with pytest.raises(ReceiptRefusedError, match="does not name"):
        world.broker.release(receipt, [named, unnamed])


def test_a_receipt_is_used_once(world, mine, scope):
    """A second use is refused: here, in another process, and with a newer proof of the same entry."""
    request, dek = world.landed(mine)
    receipt = world.receipt(world.intent(scope((mine, 0))))
    assert world.broker.release(receipt, [request]) == [dek]
    world.entries.append(b"a later entry")
    for broker in (world.broker, world.reopened()):
        for again in (receipt, world.proof(0)):
            with pytest.raises(ReceiptRefusedError):
                broker.release(again, [request])
    actor = json.loads(receipt.entry)["actor"]["p"]
    assert world.store.releases() == {0: (actor, {3: 1})}


def test_one_bad_file_and_nothing_is_released(world, people, mine, scope):
    """A wrap that does not open ends the whole request, and the receipt counts as used."""
    good, dek = world.landed(mine)
    bad = replace(good, wrapped=replace(good.wrapped, blob=bytes(len(good.wrapped.blob))))
    receipt = world.receipt(world.intent(scope((mine, 0))))
    with pytest.raises(KeyIntegrityError):
        world.broker.release(receipt, [good, good, bad])
    with pytest.raises(ReceiptRefusedError, match="twice"):
        world.broker.release(receipt, [good])
    fresh = world.receipt(world.intent(scope((mine, 0))))
    assert world.broker.release(fresh, [good]) == [dek]


FIELDS = (
    *("dataset", "sensitivity", "subject", "month", "file_id", "object_key", "format", "format_version"),
    *("schema_version", "length", "sha256", "rows", "first_ts", "last_ts"),
)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_a_file_is_bound(world, people, mine, scope, changed_bindings, name):
    """A catalog row with any field changed does not open its DEK, although the receipt names the claimed partition."""
    request, _ = world.landed(mine)
    changed = changed_bindings(request.binding)
    assert tuple(changed) == FIELDS
    claimed = changed[name]
    if name == "subject":
        claimed = replace(claimed, partition=replace(claimed.partition, subject=people[1].subject))
    named = scope((mine, 0), (claimed.partition, 1 if name == "subject" else 0))
    with pytest.raises(KeyIntegrityError):
        world.broker.release(world.receipt(world.intent(named)), [replace(request, binding=claimed)])


def test_a_wrap_belongs_to_its_row(world, people, mine, scope):
    """The wrapped DEK of one file in the row of another does not open: same partition, other month, other employee."""
    first, _ = world.landed(mine)
    for other in (mine, world.partition(people[0], month="2026-04"), world.partition(people[1])):
        second, _ = world.landed(other)
        named = scope((mine, 0), (other, 0), (other, 1))
        for moved in (replace(second, wrapped=first.wrapped), replace(first, wrapped=second.wrapped)):
            with pytest.raises(KeyIntegrityError):
                world.broker.release(world.receipt(world.intent(named)), [moved])


def test_an_erased_employee_gives_no_key(world, people, mine, scope):
    """After a tombstone there is neither a release nor a new DEK."""
    request, _ = world.landed(mine)
    with world.database.writing() as connection:
        connection.execute(keystore.subjects.update().values(tombstoned=True))
    with pytest.raises(KeyStateError):
        world.broker.release(world.receipt(world.intent(scope((mine, 0)))), [request])
    with pytest.raises(KeyStateError):
        world.broker.landing_keys([mine])


def test_a_destroyed_kek_gives_no_key(world, mine, scope):
    """Without the KEK's row there is no DEK."""
    request, _ = world.landed(mine)
    with world.database.writing() as connection:
        connection.execute(sa.delete(keystore.keks))
    with pytest.raises(KeyStateError, match=request.binding.file_id):
        world.broker.release(world.receipt(world.intent(scope((mine, 0)))), [request])


def test_the_log_only_grows(world, mine, scope):
    """A log that was cut, or cut and written anew, releases nothing until it is whole again."""
    request, dek = world.landed(mine)
    for _ in range(5):
        world.broker.release(world.receipt(world.intent(scope((mine, 0)))), [request])
    whole = list(world.entries)
    world.entries[:] = whole[:3]
    smaller = world.receipt(world.intent(scope((mine, 0))))
    world.entries[:] = whole[:3] + [b"another history"] * 4
    regrown = world.receipt(world.intent(scope((mine, 0))))
    for receipt in (smaller, regrown, replace(regrown, consistency=())):
        for broker in (world.broker, world.reopened()):
            with pytest.raises(ReceiptRefusedError, match="cut or rewritten"):
                broker.release(receipt, [request])
    world.entries[:] = whole
    assert world.broker.release(world.receipt(world.intent(scope((mine, 0)))), [request]) == [dek]


def test_a_fork_at_the_same_size_is_found(world, mine, scope):
    """Two logs of one size with different roots cannot both release."""
    request, _ = world.landed(mine)
    world.broker.release(world.receipt(world.intent(scope((mine, 0)))), [request])
    world.entries.clear()
    forked = world.receipt(world.intent(scope((mine, 0)), other=1))
    with pytest.raises(KeysError):
        world.broker.release(forked, [request])


def test_an_anchor_never_goes_back(world):
    """An older state changes nothing, and a second state at the same position is refused."""
    world.store.advance_anchor("catalog", 5, b"5" * 32)
    world.store.advance_anchor("catalog", 3, b"3" * 32)
    assert KeyStore(world.database).anchor("catalog") == (5, b"5" * 32)
    with pytest.raises(KeyIntegrityError):
        world.store.advance_anchor("catalog", 5, b"6" * 32)
    assert world.store.anchor("catalog") == (5, b"5" * 32)


def test_neither_values_nor_errors_show_a_key(world, people, mine, scope, leaks):
    """Representations and the messages of every refusal are free of key bytes."""
    request, dek = world.landed(mine)
    key = world.broker.landing_keys([mine])(mine)
    view = world.store.view_of_partitions([(mine.subject, mine.sensitivity, mine.month)])
    (kek,) = world.hierarchy.open_keks(view, list(view.keks.values())).values()
    buckets = world.hierarchy.open_buckets(view, view.buckets.values())
    shown = [repr(key), repr(request), repr(world.broker), repr(world.store)]
    expired = world.receipt(world.intent(scope((mine, 0)), ts=(world.now - timedelta(days=1)).isoformat()))
    attempts = [
        (expired, request),
        (world.receipt(world.intent(scope((mine, 1)))), request),
        (
            world.receipt(world.intent(scope((mine, 0)))),
            replace(request, wrapped=replace(request.wrapped, blob=os.urandom(110))),
        ),
    ]
    for receipt, asked in attempts:
        with pytest.raises(KeysError) as caught:
            world.broker.release(receipt, [asked])
        shown.append(f"{caught.value} {caught.value!r} {caught.value.__cause__!r}")
    assert not leaks(" ".join(shown), dek, key.dek, kek, *buckets.values())
