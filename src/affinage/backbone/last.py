"""The last decoder layer's feed-forward network, computed where a logit is read and nowhere else.

Behind the last attention nothing passes from node to node any more, so what this network makes of the other nodes is read by nobody. With few
predicted tokens that saves nearly all of its work, forward and backward. The attention before it needs every node's key and value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["feed_forward", "only_at"]


def feed_forward(layers: nn.ModuleList) -> nn.Module | None:
    """The last layer's feed-forward network where it is a plain one: linear modules and an activation; None elsewhere (a mixture of experts)."""
    module = getattr(layers[-1], "mlp", None)
    if not isinstance(module, nn.Module):
        return None
    owners = [each for each in module.modules() if any(True for _ in each.parameters(recurse=False))]
    plain = [each for each in module.children() if isinstance(each, nn.Linear)]
    return module if owners and owners == plain else None


@contextmanager
def only_at(module: nn.Module, nodes: Tensor, count: int) -> Iterator[None]:
    """The module computed at some nodes until the block ends; elsewhere it gives zeros.

    Args:
        module: takes [1, N, H] and treats every node by itself.
        nodes: their indices, ascending, each once.
        count: N.
    """

    def narrow(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        return (args[0].index_select(1, nodes.to(args[0].device)), *args[1:]) if args and args[0].shape[:2] == (1, count) else None

    def widen(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not args or args[0].shape[:2] != (1, len(nodes)):
            return None
        return output.new_zeros(1, count, output.shape[-1]).index_copy(1, nodes.to(output.device), output)

    handles = module.register_forward_pre_hook(narrow), module.register_forward_hook(widen)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
