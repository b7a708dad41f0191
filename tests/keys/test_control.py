"""Control secrets: what they seal opens in its own lake under its own name only, and they never come out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keys import control
from keys.control import ControlKeys, SharedControlKeys, audit_detail_name, bound_to
from keys.errors import BrokerRefusedError, KeyIntegrityError, KeyStateError
from keys.providers import WrappedKey
from keys.remote.roles import SECRETS, Role
from keys.signing import NoteVerifier
from keys.tables import control_secrets

LAKE = "lake-one"


@pytest.fixture
def keys(world):
    """The control keys of a new lake."""
    return ControlKeys(LAKE, world.store, world.provider)


def test_reopened_keys_are_the_same(world, keys):
    """Tags, seals and signatures of one process are those of the next."""
    again = ControlKeys(LAKE, world.store, world.provider)
    assert again.lookup_tag("mk-17") == keys.lookup_tag("mk-17")
    assert again.open_employee("s" * 26, keys.seal_employee("s" * 26, "mk-17")) == "mk-17"
    note = keys.signer("lake.example/audit").sign("text\n")
    assert NoteVerifier([again.signer("lake.example/audit").verifier_key]).open(note) == "text\n"


def test_a_sealed_employee_belongs_to_a_pseudonym(keys):
    """A directory entry copied to another pseudonym does not open."""
    sealed = keys.seal_employee("a" * 26, "mk-17")
    with pytest.raises(KeyIntegrityError):
        keys.open_employee("b" * 26, sealed)
    assert b"mk-17" not in sealed


def test_a_document_belongs_to_its_name_and_secret(keys):
    """A sealed document opens under its own name and secret only."""
    sealed = keys.seal_document(control.POLICY, "sha256:1", b"the policy")
    assert keys.open_document(control.POLICY, "sha256:1", sealed) == b"the policy"
    for secret, name in ((control.POLICY, "sha256:2"), (control.AUDIT_DETAIL, "sha256:1")):
        with pytest.raises(KeyIntegrityError):
            keys.open_document(secret, name, sealed)


def test_tags_differ_by_use_and_hide_their_text(keys):
    """One word gives unrelated tags for each use, role and purpose, and none contains the word."""
    tags = [
        keys.lookup_tag("word").hex(),
        keys.actor_tag("word"),
        keys.literal_tag("word"),
        keys.catalog_mac(b"word").hex(),
        keys.pseudonym_key("word", "x").hex(),
        keys.pseudonym_key("x", "word").hex(),
        keys.pseudonym_key("wordx", "").hex(),
    ]
    bodies = [tag.split(":")[-1][:32] for tag in tags]
    assert len(set(bodies)) == len(bodies)
    assert not any("word" in tag for tag in tags)
    assert len(keys.actor_tag("word")) == 34


def test_another_lake_has_other_keys(world, keys):
    """Control secrets do not open for another lake."""
    with pytest.raises(KeyIntegrityError):
        ControlKeys("lake-two", world.store, world.provider)


@pytest.mark.parametrize(
    "change",
    [
        control_secrets.delete().where(control_secrets.c.name == control.CATALOG),
        control_secrets.update().values(wrapped=bytes(110)),
        control_secrets.update().where(control_secrets.c.name == control.POLICY).values(name="p"),
    ],
)
def test_a_changed_or_missing_secret_is_found(world, keys, change):
    """A store that lacks a secret, or has another in its place, does not open."""
    with world.database.writing() as connection:
        connection.execute(change)
    with pytest.raises(KeyIntegrityError):
        ControlKeys(LAKE, world.store, world.provider)


def test_secrets_cannot_be_swapped(world, keys):
    """Each secret is wrapped under its own name: exchanging two is refused."""
    rows = world.store.control_secrets()
    with world.database.writing() as connection:
        for name, other in ((control.POLICY, control.CATALOG), (control.CATALOG, control.POLICY)):
            connection.execute(
                control_secrets.update().where(control_secrets.c.name == name).values(wrapped=rows[other][1])
            )
    with pytest.raises(KeyIntegrityError):
        ControlKeys(LAKE, world.store, world.provider)


def test_secrets_under_a_newer_root_are_the_same(world, keys):
    """Wrapped again under the next version of the control root, they open when the former one is destroyed."""
    rows = world.store.control_secrets()
    items = [WrappedKey(*rows[name], bound_to(LAKE, name)) for name in control.NAMES]
    assert world.provider.new_version("root-control", 1) == 2
    blobs = world.provider.rewrap("root-control", 2, items)
    changes = [(name, rows[name][1], 2, blob) for name, blob in zip(control.NAMES, blobs, strict=True)]
    assert world.changes.rewrap_secrets(changes) == len(control.NAMES)
    assert world.changes.rewrap_secrets(changes) == 0
    world.provider.trim("root-control", 2)
    assert ControlKeys(LAKE, world.store, world.provider).catalog_mac(b"x") == keys.catalog_mac(b"x")


def test_a_destroyed_root_opens_nothing(world, keys):
    """Without its control root version, the lake's secrets are gone."""
    world.provider.new_version("root-control", 1)
    world.provider.trim("root-control", 2)
    with pytest.raises(KeyStateError):
        ControlKeys(LAKE, world.store, world.provider)


