"""Prompt-tuning (Lester, Al-Rfou and Constant 2021, arXiv 2104.08691): P trained vectors before the input, [P; E(x)], section 2.

Door 1: the vectors are the root of the token tree and count in the depth. Trained values: P * H. They may stand behind the question instead, directly
before the answer: then the question's nodes do not depend on them, so that training need not compute gradients there, nor those nodes more than once
(`model.context`). That placement is ours: the paper has the root alone, and so has PEFT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from affinage.backbone import Backbone, Doors
from affinage.methods.base import Adapter, Key, Method, Peft, Settings, exactly, normal, parameter, register
from affinage.methods.spaces import SOFT
from affinage.methods.starts import Start, start_ids
from affinage.pack import Branch
from affinage.records import BackboneShape, UserError

__all__ = ["PromptTuning", "PromptTuningSettings", "SoftPrompt"]


@final
class PromptTuningSettings(Settings):
    """Values of prompt-tuning."""

    length: int = Field(16, ge=1)
    """P, number of virtual tokens."""
    start: Start = "vocabulary"
    """`random`: normal values; `vocabulary`: embeddings of sampled tokens; `text`: embeddings of a text's tokens."""
    deviation: float = Field(1.0, gt=0)
    """Standard deviation of a random start."""
    text: str | None = None
    """Text of the start `text`."""
    place: Literal["root", "before_answer"] = "root"
    """Where they stand: before everything, the chat header included, or between the context and the answer."""

    later = ("place",)


@final
class SoftPrompt(Adapter):
    """P vectors at the root, or before the answer.

    Args:
        vectors: [P, H].
        shape: of the backbone.
        after_context: whether they stand before the answer.
    """

    method = "prompt-tuning"

    def __init__(self, vectors: Tensor, shape: BackboneShape, *, after_context: bool = False) -> None:
        super().__init__(shape)
        self.vectors = parameter(vectors)
        self.after_context = after_context

    def doors(self) -> Doors:
        """The vectors."""
        return Doors(vectors=self.vectors)

    def place(self, branch: Branch) -> Branch:
        """Before everything else, the chat header included, or between context and answer."""
        length = len(self.vectors)
        virtual = tuple(range(-1, -length - 1, -1))
        if not self.after_context:
            return replace(branch, ids=virtual + branch.ids, first=branch.first + length)
        start = branch.first if branch.answer is None else branch.answer
        return replace(branch, ids=branch.ids[:start] + virtual + branch.ids[start:], first=branch.first + length, answer=start + length)

    def final_tensors(self) -> dict[str, Tensor]:
        """`vectors` [P, H]."""
        return {"vectors": self.vectors.detach()}


@final
class PromptTuning(Method):
    """P * H trained values."""

    name = "prompt-tuning"
    settings = PromptTuningSettings
    peft_type = "PROMPT_TUNING"
    presets: ClassVar = {
        # Found by the shipped searches `demo-search` and `blend-small-search`: development side, SmolLM2, style text, loss choice, 24 to 36 steps.
        "default": {"settings": {"length": 16, "start": "vocabulary"}, "training": {"rate": 1e-2}},
        "paper": {"settings": {"length": 16, "start": "random", "deviation": 1.0}, "training": {"rate": 1e-4}},
    }
    space: ClassVar = SOFT
    rows = "vectors"

    def after_context(self, settings: PromptTuningSettings) -> bool:
        """Where the vectors stand before the answer."""
        return settings.place == "before_answer"

    def count(self, settings: PromptTuningSettings, shape: BackboneShape) -> int:
        """P * H."""
        return settings.length * shape.width

    def build(self, settings: PromptTuningSettings, backbone: Backbone, key: Key) -> Adapter:
        """Vectors from the start's stream."""
        if settings.start == "random":
            vectors = normal((settings.length, backbone.shape.width), "soft prompt", *key, deviation=settings.deviation)
        else:
            vectors = backbone.embed(start_ids(settings.start, settings.text, settings.length, backbone, key))
        return SoftPrompt(vectors, backbone.shape, after_context=self.after_context(settings))

    def restore(self, settings: PromptTuningSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """From `vectors` [P, H]."""
        exactly(tensors, {"vectors": (settings.length, shape.width)}, "adapter of method prompt-tuning")
        return SoftPrompt(tensors["vectors"], shape, after_context=self.after_context(settings))

    def in_peft(self, settings: PromptTuningSettings) -> bool:
        """Only at the root."""
        return not self.after_context(settings)

    def to_peft(self, settings: PromptTuningSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Peft:
        """PEFT's PROMPT_TUNING: the same tensor under its name."""
        self._refuse_elsewhere(settings)
        config = {
            "peft_type": self.peft_type,
            "task_type": "CAUSAL_LM",
            "inference_mode": True,
            "num_virtual_tokens": settings.length,
            "token_dim": shape.width,
            "num_transformer_submodules": 1,
            "num_attention_heads": shape.kv_heads,
            "num_layers": shape.layers,
            "prompt_tuning_init": "RANDOM",
        }
        return Peft(config, {"prompt_embeddings": tensors["vectors"]})

    def from_peft(self, settings: PromptTuningSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensor under our name."""
        self._refuse_elsewhere(settings)
        exactly(tensors, {"prompt_embeddings": (settings.length, shape.width)}, "PEFT adapter of type PROMPT_TUNING")
        return {"vectors": tensors["prompt_embeddings"]}

    def _refuse_elsewhere(self, settings: PromptTuningSettings) -> None:
        if not self.in_peft(settings):
            raise UserError(
                f"method {self.name}: place",
                f"{settings.place!r}, which PEFT's format cannot hold",
                "virtual tokens at the root",
                "Use the adapter with Affinage itself.",
            )


register(PromptTuning())
