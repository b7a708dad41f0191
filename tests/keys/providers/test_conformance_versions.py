"""What the interface promises of keys and versions, asked of every provider: making, rotating, trimming, races."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from keys.errors import KeyStateError
from keys.providers import KeyProvider
from keys.refs import KeyState
from tests.keys.providers.cases import Case
from tests.keys.providers.conformance import NAME, OTHER, REFUSED, relabelled, to_wrap, wrapped


def gone(case: Case, state: KeyState) -> bool:
    """Whether a trimmed version is in the state that this provider can reach."""
    return state is (KeyState.DESTROYED if case.destroys_now else KeyState.PENDING_DESTRUCTION)


def test_new_keys_are_in_version_one(case, provider):
    """Creating makes one version, enabled, in every name; another process sees it."""
    for name in (NAME, OTHER):
        found = case.open().describe(name)
        assert (found.name, found.current, dict(found.versions)) == (name, 1, {1: KeyState.ENABLED})
        assert not found.gone_after


def test_a_former_version_opens_and_no_longer_wraps(case, provider):
    """After a new version the old one is DECRYPT_ONLY: its blobs open, nothing new is made under it."""
    made = wrapped(provider, 3)
    assert provider.new_version(NAME, 1) == 2
    found = case.open().describe(NAME)
    assert (found.current, dict(found.versions)) == (2, {1: KeyState.DECRYPT_ONLY, 2: KeyState.ENABLED})
    with pytest.raises(KeyStateError):
        provider.wrap(NAME, 1, to_wrap(1))
    assert case.open().unwrap(NAME, made.items) == made.keys
    newer = wrapped(provider, 2, version=2)
    assert provider.unwrap(NAME, made.items + newer.items) == made.keys + newer.keys


def test_versions_that_do_not_exist_do_not_wrap(provider):
    """Wrapping names its version, and no other is taken instead."""
    for version in (0, 2, 99):
        with pytest.raises(KeyStateError):
            provider.wrap(NAME, version, to_wrap(1))


def test_rewrapping_keeps_the_key_and_the_old_blob(case, provider):
    """The same keys under a new version; the blobs that they came from open until they are trimmed."""
    made = wrapped(provider, 203 if case.every_byte else 12)
    provider.new_version(NAME, 1)
    again = relabelled(made.items, case.open().rewrap(NAME, 2, made.items), 2)
    assert not {item.blob for item in again} & {item.blob for item in made.items}
    assert case.open().unwrap(NAME, again) == made.keys
    assert case.open().unwrap(NAME, made.items) == made.keys
    with pytest.raises(REFUSED):
        provider.unwrap(NAME, relabelled(made.items, [item.blob for item in again], 1))


def test_rewrapping_goes_to_the_current_version_only(provider):
    """Neither back to a former version nor to one that is not there."""
    made = wrapped(provider)
    provider.new_version(NAME, 1)
    for version in (1, 3):
        with pytest.raises(KeyStateError):
            provider.rewrap(NAME, version, made.items)


def test_trimming_destroys_for_everyone(case, provider):
    """What was trimmed opens nowhere, for nobody, and stays so; what was rewrapped before opens."""
    made = wrapped(provider, 2)
    provider.new_version(NAME, 1)
    opened_before = case.open()
    assert opened_before.unwrap(NAME, made.items) == made.keys
    again = relabelled(made.items, provider.rewrap(NAME, 2, made.items), 2)
    provider.trim(NAME, 2)
    for each in (provider, case.open()):
        with pytest.raises(KeyStateError):
            each.unwrap(NAME, made.items)
        with pytest.raises(KeyStateError):
            each.rewrap(NAME, 2, made.items)
        found = each.describe(NAME)
        assert found.current == 2
        assert gone(case, found.versions[1])
        assert found.versions[2] is KeyState.ENABLED
        assert set(found.gone_after) == (set() if case.destroys_now else {1})
        assert each.unwrap(NAME, again) == made.keys


def test_trimming_again_changes_nothing(case, provider):
    """Trimming is idempotent, lower bounds included, and takes all versions below."""
    for after in (1, 2, 3):
        provider.new_version(NAME, after)
    provider.trim(NAME, 3)
    before = case.open().describe(NAME)
    assert [number for number, state in before.versions.items() if gone(case, state)] == [1, 2]
    assert before.versions[3] is KeyState.DECRYPT_ONLY
    for below in (3, 2, 1, 0):
        case.open().trim(NAME, below)
    assert case.open().describe(NAME) == before


def test_the_current_version_cannot_be_trimmed(case, provider):
    """Neither it nor what comes after; nothing is destroyed by trying."""
    provider.new_version(NAME, 1)
    made = wrapped(provider, version=2)
    for below in (3, 99):
        with pytest.raises(KeyStateError):
            provider.trim(NAME, below)
    assert dict(case.open().describe(NAME).versions) == {1: KeyState.DECRYPT_ONLY, 2: KeyState.ENABLED}
    assert provider.unwrap(NAME, made.items) == made.keys


def test_keys_do_not_share_versions(case, provider):
    """What is done to one key is not done to another."""
    made = wrapped(provider, name=OTHER)
    provider.new_version(NAME, 1)
    provider.trim(NAME, 2)
    assert dict(case.open().describe(OTHER).versions) == {1: KeyState.ENABLED}
    assert case.open().unwrap(OTHER, made.items) == made.keys


def test_a_missing_key_stays_missing(case, provider):
    """No call makes a key but the one that is for it."""
    item = wrapped(provider).items[0]
    attempts = [
        lambda: provider.describe("none"),
        lambda: provider.wrap("none", 1, to_wrap(1)),
        lambda: provider.wrap("none", 1, []),
        lambda: provider.unwrap("none", [item]),
        lambda: provider.unwrap("none", []),
        lambda: provider.rewrap("none", 1, [item]),
        lambda: provider.new_version("none", 0),
        lambda: provider.new_version("none", 1),
        lambda: provider.trim("none", 1),
    ]
    for attempt in attempts:
        with pytest.raises(KeyStateError):
            attempt()
        with pytest.raises(KeyStateError):
            case.open().describe("none")
    provider.create(["none"])
    assert case.open().describe("none").current == 1


def test_creating_an_existing_key_creates_nothing(case, provider):
    """One name that exists stops all; the key keeps what it holds."""
    made = wrapped(provider)
    for names in ([NAME], ["fresh", NAME], [NAME, "fresh"]):
        with pytest.raises(KeyStateError):
            case.open().create(names)
        with pytest.raises(KeyStateError):
            case.open().describe("fresh")
    assert case.open().unwrap(NAME, made.items) == made.keys
    assert case.open().describe(NAME).current == 1


def test_a_stale_rotation_is_none(case, provider):
    """Asking again for a version that is made already gives the current one; asking ahead is refused."""
    assert provider.new_version(NAME, 1) == 2
    assert case.open().new_version(NAME, 1) == 2
    assert case.open().new_version(NAME, 2) == 3
    assert case.open().new_version(NAME, 1) == 3
    with pytest.raises(KeyStateError):
        provider.new_version(NAME, 4)
    assert case.open().describe(NAME).current == 3


@pytest.mark.parametrize("apart", [False, True], ids=["one provider", "two providers"])
def test_two_rotations_at_once_are_one(case, provider, apart):
    """Of two that make version 2 at the same time, one makes it and both are told of it."""
    providers = [provider, case.open() if apart else provider]
    barrier = Barrier(2)

    def rotate(each: KeyProvider) -> int:
        barrier.wait()
        return each.new_version(NAME, 1)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(rotate, providers)) == [2, 2]
    found = case.open().describe(NAME)
    assert (found.current, set(found.versions)) == (2, {1, 2})
    made = wrapped(provider, version=2)
    for each in (*providers, case.open()):
        assert each.unwrap(NAME, made.items) == made.keys
