"""A frozen model that computes over token trees."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from affinage.backbone.attention import KEYWORD, Prefix, Tree, plant
from affinage.backbone.compiled import refuse_uncompilable
from affinage.backbone.doors import Doors, Routed
from affinage.backbone.kernels import STRIPS, Kernel
from affinage.backbone.last import feed_forward, only_at
from affinage.backbone.quantised import require_full_weights
from affinage.backbone.shape import decoder_layers, longest_position, needs_ids, node_limit, windows_of
from affinage.backbone.states import States
from affinage.backbone.terms import Additive, Gates
from affinage.backbone.updates import adding, shifted
from affinage.encode import Tokens
from affinage.pack import Branch, Packed, pack
from affinage.records import BackboneShape, UserError

__all__ = ["Backbone", "Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which frozen model; an adapter belongs to one and refuses another."""

    id: str
    """As the user named it: hub id, folder, catalogue name."""
    revision: str
    """Commit of a hub id; empty otherwise."""
    digest: str
    """Digest of configuration, weights and quantisation."""
    quantisation: str = "none"
    """Into what the weights were brought when they were loaded (`model.quantisation`)."""

    def as_dict(self) -> dict[str, str]:
        """For JSON; of weights as they are, quantisation is left out."""
        told = {"id": self.id, "revision": self.revision, "digest": self.digest}
        return told if self.quantisation == "none" else {**told, "quantisation": self.quantisation}


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """A frozen decoder-only model, its tokenizer and what is known of both."""

    model: Any
    """A transformers causal language model whose attention is ours; every parameter frozen."""
    tokens: Tokens
    shape: BackboneShape
    identity: Identity
    kernel: Kernel = STRIPS
    """How attention over the tree is computed."""
    compiled: bool = False
    """Whether the decoder layers are compiled when they first run."""

    @property
    def device(self) -> torch.device:
        """Where the input embeddings are."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and activations."""
        dtype: torch.dtype = self.model.get_input_embeddings().weight.dtype
        return dtype

    def embed(self, ids: Sequence[int]) -> Tensor:
        """The model's input embeddings of these ids, [len(ids), H], float32."""
        with torch.no_grad():
            return self.model.get_input_embeddings()(torch.tensor(ids, device=self.device)).float().cpu()  # type: ignore[no-any-return]

    def keys_values(self, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Keys and values that the model computes over a text, each [L, T, K, D], float32, keys as a cache would hold them."""
        states = self.states(pack([Branch((*ids, 0), len(ids))]))
        return torch.stack([key.float().cpu() for key in states.keys]), torch.stack([value.float().cpu() for value in states.values])

    def states(self, packed: Packed) -> States:
        """Keys and values of every node of a pack without an adapter, computed without gradient."""
        calls: list[tuple[int, Tensor, Tensor]] = []
        with torch.no_grad(), self.logits(replace(packed, predicting=packed.predicting[:1]), calls=calls):
            pass
        calls.sort(key=lambda call: call[0])
        return States(tuple(key for _, key, _ in calls), tuple(value for _, _, value in calls))

    @contextmanager
    def logits(
        self,
        packed: Packed,
        doors: Sequence[Doors] = (Doors(),),
        *,
        context: States | None = None,
        calls: list[tuple[int, Tensor, Tensor]] | None = None,
    ) -> Iterator[Tensor]:
        """Logits [M, V] at the nodes that predict something (`packed.predicting`), in the backbone's type.

        The backward pass belongs inside the `with`: under gradient checkpointing layers are computed again there, adapters included.

        Args:
            packed: a batch.
            doors: one per adapter of the pack.
            context: what stands before the sequences of a pack that `pack.after_contexts` made; adapters then bring vectors and nothing else.
            calls: a list that gathers each layer's keys and values.

        Raises:
            UserError: the pack is longer than the model's positions allow, or the model cannot take the doors.
        """
        if self.compiled:
            refuse_uncompilable(doors)
        if context is not None and any(door.keys is not None or door.additive is not None or door.updates or door.shifts for door in doors):
            raise ValueError("adapters that change more than what stands behind the contexts")
        prefix = _prefix(doors)
        slots = 0 if prefix is None else prefix.keys.shape[2]
        self._check_length(packed, slots)
        windows, additive = windows_of(self.model.config), _additive(packed, doors, self.device)
        tree = plant(packed, windows, self.device, prefix, additive=additive, context=context, calls=calls, kernel=self.kernel)
        position = torch.from_numpy(packed.depth + slots).to(self.device)
        with ExitStack() as stack:
            with self._narrowed(packed, doors) as narrowed:
                self._open(stack, packed, doors, narrowed)
                result = self.model(
                    **self._input(packed, doors),
                    position_ids=position[None],
                    use_cache=False,
                    logits_to_keep=packed.predicting,  # not a tensor: accelerate would move that to the first GPU, and the last one reads it
                    **{KEYWORD: tree},
                )
            yield result.logits[0]

    def _input(self, packed: Packed, doors: Sequence[Doors]) -> dict[str, Tensor]:
        """Ids where the layers look them up again, else embeddings."""
        if not needs_ids(self.model.config):
            return {"inputs_embeds": self._embeddings(packed, doors)[None]}
        if any(door.vectors is not None for door in doors):
            raise UserError(
                f"model {self.identity.id}",
                "virtual tokens",
                "tokens alone: its layers look token ids up again",
                "Use another method with this model.",
            )
        return {"input_ids": torch.from_numpy(packed.ids)[None].to(self.device)}

    def _embeddings(self, packed: Packed, doors: Sequence[Doors]) -> Tensor:
        """[N, H]: the token's embedding, or the adapter's vector where a node has no token."""
        ids = torch.from_numpy(packed.ids)
        text = self.model.get_input_embeddings()(ids.clamp(min=0).to(self.device))
        if all(door.vectors is None for door in doors):
            return text  # type: ignore[no-any-return]
        vectors = [text.new_zeros(0, self.shape.width) if door.vectors is None else door.vectors.to(text.device, text.dtype) for door in doors]
        counts = torch.tensor([len(v) for v in vectors])
        first = counts.cumsum(0) - counts
        adapter = torch.repeat_interleave(torch.arange(len(doors)), torch.from_numpy(packed.segments).diff())
        virtual = (ids < 0).nonzero()[:, 0]
        chosen = (first[adapter] - ids - 1).index_select(0, virtual)
        # Copied into the text's rows, not chosen from text and vectors together: a gradient cut out of all rows would keep them all alive.
        return text.index_copy(0, virtual.to(text.device), torch.cat(vectors).index_select(0, chosen.to(text.device)))  # type: ignore[no-any-return]

    def _open(self, stack: ExitStack, packed: Packed, doors: Sequence[Doors], narrowed: Collection[nn.Module]) -> None:
        """Hooks gates onto the layers and updates onto their modules, and puts changed weights in place, until the stack closes."""
        gates = _gates(packed, doors, self.device)
        if gates is not None:
            for layer, module in enumerate(decoder_layers(self.model)):
                # Before the hook that lets the tree take the mask's place (`attention.hand_on`).
                handle = module.register_forward_pre_hook(_gate_hook(gates, layer), prepend=True, with_kwargs=True)
                stack.callback(handle.remove)
        names = sorted({name for door in doors for name in door.updates})
        known = {name for name, _, _ in self.shape.linears}
        strange = [name for name in names if name not in known]
        if strange:
            raise UserError(
                "adapter", f"updates of {', '.join(strange[:3])}", "plain linear modules of the decoder layers", "Check its target modules."
            )
        segments = packed.segments
        for name in names:
            updates = tuple(door.updates.get(name) for door in doors)
            module = self.model.get_submodule(name)
            own = np.searchsorted(packed.predicting, segments) if module in narrowed else segments
            handle = module.register_forward_hook(adding(updates, own.tolist()))
            stack.callback(handle.remove)
        if any(door.shifts for door in doors):
            if len(doors) > 1:
                found = f"{len(doors)} adapters, one of which changes the weights themselves"
                raise UserError("a cohort", found, "that one alone", "Train it alone.")
            require_full_weights(self.model, "an adapter that changes the weights themselves")
            stack.enter_context(shifted(self.model, doors[0].shifts))

    @contextmanager
    def _narrowed(self, packed: Packed, doors: Sequence[Doors]) -> Iterator[Collection[nn.Module]]:
        """Has the last feed-forward network computed where logits are read, in one forward pass; gives its modules, which get so many rows.

        Not where layers are compiled or computed again in the backward pass, nor where experts are routed, whose balance counts every node.
        """
        layers = decoder_layers(self.model)
        routed = any(isinstance(update, Routed) for door in doors for update in door.updates.values())
        module = None if self.compiled or layers[-1].training or routed else feed_forward(layers)
        if module is None or len(packed.predicting) == packed.nodes:
            yield ()
            return
        with only_at(module, torch.from_numpy(packed.predicting), packed.nodes):
            yield tuple(module.modules())

    def _check_length(self, packed: Packed, slots: int) -> None:
        longest, why = longest_position(self.model.config)
        needed = int(packed.depth.max()) + 1 + slots
        if longest is not None and needed > longest:
            raise UserError(
                f"model {self.identity.id}",
                f"a sequence of {needed} tokens",
                f"at most {longest}: {why}",
                "Shorten the prompt or the virtual tokens.",
            )
        limit = node_limit(self.model.config)
        if limit is not None and packed.nodes > limit:
            raise UserError(
                f"model {self.identity.id}", f"a pack of {packed.nodes} nodes", f"at most {limit}: it derives positions from the index",
                "Lower `evaluation.nodes_per_pack` or `training.batch_size`.",
            )  # fmt: skip


def _prefix(doors: Sequence[Doors]) -> Prefix | None:
    """The cohort's prefixes side by side; all have one length, which the lockstep of a cohort guarantees."""
    keys, values = _stacked([door.keys for door in doors], "prefixes"), _stacked([door.values for door in doors], "prefixes")
    return None if keys is None or values is None else Prefix(keys, values)


def _additive(packed: Packed, doors: Sequence[Doors], device: torch.device) -> Additive | None:
    """The cohort's additive terms side by side."""
    maps = _stacked([door.additive for door in doors], "additive terms")
    return None if maps is None else Additive(maps.to(device), _sizes(packed))


def _gates(packed: Packed, doors: Sequence[Doors], device: torch.device) -> Gates | None:
    """The cohort's gates side by side."""
    weights, scales = _stacked([door.gates for door in doors], "gates"), _stacked([door.scales for door in doors], "gates")
    if weights is None or scales is None:
        return None
    if any(door.keys is None or door.keys.shape[1] != weights.shape[-1] for door in doors):
        raise ValueError("gates stand before prefix slots, one for each")
    return Gates(weights.to(device), scales.to(device), _sizes(packed))


def _sizes(packed: Packed) -> list[int]:
    """Nodes of each adapter."""
    return [after - before for before, after in pairwise(packed.segments.tolist())]


def _stacked(tensors: Sequence[Tensor | None], what: str) -> Tensor | None:
    """[L, R, ...] of [L, ...] per adapter; None where no adapter has one."""
    given = [tensor for tensor in tensors if tensor is not None]
    if not given:
        return None
    if len(given) != len(tensors) or len({tensor.shape for tensor in given}) != 1:
        raise ValueError(f"adapters of one cohort need {what} of one length")
    return torch.stack(given, 1)


def _gate_hook(gates: Gates, layer: int) -> Any:
    """A forward pre-hook of a decoder layer, by which that layer's own call carries its gates.

    They travel with the tree, among the call's arguments: gradient checkpointing computes them again from the same input.
    """

    def add(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden: Tensor | None = args[0] if args else kwargs.get("hidden_states")
        tree: Tree | None = kwargs.get(KEYWORD)
        if tree is None or hidden is None or hidden.shape != (1, sum(gates.sizes), gates.weights.shape[2]):
            raise UserError(
                f"layer {layer} of type {type(module).__name__}",
                "a call without the token tree or without one row per node",
                "both, from which gates are computed",
                "Use another method with this model.",
            )
        return args, {**kwargs, KEYWORD: replace(tree, gates=gates.open(layer, hidden[0]))}

    return add
