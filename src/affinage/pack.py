"""A batch as one token tree: the only place that lays tokens out.

All sequences of a batch share what they begin with (adapter, chat header, question, first options), so a batch is a prefix tree of tokens,
flattened into one row of N nodes without padding. Sequences are sorted, which puts the nodes in preorder: node i attends to node j when
`j <= i < end[j]`; a node's position is its depth; a sliding window is a difference of depths.

A token id below zero stands for a vector that an adapter puts there (a virtual token); the same id under two adapters is two nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Branch", "Packed", "Strip", "after_contexts", "contexts", "greedy_packs", "pack", "strips"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Branch:
    """One sequence on its way into a tree."""

    ids: tuple[int, ...]
    """Token ids; below zero: virtual tokens, -1 the first. The last id is predicted only and gets no node."""
    first: int
    """Index of the first id that is predicted; at least 1."""
    adapter: int = 0
    """Which adapter of the cohort the sequence is read under."""
    answer: int | None = None
    """Index at which the answer begins, where ids before `first` belong to it already (generation). Default: `first`."""
    question: int | None = None
    """Index at which the question begins, for adapters that put virtual tokens there; None where nobody knows."""
    options: int | None = None
    """Index at which the listed options begin; None where none are listed, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch as one token tree of N nodes in preorder."""

    ids: Ints
    """[N] token id of each node; below zero for virtual tokens."""
    parent: Ints
    """[N] index of the parent; -1 for a root."""
    depth: Ints
    """[N] number of ancestors."""
    end: Ints
    """[N] one past the last node of the subtree: i sees j when j <= i < end[j]."""
    segments: Ints
    """[R + 1] the nodes of adapter r are segments[r] to segments[r + 1]."""
    path: Ints
    """[B, T] node of each position of each sequence (sorted), -1 behind its end."""
    own: Ints
    """[B] position at which a sequence's own nodes begin (its length where it adds none)."""
    length: Ints
    """[B] number of nodes on the sequence's path."""
    adapter: Ints
    """[B] adapter of each sequence (sorted)."""
    predicting: Ints
    """[M] distinct nodes whose logits are read, ascending."""
    target_row: Ints
    """[S] per predicted token: which of `predicting` predicts it."""
    target_id: Ints
    """[S] per predicted token: its id."""
    target_branch: Ints
    """[S] per predicted token: its sequence, counted as handed in; tokens of one sequence stand in order."""

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.ids)


def pack(branches: Sequence[Branch], adapters: int = 1) -> Packed:
    """Lays sequences out as one tree, without a Python loop per token.

    Args:
        branches: B sequences, in any order, equal ones allowed.
        adapters: R, adapters of the cohort; each has at least one sequence.

    Raises:
        ValueError: no sequence, a sequence without a predicted token, or one that predicts its first token.
    """
    if not branches:
        raise ValueError("a pack needs at least one sequence")
    if any(not 1 <= branch.first < len(branch.ids) for branch in branches):
        raise ValueError("each sequence needs a context and at least one predicted token")
    order = sorted(range(len(branches)), key=lambda b: (branches[b].adapter, branches[b].ids))
    rows = [branches[b] for b in order]
    length = np.array([len(row.ids) - 1 for row in rows])
    width = int(length.max())
    inside = np.arange(width) < length[:, None]
    table = np.zeros(inside.shape, np.int64)
    table[inside] = np.concatenate([np.asarray(row.ids[:-1], np.int64) for row in rows])
    adapter = np.array([row.adapter for row in rows])

    # A sequence shares with the tree so far exactly what it shares with its neighbour before it, because they are sorted.
    same = (table[1:] == table[:-1]) & inside[1:] & inside[:-1] & (adapter[1:] == adapter[:-1])[:, None]
    own = np.concatenate([[0], np.cumprod(same, axis=1).sum(axis=1)])
    new = inside & (np.arange(width) >= own[:, None])
    node = np.where(new, np.cumsum(new).reshape(new.shape) - 1, -1)
    owner = np.maximum.accumulate(np.where(new, np.arange(len(rows))[:, None], -1), axis=0)
    path = np.where(inside, np.take_along_axis(node, owner.clip(0), axis=0), -1)

    row, depth = np.nonzero(new)
    parent = np.where(depth > 0, path[row, (depth - 1).clip(0)], -1)
    segments = np.searchsorted(adapter[row], np.arange(adapters + 1))
    if (np.diff(segments) == 0).any():
        raise ValueError("each adapter needs at least one sequence")

    counts = np.array([len(branch.ids) - branch.first for branch in branches])
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    target_branch = np.repeat(np.arange(len(branches)), counts)
    first = np.array([branch.first for branch in branches])
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    predicting, target_row = np.unique(path[place[target_branch], first[target_branch] + step - 1], return_inverse=True)
    return Packed(
        ids=table[row, depth],
        parent=parent,
        depth=depth,
        end=_subtree_ends(own, width, np.append(np.cumsum(new.sum(axis=1)) - new.sum(axis=1), new.sum()))[row, depth],
        segments=segments,
        path=path,
        own=own,
        length=length,
        adapter=adapter,
        predicting=predicting,
        target_row=target_row.reshape(-1),
        target_id=np.concatenate([np.asarray(branch.ids[branch.first :], np.int64) for branch in branches]),
        target_branch=target_branch,
    )


