"""Merkle proofs against a tree by definition: the right ones hold, and any other does not."""

from __future__ import annotations

import pytest

from keys.proofs import leaf_hash, verify_consistency, verify_inclusion

SIZES = range(1, 41)


def flips(value):
    """Every value that differs in one bit."""
    for bit in range(len(value) * 8):
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.fixture
def forty(tree):
    """A tree of forty entries."""
    return tree([b"entry %d" % number for number in range(40)])


def test_every_entry_of_every_size_is_included(forty):
    """The audit path of each entry holds in each tree, at its index and at no other."""
    for size in SIZES:
        root = forty.root(size)
        for index in range(size):
            leaf, path = leaf_hash(b"entry %d" % index), forty.inclusion(index, size)
            held = [other for other in range(-1, size + 2) if verify_inclusion(leaf, other, size, path, root)]
            assert held == [index]


def test_every_growth_is_consistent(forty):
    """The consistency proof holds for each pair of sizes."""
    for new in SIZES:
        for old in range(1, new + 1):
            proof = forty.consistency(old, new)
            assert verify_consistency(old, new, forty.root(old), forty.root(new), proof)


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 2), (6, 7), (7, 8), (20, 33), (39, 40)])
def test_every_bit_of_an_inclusion_counts(forty, index, size):
    """One flipped bit in leaf, root or path, or a hash more, less or moved, and the proof fails."""
    leaf, path, root = leaf_hash(b"entry %d" % index), forty.inclusion(index, size), forty.root(size)
    assert verify_inclusion(leaf, index, size, path, root)
    assert not any(verify_inclusion(other, index, size, path, root) for other in flips(leaf))
    assert not any(verify_inclusion(leaf, index, size, path, other) for other in flips(root))
    for place, part in enumerate(path):
        for other in flips(part):
            assert not verify_inclusion(leaf, index, size, [*path[:place], other, *path[place + 1 :]], root)
        assert not verify_inclusion(leaf, index, size, [*path[:place], *path[place + 1 :]], root)
        assert not verify_inclusion(leaf, index, size, [*path[:place], part, *path[place:]], root)
    assert not verify_inclusion(leaf, index, size, [*path, root], root)
    if len(path) > 1:
        assert not verify_inclusion(leaf, index, size, path[::-1], root)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 7), (8, 8), (6, 8), (16, 33), (33, 40)])
def test_every_bit_of_a_consistency_counts(forty, old, new):
    """One flipped bit in either root or the proof, or a hash more or less, and the proof fails."""
    first, second, proof = forty.root(old), forty.root(new), forty.consistency(old, new)
    assert verify_consistency(old, new, first, second, proof)
    assert not any(verify_consistency(old, new, other, second, proof) for other in flips(first))
    assert not any(verify_consistency(old, new, first, other, proof) for other in flips(second))
    for place, part in enumerate(proof):
        for other in flips(part):
            assert not verify_consistency(old, new, first, second, [*proof[:place], other, *proof[place + 1 :]])
        assert not verify_consistency(old, new, first, second, [*proof[:place], *proof[place + 1 :]])
    assert not verify_consistency(old, new, first, second, [*proof, second])


def test_impossible_sizes_are_refused(forty):
    """No proof is good for sizes that cannot be, nor for a tree that shrinks."""
    root = forty.root(4)
    for old, new in ((0, 4), (-1, 4), (5, 4), (4, 0)):
        assert not verify_consistency(old, new, root, root, [])
    for index, size in ((0, 0), (4, 4), (-1, 4), (0, -1)):
        assert not verify_inclusion(root, index, size, [], root)
    assert not verify_consistency(3, 4, forty.root(3), root, [])


def test_a_rewritten_history_is_not_consistent(forty, tree):
    """A log that was cut and written anew does not extend the old one, whatever proof it makes."""
    other = tree([b"entry %d" % number for number in range(19)] + [b"changed"] * 21)
    for old in range(20, 40):
        assert not verify_consistency(old, 40, forty.root(old), other.root(40), other.consistency(old, 40))


def test_an_inner_node_is_not_an_entry(forty):
    """The hash of two joined leaves cannot be passed off as an entry's."""
    inner = forty.root(2)
    assert leaf_hash(b"\x01" + leaf_hash(b"entry 0") + leaf_hash(b"entry 1")) != inner
    assert not verify_inclusion(inner, 0, 4, [forty.root(4, 2)], forty.root(4))
