"""The kernels that attention over a token tree can be computed with, by name, and what one is given.

Each takes one call of `attention.attend` and gives the same result. What they share (visibility, prefix slots, checks, the additive term) stands
there, and the choosing of rows in `gather`.

Letters: N nodes, S strips, Q queries and T keys per strip, K key/value heads, G query heads per key head, D head width, P prefix slots, R adapters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from affinage.backbone.strips import attend_by_strips
from affinage.pack import Ints, Strip
from affinage.records import UserError

if TYPE_CHECKING:
    from affinage.backbone.attention import Prefix, Tree

__all__ = ["STRIPS", "Call", "Kernel", "Window", "few_sizes", "kernel_of", "refuse", "rounded"]


@dataclass(frozen=True, slots=True)
class Window:
    """Which ancestors a layer sees: `sliding`, the nearest `size`; `chunked`, those of the same `size` positions."""

    kind: Literal["sliding", "chunked"]
    size: int


@dataclass(frozen=True, slots=True)
class Call:
    """One layer's attention, whatever the kernel."""

    layer: int
    query: Tensor
    """[N, K * G, D], not yet scaled."""
    key: Tensor
    """[N, K, D]"""
    value: Tensor
    """[N, K, Dv]"""
    scaling: float
    window: Window | None
    softcap: float | None
    sinks: Tensor | None
    """[K * G]"""
    tree: Tree
    """On the device of the queries."""

    @property
    def prefix(self) -> Prefix | None:
        """Of every layer; checked against this one's keys and values."""
        return self.tree.prefix


@dataclass(frozen=True, slots=True)
class Kernel:
    """One way to compute attention over a token tree."""

    name: str
    compute: Callable[[Call], Tensor] = attend_by_strips
    """[N, K * G, Dv] of a call."""
    few_sizes: bool = False
    """Whether strips are rounded up to few sizes."""


STRIPS = Kernel("strips")


def kernel_of(name: str) -> Kernel:
    """The kernel that `model.attention` names; `auto` is `strips` on every device until a benchmark on a GPU says otherwise."""
    if name in {"auto", STRIPS.name}:
        return STRIPS
    if name == "buckets":
        return Kernel(name, few_sizes=True)
    if name == "sdpa":
        from affinage.backbone.sdpa import attend_by_sdpa  # noqa: PLC0415  (it imports what imports this module)

        return Kernel(name, attend_by_sdpa)
    if name == "flex":
        from affinage.backbone.flex import attend_by_flex  # noqa: PLC0415  (as above; and it takes a second)

        return Kernel(name, attend_by_flex)
    raise ValueError(f"no kernel {name!r}")


def refuse(kernel: str, found: str, todo: str = "Set `model.attention` to strips.") -> UserError:
    """What a kernel says of a call that it cannot compute."""
    return UserError(f"model.attention: {kernel}", found, "a model and an adapter without it", todo)


def rounded(count: int, least: int = 1) -> int:
    """The next of least * (1, 1.5, 2, 3, 4, 6, 8, ...) that is whole and no smaller than a count.

    At most half is added, and up to any count there are about twice as many sizes as doublings.
    """
    size = least
    while size < count:
        if size % 2 == 0 and size * 3 // 2 >= count:
            return size * 3 // 2
        size *= 2
    return size


def few_sizes(cut: tuple[Strip, ...], back: Ints) -> tuple[tuple[Strip, ...], Ints]:
    """The groups of a pack with strips, queries and keys rounded up to few sizes, so that compiled code and CUDA graphs meet few shapes.

    Added strips repeat the group's last one, added queries their strip's first, added keys are padding as before: all are computed
    with values that stand in the tree, none is read, and none lets one adapter's NaN into another's gradients.

    Args:
        cut: of `pack.strips`.
        back: where each node's result stands in the groups laid end to end.

    Returns:
        The same with the added rows.
    """
    groups, places, before, after = [], back.copy(), 0, 0
    for strip in cut:
        (strips, queries), keys = strip.queries.shape, strip.keys.shape[1]
        more, long, path = rounded(strips), rounded(queries), rounded(keys, least=16)
        which = np.minimum(np.arange(more), strips - 1)
        first = strip.queries[which, :1]
        groups.append(
            Strip(
                queries=np.concatenate([strip.queries[which], np.repeat(first, long - queries, axis=1)], axis=1),
                keys=np.pad(strip.keys[which], ((0, 0), (0, path - keys))),
                start=strip.start[which],
                count=strip.count[which],
                adapter=strip.adapter[which],
            )
        )
        mine = (back >= before) & (back < before + strips * queries)
        row, place = np.divmod(back[mine] - before, queries)
        places[mine] = after + row * long + place
        before, after = before + strips * queries, after + more * long
    return tuple(groups), places
