"""Contrastive prefixes (Qian et al. 2022, arXiv 2202.13257, section 3.1): one prefix per culture, trained together so that each is its own.

Door 2, slots as in prefix-tuning. The loss of a question of culture y with the answer x is w1 * L + w2 * L_d: L is the loss that every method has,
L_d = -log( p(y) p(x | H_y) / sum over y' of p(y') p(x | H_y') ), H_y being the prefix of culture y. So the right answer and its ending are also read
under every other culture's prefix, and must be less likely there. Cultures count the same, p(y) = 1/C, and cancel.

Trained values: C * P * 2LKD for C cultures.

We know of no public code. What we chose: x is the answer given the question, not the whole text (the question names its culture, and prefixes that
knew the question would tell cultures apart by its words); its likelihood is the product over its tokens, not scaled by their number; all prefixes
begin with the same values, and keys and values are trained directly, without a projection. w1 and w2 sum to 1. The paper's settings belong to other
tasks (sentiment, topic, toxicity), so there is no preset `paper`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from pydantic import Field
from torch import Tensor

from affinage.backbone import Backbone, Doors
from affinage.methods.base import Adapter, Contrast, Key, Method, Peft, exactly, normal, parameter, register
from affinage.methods.prefix_tuning import SoftPrefix
from affinage.methods.prefixes import PEFT_TYPE, prefix_from_peft, prefix_of_tokens, prefix_to_peft, refuse_uneven_heads, split_prefix, wide
from affinage.methods.spaces import RATE, Span
from affinage.methods.starts import Start
from affinage.methods.together import Shared, TogetherSettings, settled, some, taught
from affinage.records import BackboneShape

__all__ = ["ContrastivePrefix", "ContrastivePrefixSettings", "ContrastivePrefixes"]


@final
class ContrastivePrefixSettings(TogetherSettings):
    """Values of the contrastive prefixes."""

    length: int = Field(16, ge=1)
    """P, slots per layer."""
    start: Start = "vocabulary"
    """`random`: normal values; `vocabulary`, `text`: the model's own keys and values over sampled tokens or a text."""
    deviation: float = Field(1.0, gt=0)
    """Standard deviation of a random start."""
    text: str | None = None
    """Text of the start `text`."""
    against: float = Field(0.2, ge=0, le=1)
    """w2, weight of telling the cultures apart; w1 is what is left of 1."""


@final
class ContrastivePrefixes(Shared):
    """A prefix per culture.

    Args:
        flat: [C, P, 2LKD].
        settings: of the method.
        shape: of the backbone.
    """

    method = "contrastive-prefix"

    def __init__(self, flat: Tensor, settings: ContrastivePrefixSettings, shape: BackboneShape) -> None:
        super().__init__(shape, settings.cultures)
        self.flat = parameter(flat)
        self.against = settings.against

    def _own(self) -> Tensor:
        """[P, 2LKD] of the culture under which it is read."""
        return self.flat[self.cultures.index(self.culture)]

    def doors(self) -> Doors:
        """Slots in every layer."""
        keys, values = split_prefix(self._own(), self.shape)
        return Doors(keys=keys, values=values)

    def contrast(self) -> Contrast:
        """The answer under every other culture's prefix."""
        return Contrast(tuple(self.under(culture) for culture in self.cultures if culture != self.culture), 1 - self.against, self.against)

    def final_tensors(self) -> dict[str, Tensor]:
        """`prefix` [P, 2LKD] of the culture."""
        return {"prefix": self._own().detach()}


@final
class ContrastivePrefix(Method):
    """C * P * 2LKD trained values."""

    name = "contrastive-prefix"
    settings = ContrastivePrefixSettings
    peft_type = PEFT_TYPE
    presets: ClassVar = {
        # Found by the shipped search `blend-methods-search`: development side, SmolLM2, style text, loss choice, 24 steps, five trainings.
        "default": {"settings": {"length": 43, "start": "vocabulary", "against": 0.11}, "training": {"rate": 5.2e-3}},
    }
    space: ClassVar = {"training.rate": RATE, "settings.length": Span(4, 64, whole=True), "settings.against": Span(0.05, 0.8)}

    def settled(self, settings: ContrastivePrefixSettings, cultures: tuple[str, ...], culture: str | None) -> ContrastivePrefixSettings:
        """With the study's cultures."""
        return settled(self.name, settings, cultures, culture)

    def taught(self, settings: ContrastivePrefixSettings) -> tuple[str, ...]:
        """Every culture."""
        return taught(settings)

    def count(self, settings: ContrastivePrefixSettings, shape: BackboneShape) -> int:
        """C * P * 2LKD."""
        return len(some(self.name, settings.cultures)) * settings.length * wide(shape)

    def build(self, settings: ContrastivePrefixSettings, backbone: Backbone, key: Key) -> Adapter:
        """The same keys and values for every culture, from the start's stream."""
        shape = backbone.shape
        refuse_uneven_heads(self.name, shape)
        if settings.start == "random":
            flat = normal((settings.length, wide(shape)), "contrastive prefix", *key, deviation=settings.deviation)
        else:
            flat = prefix_of_tokens(settings.start, settings.text, settings.length, backbone, key)
        return ContrastivePrefixes(flat.expand(len(settings.cultures), -1, -1), settings, shape)

    def restore(self, settings: ContrastivePrefixSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """One culture's prefix, as prefix-tuning has it."""
        refuse_uneven_heads(self.name, shape)
        exactly(tensors, {"prefix": (settings.length, wide(shape))}, f"adapter of method {self.name}")
        return SoftPrefix(tensors["prefix"], shape)

    def to_peft(self, settings: ContrastivePrefixSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Peft:
        """PEFT's PREFIX_TUNING."""
        return prefix_to_peft(tensors["prefix"], shape)

    def from_peft(self, settings: ContrastivePrefixSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensor under our name."""
        return prefix_from_peft(tensors, settings.length, shape)


register(ContrastivePrefix())
