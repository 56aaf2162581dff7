"""A Merkle tree over a log: roots, inclusion paths, and their verification. Pure functions.

Source: RFC 6962, section 2.1, and RFC 9162, section 2.1, whose trees are the same: the hash of a
leaf is SHA-256(0x00 || leaf), that of a node SHA-256(0x01 || left || right), and a tree of n
leaves splits at the largest power of two below n.

# Note [Tiles]

Of a tree with a million leaves only the roots of its full subtrees of 256, 65,536, ... leaves are
kept. They are the nodes of level 1, 2, ...; level 0 are the leaves themselves. A tile is 256 nodes
of one level that stand under one node of the next level (or fewer, at the right edge of the tree).
Every hash that a root or a path needs can be computed from one tile of each level along two ways
down: to the leaf, and along the right edge. Such nodes never change once their leaves are there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

TILE_BITS = 8
TILE_WIDTH = 1 << TILE_BITS

# Returns the hashes of a tile, from (level, number of the tile within the level, how many).
ReadTile = Callable[[int, int, int], Sequence[bytes]]


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two others."""
    return sha256(b"\x01" + left + right).digest()


EMPTY_ROOT = sha256().digest()


def full_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root above `hashes`, whose number is a power of two."""
    while len(hashes) > 1:
        hashes = [
            node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


def split(size: int) -> int:
    """Return the largest power of two below `size`, which is 2 at least."""
    return 1 << ((size - 1).bit_length() - 1)


@dataclass(frozen=True)
class Tree:
    """The tree over the first `size` leaves of a log, read by tiles: see Note [Tiles].

    Args:
        read: returns the hashes of a tile; asked once for each tile.
    """

    size: int
    read: ReadTile
    _tiles: dict[tuple[int, int], Sequence[bytes]] = field(default_factory=dict)

    def root(self) -> bytes:
        """Return the root of the tree."""
        return self._range(0, self.size) if self.size else EMPTY_ROOT

    def path(self, index: int) -> list[bytes]:
        """Return the hashes beside the way from the leaf at `index` up to the root.

        Source: RFC 9162, section 2.1.3.1.

        Raises:
            IndexError: the tree has no such leaf.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"a tree of {self.size} leaves has none at {index}")
        start, end, path = 0, self.size, []
        while end - start > 1:
            middle = start + split(end - start)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return path[::-1]

    def _range(self, start: int, end: int) -> bytes:
        """Return the root above the leaves in [start, end), as splitting the tree makes them."""
        width = end - start
        if width & (width - 1) == 0:
            return self._full(start, width)
        middle = start + split(width)
        return node_hash(self._full(start, middle - start), self._range(middle, end))

    def _full(self, start: int, width: int) -> bytes:
        """Return the root of a full subtree of `width` leaves, a power of two."""
        level = (width.bit_length() - 1) // TILE_BITS
        first, count = start >> (TILE_BITS * level), width >> (TILE_BITS * level)
        tile, offset = divmod(first, TILE_WIDTH)
        return full_root(self._tile(level, tile)[offset : offset + count])

    def _tile(self, level: int, tile: int) -> Sequence[bytes]:
        if (level, tile) not in self._tiles:
            there = (self.size >> (TILE_BITS * level)) - tile * TILE_WIDTH
            self._tiles[level, tile] = self.read(level, tile, min(there, TILE_WIDTH))
        return self._tiles[level, tile]


def root_from_path(leaf: bytes, *, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that an inclusion path leads to; None when its length is not right.

    Source: RFC 9162, section 2.1.3.2.

    Args:
        leaf: the hash of the leaf.
        index: of the leaf, from 0.
        size: the number of leaves of the tree.
    """
    if not 0 <= index < size:
        return None
    hash_, node, last = leaf, index, size - 1
    for beside in path:
        if last == 0:
            return None
        if node & 1 or node == last:
            hash_ = node_hash(beside, hash_)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hash_ = node_hash(hash_, beside)
        node, last = node >> 1, last >> 1
    return hash_ if last == 0 else None


@dataclass
class Frontier:
    """The tree over the leaves that were added so far, in memory that grows with its height.

    Args:
        peaks: (height, root) of the full subtrees that it consists of, the largest first.
    """

    size: int = 0
    peaks: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, hash_: bytes, *, height: int = 0) -> Iterator[tuple[int, int, bytes]]:
        """Add the root of a full subtree of 2^height leaves behind all others.

        No smaller subtree may stand before it. The new full subtrees are only made while the
        result is read.

        Yields:
            (level, index, hash) of each node of Note [Tiles] that became full, the lowest first.
        """
        self.size += 1 << height
        while self.peaks and self.peaks[-1][0] == height:
            hash_ = node_hash(self.peaks.pop()[1], hash_)
            height += 1
            if height % TILE_BITS == 0:
                yield height // TILE_BITS, (self.size >> height) - 1, hash_
        self.peaks.append((height, hash_))

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1][1]
        for _, peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root
