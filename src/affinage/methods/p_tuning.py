"""P-tuning (Liu et al. 2021, arXiv 2103.10385): virtual tokens at chosen places of the sequence, made by an encoder, section 3.2.

Door 1: the vectors stand at nodes of the token tree and count in the depth. The pattern has four places: the root (before everything, the chat
header included), before the question, before the listed options and before the answer. At each it is a sequence of numbers, so many virtual tokens,
and of words, which stand there as they are: the paper's anchor tokens. An anchor is the model's own embedding of the word's tokens and is not
trained. A place inside the text is before the token that holds the question's, or the options', first character: the text keeps its tokens.

All P virtual tokens pass through the encoder as one sequence, in the pattern's order and without the anchors, h_i = MLP([LSTM(h_0:i) : LSTM(h_i:P)]).
The sizes are those of the code for knowledge probing: an embedding [P, H], a bidirectional LSTM of two layers with H/2 each way, then
Linear-ReLU-Linear of width H (the code for few examples has an LSTM of H each way). The encoder `mlp` is the other one of the few-example code,
Linear-ReLU-Linear alone; PEFT's has a layer more. The encoder is dropped after training: what is handed on are the vectors, anchors included.

Trained values: with the LSTM 14 H^2 + 18 H + P*H, of which 12 H^2 + 16 H are the LSTM's; with the MLP 2 H^2 + 2 H + P*H. The paper's code trained the
model as well in its experiments with few examples; here it stays frozen. Its rate decays by 0.98 per epoch; the preset `paper` keeps it constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors
from affinage.methods.base import Adapter, Key, Method, Peft, Settings, exactly, normal, parameter, register
from affinage.methods.pattern import PLACES, Layout, Part, Pattern, expected_shapes, layout_of, placed, virtual_tokens
from affinage.methods.spaces import Choice, Span
from affinage.pack import Branch
from affinage.records import BackboneShape, UserError
from affinage.seeds import generator

__all__ = ["EncodedPrompt", "PTuning", "PTuningSettings", "PlacedPrompt"]


@final
class PTuningSettings(Settings):
    """Values of P-tuning."""

    root: tuple[Part, ...] = (16,)
    """What stands before everything: numbers of virtual tokens and words, e.g. `[4, "Culture:", 4]`."""
    before_question: tuple[Part, ...] = ()
    """What stands before the question, behind the chat header, examples and facts, in the same form."""
    before_options: tuple[Part, ...] = ()
    """What stands before the listed options, in the same form; not with the prompt style `text`, which lists none."""
    before_answer: tuple[Part, ...] = ()
    """What stands between the context and the answer, in the same form."""
    encoder: Literal["lstm", "mlp"] = "lstm"
    """What makes the vectors: a bidirectional LSTM and a perceptron, or the perceptron alone."""
    deviation: float = Field(1.0, gt=0)
    """Standard deviation of the embedding's random start."""

    later = ("before_question", "before_options")

    @model_validator(mode="after")
    def _some_are_virtual(self) -> Self:
        if not self.virtual:
            raise ValueError(f"{', '.join(PLACES[:-1])} and {PLACES[-1]} hold no number: there is no virtual token to train")
        return self

    @property
    def virtual(self) -> int:
        """P, virtual tokens of all places."""
        return virtual_tokens(self.pattern)

    @property
    def pattern(self) -> Pattern:
        """What stands at each place."""
        return {place: getattr(self, place) for place in PLACES}

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Places other than the root where something stands."""
        return tuple(place for place in PLACES[1:] if self.pattern[place])


@final
class EncodedPrompt(Adapter):
    """Vectors that an encoder makes from an embedding, and the anchors between them.

    Args:
        embedding: [P, H].
        lstm: the recurrent part of the encoder, if it has one.
        perceptron: weight and bias of its two layers, each [H, H + 1].
        layout: which vector stands where.
        shape: of the backbone.
    """

    method = "p-tuning"
    anchors: Tensor
    order: Tensor

    def __init__(self, embedding: Tensor, lstm: nn.LSTM | None, perceptron: tuple[Tensor, Tensor], layout: Layout, shape: BackboneShape) -> None:
        super().__init__(shape)
        self.embedding = parameter(embedding)
        self.lstm = lstm
        inner, outer = perceptron
        self.inner_weight, self.inner_bias = parameter(inner[:, :-1]), parameter(inner[:, -1])
        self.outer_weight, self.outer_bias = parameter(outer[:, :-1]), parameter(outer[:, -1])
        self.register_buffer("anchors", layout.anchors, persistent=False)
        self.register_buffer("order", torch.tensor(layout.order), persistent=False)
        self.counts = layout.counts
        self.after_context = not any(layout.counts[:-1])

    def vectors(self) -> Tensor:
        """All placed vectors, anchors among them, in the order in which they stand."""
        encoded = self.embedding if self.lstm is None else self.lstm(self.embedding[None])[0][0]
        hidden = nn.functional.linear(encoded, self.inner_weight, self.inner_bias).relu()
        virtual = nn.functional.linear(hidden, self.outer_weight, self.outer_bias)
        return torch.cat([virtual, self.anchors]).index_select(0, self.order)

    def doors(self) -> Doors:
        """The vectors."""
        return Doors(vectors=self.vectors())

    def place(self, branch: Branch) -> Branch:
        """Each at its place."""
        return placed(branch, self.counts)

    def final_tensors(self) -> dict[str, Tensor]:
        """By place, each [placed there, H], without a place where nothing stands; the encoder has done its work."""
        with torch.no_grad():
            split = torch.split(self.vectors(), list(self.counts))
        return {place: own.clone() for place, own in zip(PLACES, split, strict=True) if len(own)}


@final
class PlacedPrompt(Adapter):
    """Vectors without the encoder that made them.

    Args:
        by_place: [vectors there, H]; none where nothing stands.
        shape: of the backbone.
    """

    method = "p-tuning"

    def __init__(self, by_place: Mapping[str, Tensor], shape: BackboneShape) -> None:
        super().__init__(shape)
        self.vectors = parameter(torch.cat([by_place[place] for place in PLACES if place in by_place]))
        self.counts = tuple(len(by_place[place]) if place in by_place else 0 for place in PLACES)
        self.after_context = not any(self.counts[:-1])

    def doors(self) -> Doors:
        """The vectors."""
        return Doors(vectors=self.vectors)

    def place(self, branch: Branch) -> Branch:
        """Each at its place."""
        return placed(branch, self.counts)

    def final_tensors(self) -> dict[str, Tensor]:
        """As they were handed on."""
        split = torch.split(self.vectors.detach(), list(self.counts))
        return {place: own for place, own in zip(PLACES, split, strict=True) if len(own)}


@final
class PTuning(Method):
    """14 H^2 + 18 H + P*H trained values with the LSTM, 2 H^2 + 2 H + P*H without."""

    name = "p-tuning"
    settings = PTuningSettings
    peft_type = "P_TUNING"
    presets: ClassVar = {
        # Found by the shipped search `blend-methods-search`: development side, SmolLM2, style text, loss choice, 24 steps, five trainings.
        "default": {"settings": {"root": (8,), "encoder": "mlp"}, "training": {"rate": 2e-3}},
        # Knowledge probing with a decoder: three before the subject, three between it and the answer.
        "paper": {"settings": {"root": (3,), "before_answer": (3,)}, "training": {"rate": 1e-5, "schedule": "constant"}},
    }
    space: ClassVar = {
        "training.rate": Span(1e-5, 1e-2),  # of the encoder's weights
        "settings.root": Choice(((4,), (8,), (16,), (32,), (64,))),
        "settings.encoder": Choice(("lstm", "mlp")),
    }

    def after_context(self, settings: PTuningSettings) -> bool:
        """Where everything stands before the answer."""
        return settings.elsewhere == ("before_answer",) and not settings.root

    def count(self, settings: PTuningSettings, shape: BackboneShape) -> int:
        """See the module's docstring."""
        width = shape.width
        recurrent = 12 * width**2 + 16 * width if settings.encoder == "lstm" else 0
        return recurrent + 2 * width**2 + 2 * width + settings.virtual * width

    def build(self, settings: PTuningSettings, backbone: Backbone, key: Key) -> Adapter:
        """Embedding normal, encoder uniform in +-1/sqrt(width) as torch starts it, each tensor from its own stream."""
        width = backbone.shape.width
        return EncodedPrompt(
            normal((settings.virtual, width), "p-tuning embedding", *key, deviation=settings.deviation),
            _lstm(width, *key) if settings.encoder == "lstm" else None,
            (_uniform((width, width + 1), width, "p-tuning inner", *key), _uniform((width, width + 1), width, "p-tuning outer", *key)),
            layout_of(settings.pattern, backbone),
            backbone.shape,
        )

    def restore(self, settings: PTuningSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """From the tensors by place; without the encoder."""
        exactly(tensors, expected_shapes(settings.pattern, shape, tensors), f"adapter of method {self.name}")
        return PlacedPrompt(tensors, shape)

    def in_peft(self, settings: PTuningSettings) -> bool:
        """Only where every vector stands at the root."""
        return not settings.elsewhere

    def to_peft(self, settings: PTuningSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Peft:
        """PEFT's P_TUNING, whose encoder is not used at inference: the vectors stand in the place of its embedding."""
        self._refuse_elsewhere(settings)
        config = {
            "peft_type": self.peft_type,
            "task_type": "CAUSAL_LM",
            "inference_mode": True,
            "num_virtual_tokens": len(tensors["root"]),
            "token_dim": shape.width,
            "num_transformer_submodules": 1,
            "num_attention_heads": shape.kv_heads,
            "num_layers": shape.layers,
            "encoder_reparameterization_type": "MLP",
            "encoder_hidden_size": shape.width,
        }
        return Peft(config, {"prompt_embeddings": tensors["root"]})

    def from_peft(self, settings: PTuningSettings, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensor under our name."""
        self._refuse_elsewhere(settings)
        rows = {"root": tensors["prompt_embeddings"]} if "prompt_embeddings" in tensors else {}
        exactly(tensors, {"prompt_embeddings": expected_shapes(settings.pattern, shape, rows)["root"]}, "PEFT adapter of type P_TUNING")
        return rows

    def _refuse_elsewhere(self, settings: PTuningSettings) -> None:
        if not self.in_peft(settings):
            raise UserError(
                f"method {self.name}: {settings.elsewhere[0]}",
                f"{list(settings.pattern[settings.elsewhere[0]])}, which PEFT's format cannot hold",
                "virtual tokens at the root alone",
                "Use the adapter with Affinage itself.",
            )


def _uniform(size: tuple[int, ...], inputs: int, *key: str | int | float) -> Tensor:
    """A tensor uniform in +-1/sqrt(inputs), from a named stream."""
    return torch.from_numpy(generator(*key).uniform(-(inputs**-0.5), inputs**-0.5, size)).float()


def _lstm(width: int, *key: str | int | float) -> nn.LSTM:
    """Two layers, H/2 each way."""
    with torch.device("meta"):  # without values: torch's own start would draw from the global stream
        lstm = nn.LSTM(width, width // 2, num_layers=2, bidirectional=True, batch_first=True)
    lstm.to_empty(device="cpu")
    with torch.no_grad():
        for name, value in lstm.named_parameters():
            value.copy_(_uniform(tuple(value.shape), width // 2, "p-tuning lstm", name, *key))
    return lstm


register(PTuning())