def _subtree_ends(own: Ints, width: int, first: Ints) -> Ints:
    """[B, T] where the subtree of the node that row b adds at depth t ends: at the first own node of the next row that leaves at t or above.

    Args:
        own: [B] where each row's own nodes begin.
        width: T.
        first: [B + 1] index of the first own node of each row; last N.
    """
    rows = len(own)
    leaves = np.where(own[:, None] <= np.arange(width), np.arange(rows)[:, None], rows)
    following = np.full((rows, width), rows)
    following[:-1] = np.minimum.accumulate(leaves[::-1], axis=0)[::-1][1:]
    ends: Ints = first[following]
    return ends


def contexts(packed: Packed) -> list[tuple[int, ...]]:
    """Of each sequence (sorted) its context: the ids before its first virtual token.

    Raises:
        ValueError: a sequence without a virtual token, or without an id before it.
    """
    virtual = (packed.path >= 0) & (packed.ids[packed.path] < 0)
    first = virtual.argmax(axis=1)
    if not virtual.any(axis=1).all() or not first.all():
        raise ValueError("each sequence needs a context and a virtual token after it")
    found: list[tuple[int, ...]] = []
    for path, until, shared in zip(packed.path, first.tolist(), packed.own.tolist(), strict=True):
        found.append(found[-1] if found and until <= shared else tuple(packed.ids[path[:until]].tolist()))
    return found


def after_contexts(packed: Packed, rows: Sequence[Ints]) -> Packed:
    """The pack without the nodes of its contexts, which stand in a table elsewhere: a path leads through N + i where it leads through row i of it.

    N is the number of nodes that are left; positions stay what they were.

    Args:
        packed: whose adapters stand behind the contexts (`contexts`).
        rows: of each sequence (sorted) the row of each node of its context.
    """
    inside = np.arange(packed.path.shape[1]) < np.array([len(own) for own in rows])[:, None]
    left = np.ones(packed.nodes, bool)
    left[packed.path[inside]] = False
    number = np.cumsum(left) - 1
    path = np.where(packed.path >= 0, number[packed.path], -1)
    path[inside] = left.sum() + np.concatenate(rows)
    parent = packed.parent[left]
    return replace(
        packed,
        ids=packed.ids[left],
        parent=np.where(left[parent], number[parent], -1),
        depth=packed.depth[left],
        end=number[packed.end[left] - 1] + 1,
        segments=np.append(0, np.cumsum(left))[packed.segments],
        path=path,
        own=np.maximum(packed.own, inside.sum(axis=1)),
        predicting=number[packed.predicting],
    )


@dataclass(frozen=True, slots=True)
class Strip:
    """Strips of similar length: the nodes that sequences add to the tree, and all that those see. S strips, Q queries, T keys each."""

    queries: Ints
    """[S, Q] nodes; padded with the strip's first node."""
    keys: Ints
    """[S, T] the path from the root to the strip's end; padded with node 0."""
    start: Ints
    """[S] depth of the first query."""
    count: Ints
    """[S] queries that are no padding."""
    adapter: Ints
    """[S] adapter of each strip."""


_WORTH = 4000
"""Products of a query and a key that computing one more group costs, about: fewer are rather padded. Measured on two CPU cores."""


