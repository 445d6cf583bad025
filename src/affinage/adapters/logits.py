"""The same sequences read in several ways, and how far the logits may be apart: the equality that exports and the doctor rest on.

Letters: B sequences, V vocabulary, T predicted tokens of a sequence.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors
from affinage.backbone.probe import LOADED, SPREAD, TOLERANCE
from affinage.methods import Adapter
from affinage.pack import Branch, pack
from affinage.seeds import generator

__all__ = [
    "ATTENTIONS",
    "OF_ALL",
    "Comparison",
    "apart",
    "flipped",
    "has_peft",
    "norm_apart",
    "own_attention",
    "read",
    "read_embeddings",
    "read_peft",
    "sequences",
]

OF_ALL = "of the norm of all logits"

ATTENTIONS = ("eager", "sdpa")
"""transformers' own attention functions, of which the distance in a narrow type is a measure of rounding."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far apart two ways of computing the same logits are."""

    distance: float
    """As a share; infinite where either is not finite."""
    allowed: float
    """Largest distance that counts as rounding."""
    share: str = "of the largest logit"
    """Of what: float32 is judged by its largest difference, a narrower type by the norm of all, since there any one logit may be far off."""

    @property
    def equal(self) -> bool:
        """Whether the two are the same but for rounding."""
        return self.distance <= self.allowed

    def __str__(self) -> str:
        return f"{self.distance:.1e} {self.share} apart, {self.allowed:.1g} allowed"


def sequences(vocabulary: int, count: int = 4) -> list[Branch]:
    """Random sequences of different lengths that share a beginning, the last three ids of each predicted; a question and options are marked in it.

    Args:
        vocabulary: V.
        count: B.
    """
    rng = generator("same logits")
    trunk = rng.integers(vocabulary, size=9).tolist()
    drawn = [rng.integers(vocabulary, size=4 + b).tolist() for b in range(count)]
    return [Branch((*trunk, *ids), 6 + len(ids), question=2, options=5) for ids in drawn]


def read(backbone: Backbone, branches: Sequence[Branch], adapters: Sequence[Adapter | None] = (None,)) -> list[Tensor]:
    """Per sequence the logits [T, V] that predict its last ids, float32, all of them computed in one pass over the token tree.

    Args:
        backbone: the frozen model.
        branches: the sequences, each with the number of its adapter.
        adapters: of the cohort; None for the untouched model.
    """
    placed = []
    for branch in branches:
        own = adapters[branch.adapter]
        placed.append(branch if own is None else own.place(branch))
    packed = pack(placed, len(adapters))
    doors = [Doors() if adapter is None else adapter.doors() for adapter in adapters]
    with backbone.logits(packed, doors) as logits:
        rows = [torch.from_numpy(packed.target_row[packed.target_branch == b]).to(logits.device) for b in range(len(branches))]
        return [logits.index_select(0, own).float() for own in rows]


@contextmanager
def own_attention(backbone: Backbone, name: str) -> Iterator[Any]:
    """The backbone's model with one of transformers' own attention functions in the place of the token tree's."""
    backbone.model.set_attn_implementation(name)
    try:
        yield backbone.model
    finally:
        backbone.model.set_attn_implementation("affinage")


def has_peft() -> bool:
    """Whether PEFT is installed here."""
    return importlib.util.find_spec("peft") is not None


def read_peft(backbone: Backbone, folder: Path, branches: Sequence[Branch], attention: str) -> list[Tensor]:
    """As `read`, by PEFT over the model's own attention: one sequence after the other, without padding.

    Args:
        backbone: the frozen model; PEFT's modules are taken out of it again.
        folder: a PEFT folder.
        branches: the sequences.
        attention: the model's own attention function.
    """
    import peft  # noqa: PLC0415  (an optional dependency)

    with warnings.catch_warnings(), own_attention(backbone, attention) as model, torch.no_grad():
        warnings.simplefilter("ignore")  # PEFT asks transformers by names of its last release
        try:
            wrapped = peft.PeftModel.from_pretrained(model, folder).eval()
            return [_last(wrapped(input_ids=_ids(backbone, branch)).logits, branch) for branch in branches]
        finally:
            _without_peft(model)


def _without_peft(model: nn.Module) -> None:
    """Takes PEFT's modules out of a model, also those that it left there when it failed in the middle: then there is no model of PEFT's to ask."""
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415  (an optional dependency)

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            model.set_submodule(name, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


def read_embeddings(backbone: Backbone, vectors: Tensor, branches: Sequence[Branch], attention: str) -> list[Tensor]:
    """As `read`, from embeddings that are put before each sequence's own, as a server that takes prompt embeddings does it.

    Args:
        backbone: the frozen model.
        vectors: [P, H].
        branches: the sequences.
        attention: the model's own attention function.
    """
    rows = []
    with own_attention(backbone, attention) as model, torch.no_grad():
        for branch in branches:
            text = model.get_input_embeddings()(_ids(backbone, branch))
            rows.append(_last(model(inputs_embeds=torch.cat([vectors.to(text)[None], text], dim=1)).logits, branch))
    return rows


def _ids(backbone: Backbone, branch: Branch) -> Tensor:
    return torch.tensor([branch.ids[:-1]], device=backbone.device)


def _last(logits: Tensor, branch: Branch) -> Tensor:
    """The rows that predict a sequence's last ids; virtual tokens lengthen it, so they are counted from the end."""
    return logits[0, branch.first - len(branch.ids) :].float()


def apart(ours: Sequence[Tensor], theirs: Sequence[Sequence[Tensor]], dtype: torch.dtype) -> Comparison:
    """How far our logits are from others, and how far they may be.

    float32 through all layers of a real model is held to 1e-4 of the largest logit. In a narrower type the others are given once per attention
    function of the model: the distance to the nearest of them may be 1.2 times what they are from each other, or what the type rounds.

    Args:
        ours: per sequence [T, V].
        theirs: one or several readings of the same sequences.
        dtype: in which the model computed.
    """
    if dtype == torch.float32:
        largest = max(float(logits.abs().max()) for logits in theirs[0])
        return Comparison(_finite(min(_farthest(ours, other) for other in theirs) / largest), LOADED)
    spread = max((norm_apart(theirs[0], other) for other in theirs[1:]), default=0.0)
    nearest = min(norm_apart(ours, other) for other in theirs)
    return Comparison(nearest, max(TOLERANCE[dtype], SPREAD * spread), OF_ALL)


def norm_apart(one: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Norm of the difference of all logits, as a share of the reference's norm."""
    ours, theirs = torch.cat(list(one)), torch.cat(list(reference))
    return _finite(float((ours - theirs).norm() / theirs.norm()))


def _finite(value: float) -> float:
    """NaN is as far apart as can be, and every comparison with it must say so."""
    return value if math.isfinite(value) else math.inf


def flipped(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Share of the predicted tokens of which the most probable one differs."""
    differ = torch.cat([a.argmax(-1) != b.argmax(-1) for a, b in zip(one, other, strict=True)])
    return float(differ.float().mean())


def _farthest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Largest difference between two readings; NaN where either has one."""
    return float(torch.stack([(a - b).abs().max() for a, b in zip(one, other, strict=True)]).max())