def test_a_host_has_the_secrets_of_its_role_only(keys):
    """What was shared works as in the lake itself; the rest is refused, and other bytes are no secrets."""
    shared = SharedControlKeys(LAKE, keys.share([control.DIRECTORY]))
    assert shared.lookup_tag("mk-17") == keys.lookup_tag("mk-17")
    for use in (
        lambda: shared.catalog_mac(b"x"),
        lambda: shared.signer("lake.example/audit"),
        lambda: shared.open_document(control.POLICY, "p", keys.seal_document(control.POLICY, "p", b"x")),
        lambda: shared.share([control.DIRECTORY, control.CATALOG]),
    ):
        with pytest.raises(BrokerRefusedError):
            use()
    for wrong in ({"root": bytes(32)}, {control.CATALOG: bytes(31)}, {control.CATALOG: b""}):
        with pytest.raises(KeyIntegrityError):
            SharedControlKeys(LAKE, wrong)


def test_only_a_gateway_can_make_tokens(world, keys):
    """The key is one of its own, the same in every process that has the secret; no other role's host has that."""
    key = keys.token_key()
    assert len(key) == 32
    assert key not in {*keys._keys.values(), keys.pseudonym_key("tokens", LAKE), keys.pseudonym_key("tokens", "")}
    assert ControlKeys(LAKE, world.store, world.provider).token_key() == key
    for role, names in SECRETS.items():
        shared = SharedControlKeys(LAKE, keys.share(names))
        if role is Role.GATEWAY:
            assert shared.token_key() == key
        else:
            with pytest.raises(BrokerRefusedError):
                shared.token_key()


def test_audit_details_are_named_by_actor_and_month():
    """Details of one actor and month share a name, so that they can be erased together."""
    assert audit_detail_name("u:1", datetime(2026, 3, 31, 23, 59, tzinfo=UTC)) == "u:1/2026-03"


def test_control_keys_show_no_key(world, keys, leaks):
    """Neither representation nor store has a secret in clear."""
    shown = repr(keys) + str(keys) + repr(keys.signer("lake.example/audit")) + repr(world.store.control_secrets())
    assert len(keys._keys) == len(control.NAMES) == len(set(keys._keys.values()))
    assert not leaks(shown, *keys._keys.values())


def test_a_detail_opens_with_every_entry_it_was_sealed_with(keys):
    """Without one of them, in another order or with one more it does not, nor with the secret alone."""
    sealed = keys.seal_detail("u:1/2026-07", b"the query", [b"entry of one", b"entry of two"])
    assert keys.open_detail("u:1/2026-07", sealed, [b"entry of one", b"entry of two"]) == b"the query"
    for about in (
        [],
        [b"entry of one"],
        [b"entry of two", b"entry of one"],
        [b"entry of one", b"entry of two", b""],
        [b"entry of oneentry of two"],
    ):
        with pytest.raises(KeyIntegrityError):
            keys.open_detail("u:1/2026-07", sealed, about)
    with pytest.raises(KeyIntegrityError):
        keys.open_document(control.AUDIT_DETAIL, "u:1/2026-07", sealed)


def test_a_detail_about_nobody_is_a_document_as_before(keys):
    """What was sealed before details knew of employees opens as it did."""
    sealed = keys.seal_document(control.AUDIT_DETAIL, "u:1/2026-07", b"the query")
    assert keys.open_detail("u:1/2026-07", sealed) == b"the query"
