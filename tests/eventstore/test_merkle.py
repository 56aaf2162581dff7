"""Roots and paths are those of RFC 6962, whichever way they are computed."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import merkle
from eventstore.merkle import Frontier, Tree, leaf_hash, node_hash, root_from_path

# The inputs and roots with which implementations of RFC 6962 test each other.
LEAVES = [
    bytes.fromhex(each)
    for each in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZE_MAX = 600
HASHES = [leaf_hash(number.to_bytes(32)) for number in range(SIZE_MAX)]


def naive_root(hashes: Sequence[bytes]) -> bytes:
    """The root as RFC 6962 defines it."""
    if not hashes:
        return merkle.EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    return node_hash(naive_root(hashes[:middle]), naive_root(hashes[middle:]))


def naive_path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """The path as RFC 6962 defines it."""
    if len(hashes) == 1:
        return []
    middle = 1
    while middle * 2 < len(hashes):
        middle *= 2
    if index < middle:
        return [*naive_path(index, hashes[:middle]), naive_root(hashes[middle:])]
    return [*naive_path(index - middle, hashes[middle:]), naive_root(hashes[:middle])]


def tree_over(hashes: Sequence[bytes]) -> Tree:
    """A tree whose nodes of level 1 are computed from all of its leaves."""

    def read(level: int, tile: int, count: int) -> Sequence[bytes]:
        nodes = list(hashes)
        for _ in range(level):
            nodes = [naive_root(nodes[at : at + 256]) for at in range(0, len(nodes) - 255, 256)]
        found = nodes[tile * 256 : tile * 256 + count]
        assert 0 < count == len(found) <= 256
        return found

    return Tree(len(hashes), read)


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_roots_are_those_of_other_implementations(size: int) -> None:
    tree, frontier = tree_over([leaf_hash(leaf) for leaf in LEAVES[:size]]), Frontier()
    for leaf in LEAVES[:size]:
        list(frontier.add(leaf_hash(leaf)))
    assert tree.root().hex() == frontier.root().hex() == ROOTS[size]


def test_every_size_has_the_root_of_the_definition() -> None:
    frontier = Frontier()
    for size in range(SIZE_MAX):
        assert tree_over(HASHES[:size]).root() == frontier.root() == naive_root(HASHES[:size])
        list(frontier.add(HASHES[size]))


@given(st.data())
def test_every_path_is_that_of_the_definition_and_leads_to_the_root(data: Any) -> None:
    size = data.draw(st.integers(1, SIZE_MAX) | st.sampled_from([1, 2, 255, 256, 257, 511, 512]))
    index = data.draw(st.integers(0, size - 1))
    hashes = HASHES[:size]
    path = tree_over(hashes).path(index)
    assert path == naive_path(index, hashes)
    assert root_from_path(hashes[index], index=index, size=size, path=path) == naive_root(hashes)


@given(st.data())
def test_a_path_leads_nowhere_else(data: Any) -> None:
    size = data.draw(st.integers(2, 70))
    index, other = data.draw(st.permutations(range(size)))[:2]
    hashes, root = HASHES[:size], naive_root(HASHES[:size])
    path = tree_over(hashes).path(index)

    def leads(leaf: bytes, index: int, size: int, path: list[bytes]) -> bool:
        return root_from_path(leaf, index=index, size=size, path=path) == root

    assert not leads(hashes[other], index, size, path)
    assert not leads(hashes[index], other, size, path)
    assert not leads(hashes[index], index, size, path[:-1])
    assert not leads(hashes[index], index, size, [*path, path[0]])
    assert not leads(hashes[index], size + index, size, path)
    at = data.draw(st.integers(0, len(path) - 1))
    assert not leads(hashes[index], index, size, [*path[:at], bytes(32), *path[at + 1 :]])


@pytest.mark.parametrize("index", [-1, 5, 6])
def test_there_is_no_path_from_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError):
        tree_over(HASHES[:5]).path(index)


def test_a_frontier_tells_of_each_node_that_becomes_full() -> None:
    frontier = Frontier()
    told = [node for hash_ in HASHES for node in frontier.add(hash_)]
    assert told == [(1, at, naive_root(HASHES[at * 256 : at * 256 + 256])) for at in range(2)]
    assert len(frontier.peaks) == SIZE_MAX.bit_count()
