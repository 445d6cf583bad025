"""The packed tree against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affinage.pack import Branch, greedy_packs, pack, strips

sequence = st.lists(st.integers(-3, 4), min_size=2, max_size=9)
batches = st.lists(st.tuples(sequence, st.integers(0, 10)), min_size=1, max_size=12)


def branches_of(batch: list[tuple[list[int], int]], adapters: int = 1) -> list[Branch]:
    made = [Branch(tuple(ids), 1 + first % (len(ids) - 1), i % adapters) for i, (ids, first) in enumerate(batch)]
    return made if len(made) >= adapters else made * adapters


@given(batches)
def test_the_tree_is_the_set_of_prefixes_in_preorder(batch: list[tuple[list[int], int]]) -> None:
    branches = branches_of(batch)
    packed = pack(branches)
    prefixes = sorted({branch.ids[:n] for branch in branches for n in range(1, len(branch.ids))})
    assert packed.nodes == len(prefixes)
    for i, prefix in enumerate(prefixes):
        assert packed.ids[i] == prefix[-1]
        assert packed.depth[i] == len(prefix) - 1
        assert packed.parent[i] == (prefixes.index(prefix[:-1]) if len(prefix) > 1 else -1)
        assert packed.end[i] == i + sum(other[: len(prefix)] == prefix for other in prefixes)


@given(batches)
def test_each_predicted_token_is_read_at_the_node_before_it(batch: list[tuple[list[int], int]]) -> None:
    branches = branches_of(batch)
    packed = pack(branches)
    prefixes = sorted({branch.ids[:n] for branch in branches for n in range(1, len(branch.ids))})
    expected = [
        (b, prefixes.index(branch.ids[:position]), branch.ids[position])
        for b, branch in enumerate(branches)
        for position in range(branch.first, len(branch.ids))
    ]
    found = zip(packed.target_branch, packed.predicting[packed.target_row], packed.target_id, strict=True)
    assert [tuple(map(int, row)) for row in found] == expected


@given(batches, st.integers(1, 6))
def test_strips_show_each_node_exactly_its_ancestors_and_itself(batch: list[tuple[list[int], int]], longest: int) -> None:
    packed = pack(branches_of(batch))
    groups, back = strips(packed, longest)
    seen: dict[int, set[int]] = {}
    flat: list[int] = []
    for group in groups:
        flat += group.queries.flatten().tolist()
        for s in range(len(group.queries)):
            for q in range(group.count[s]):
                seen[int(group.queries[s, q])] = {int(key) for key in group.keys[s, : group.start[s] + q + 1]}
    assert [flat[place] for place in back] == list(range(packed.nodes))
    for i in range(packed.nodes):
        assert seen[i] == {j for j in range(packed.nodes) if j <= i < packed.end[j]}


def test_equal_sequences_of_two_adapters_share_nothing() -> None:
    alone = pack([Branch((1, 2, 3), 2)])
    together = pack([Branch((1, 2, 3), 2, adapter) for adapter in (0, 1, 0)], adapters=2)
    assert alone.nodes == 2
    assert together.nodes == 4
    assert together.segments.tolist() == [0, 2, 4]
    assert together.parent.tolist() == [-1, 0, -1, 2]


@pytest.mark.parametrize(("ids", "first"), [((1, 2), 0), ((1, 2), 2), ((1,), 1)])
def test_a_sequence_that_predicts_nothing_or_its_first_token_is_refused(ids: tuple[int, ...], first: int) -> None:
    with pytest.raises(ValueError, match="needs a context"):
        pack([Branch(ids, first)])


def test_packs_do_not_depend_on_the_order_of_the_questions() -> None:
    rng = np.random.default_rng(0)
    items = [[Branch((*rng.integers(0, 3, 6).tolist(), 7, option), 7) for option in (1, 2)] for _ in range(40)]
    packs = greedy_packs(items, 60)
    assert sorted(i for chosen in packs for i in chosen) == list(range(40))
    assert 1 < len(packs) < 40
    for chosen in packs:
        assert pack([branch for i in chosen for branch in items[i]]).nodes <= 60
    reverse = greedy_packs(items[::-1], 60)

    def content(source: list[list[Branch]], packs: list[list[int]]) -> list[list[tuple[int, ...]]]:
        return [[source[i][0].ids for i in chosen] for chosen in packs]

    assert content(items, packs) == content(items[::-1], reverse)
