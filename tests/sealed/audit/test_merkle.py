"""The Merkle tree against the recursive definitions of RFC 6962 section 2.1."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import IntegrityError
from lake.sealed.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    range_hash,
    split_point,
    tree_hash,
)
from lake.sealed.audit.proofs import verify_consistency, verify_inclusion

LEAVES = [leaf_hash(b"entry %d" % number) for number in range(1500)]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = max(2**power for power in range(20) if 2**power < len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH, word for word."""
    if len(leaves) == 1:
        return []
    k = max(2**power for power in range(20) if 2**power < len(leaves))
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(old: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF, word for word."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = max(2**power for power in range(20) if 2**power < len(leaves))
    if old <= k:
        return [*naive_consistency(old, leaves[:k], whole=whole), naive_root(leaves[k:])]
    return [*naive_consistency(old - k, leaves[k:], whole=False), naive_root(leaves[:k])]


def node(level: int, index: int) -> bytes:
    """Reads complete subtrees of LEAVES."""
    return naive_root(LEAVES[index << level : (index + 1) << level])


def refuses(check: object, *arguments: object) -> bool:
    """Whether the check ends in IntegrityError."""
    assert callable(check)
    try:
        check(*arguments)
    except IntegrityError:
        return True
    return False


def test_known_hashes() -> None:
    """The empty root and the leaf hash of nothing are the published test vectors."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert node_hash(leaf_hash(b""), leaf_hash(b"\x00")).hex() == (
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    )
    assert [split_point(size) for size in (2, 3, 4, 5, 8, 9)] == [1, 2, 2, 4, 4, 8]


def test_every_root_and_inclusion_proof_to_70() -> None:
    """Roots and audit paths equal the definition for every size and index to 70, and verify only where they belong."""
    frontier = Frontier()
    for size in range(71):
        root = naive_root(LEAVES[:size])
        assert frontier.root() == tree_hash(LEAVES[:size]) == range_hash(0, size, node) == root
        for index in range(size):
            path = inclusion_path(index, size, node)
            assert path == naive_path(index, LEAVES[:size])
            verify_inclusion(LEAVES[index], index, size, path, root)
            assert refuses(verify_inclusion, LEAVES[index + 1], index, size, path, root)
            assert refuses(verify_inclusion, LEAVES[index], index, size, [*path, root], root)
            if path:
                assert refuses(verify_inclusion, LEAVES[index], index, size, path[:-1], root)
                assert refuses(verify_inclusion, LEAVES[index], (index + 1) % size, size, path, root)
        frontier.push(LEAVES[size])


def test_every_consistency_proof_to_40() -> None:
    """Consistency proofs equal the definition for every pair of sizes to 40, and verify only between their roots."""
    roots = [naive_root(LEAVES[:size]) for size in range(42)]
    for new in range(1, 41):
        for old in range(1, new + 1):
            path = consistency_path(old, new, node)
            assert path == naive_consistency(old, LEAVES[:new])
            verify_consistency(old, roots[old], new, roots[new], path)
            assert refuses(verify_consistency, old, roots[old], new, roots[new + 1], path)
            assert refuses(verify_consistency, old, roots[old - 1], new, roots[new], path)
            assert refuses(verify_consistency, old, roots[old], new, roots[new], [*path, roots[1]])
            if path:
                assert refuses(verify_consistency, old, roots[old], new, roots[new], path[:-1])


def test_the_empty_tree_is_extended_by_any() -> None:
    """From size 0 only the empty proof is accepted, and no tree shrinks."""
    root = naive_root(LEAVES[:3])
    verify_consistency(0, EMPTY_ROOT, 3, root, consistency_path(0, 3, node))
    assert refuses(verify_consistency, 0, EMPTY_ROOT, 3, root, [root])
    assert refuses(verify_consistency, 3, root, 2, naive_root(LEAVES[:2]), [])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_proofs_of_larger_trees(data: st.DataObject) -> None:
    """Proofs of trees to 1,400 leaves equal the definition and verify."""
    size = data.draw(st.integers(71, 1400))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    root = naive_root(LEAVES[:size])
    path = inclusion_path(index, size, node)
    assert path == naive_path(index, LEAVES[:size])
    verify_inclusion(LEAVES[index], index, size, path, root)
    steps = consistency_path(old, size, node)
    assert steps == naive_consistency(old, LEAVES[:size])
    verify_consistency(old, naive_root(LEAVES[:old]), size, root, steps)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_an_index_outside_the_tree_is_refused(index: int, size: int) -> None:
    """No proof puts a leaf outside the tree."""
    assert refuses(verify_inclusion, LEAVES[0], index, size, [], LEAVES[0])