def strips(packed: Packed, longest: int) -> tuple[tuple[Strip, ...], Ints]:
    """Cuts a tree into strips for attention.

    What a sequence adds is cut into equal pieces of at most `longest`; empty ones are dropped. Strips of similar length and depth form one group, so
    that neither short branches are padded to the length of the trunk nor shallow ones to the depth of the leaves.

    Returns:
        The groups, and back[N]: where each node's result stands when the groups' [S, Q] results are laid end to end.
    """
    added = packed.length - packed.own
    pieces = -(-added // longest)
    row = np.repeat(np.arange(len(added)), pieces)
    piece = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = packed.own[row] + added[row] * piece // pieces[row]
    stop = packed.own[row] + added[row] * (piece + 1) // pieces[row]
    groups = []
    back = np.empty(packed.nodes, np.int64)
    offset = 0
    for chosen in _alike(stop - start, stop):
        first, last, of = start[chosen], stop[chosen], row[chosen]
        place = first[:, None] + np.arange((last - first).max())
        real = place < last[:, None]
        queries = packed.path[of[:, None], np.where(real, place, first[:, None])]
        keys_wide = int(last.max())
        keys = np.where(np.arange(keys_wide) < last[:, None], packed.path[of, :keys_wide], 0)
        back[queries[real]] = offset + np.flatnonzero(real)
        offset += real.size
        groups.append(Strip(queries, keys, first, last - first, packed.adapter[of]))
    return tuple(groups), back


def _alike(queries: Ints, keys: Ints) -> list[Ints]:
    """Groups strips so that few products are wasted on padding and few groups remain.

    Strips of nearly equal sizes are together to begin with; then the two groups whose union pads least are joined, as long as that costs less than
    computing a group.

    Args:
        queries: [S] of each strip.
        keys: [S] of each strip.

    Returns:
        The strips of each group, in their order.
    """
    level = np.ceil(4 * np.log2(np.stack([queries, keys]))).astype(np.int64)
    _, member = np.unique(level, axis=1, return_inverse=True)
    groups = [np.flatnonzero(member.reshape(-1) == group) for group in range(member.max() + 1)]
    size = np.array([[len(group), queries[group].max(), keys[group].max()] for group in groups])
    while len(groups) > 1:
        cells = size.prod(axis=1)
        widest = np.maximum(size[:, None, 1:], size[None, :, 1:]).prod(axis=2)
        waste = (size[:, None, 0] + size[None, :, 0]) * widest - cells[:, None] - cells[None]
        waste[np.tril_indices(len(groups))] = np.iinfo(np.int64).max
        one, other = np.unravel_index(waste.argmin(), waste.shape)
        if waste[one, other] > _WORTH:
            break
        size[one] = [size[one, 0] + size[other, 0], *np.maximum(size[one, 1:], size[other, 1:])]
        groups[one] = np.sort(np.concatenate([groups[one], groups[other]]))
        size = np.delete(size, other, axis=0)
        del groups[other]
    return groups


def greedy_packs(items: Sequence[Sequence[Branch]], nodes_per_pack: int) -> list[list[int]]:
    """Puts items into packs of about `nodes_per_pack` nodes so that neighbours share most.

    The packs depend on the items and the budget alone: neither on the order in which they come nor on an adapter.

    Args:
        items: each question's sequences; all are read under one adapter.
        nodes_per_pack: budget; an item larger than it gets a pack of its own.

    Returns:
        Indices of the items of each pack.
    """
    order = sorted(range(len(items)), key=lambda i: [branch.ids for branch in items[i]])
    packs: list[list[int]] = []
    filled = 0
    for i in order:
        alone = pack(items[i]).nodes
        added = alone - _common(items[packs[-1][-1]], items[i]) if packs else alone
        if packs and filled + added <= nodes_per_pack:
            packs[-1].append(i)
            filled += added
        else:
            packs.append([i])
            filled = alone
    return packs


def _common(one: Sequence[Branch], other: Sequence[Branch]) -> int:
    """Nodes that two items share at the least: the common prefix of their nearest sequences."""
    best = 0
    for branch in (other[0], other[-1]):
        a, b = np.asarray(one[0].ids[:-1]), np.asarray(branch.ids[:-1])
        shortest = min(len(a), len(b))
        differ = np.flatnonzero(a[:shortest] != b[:shortest])
        best = max(best, int(differ[0]) if len(differ) else shortest)
    return best
