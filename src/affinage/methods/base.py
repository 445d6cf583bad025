"""What a method is: a closed form for its size, a start, and an adapter that enters the model through the doors.

A new method is one new file in this folder: a final subclass of `Adapter`, a final subclass of `Method`, and `register(...)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors
from affinage.config import MethodConfig, TrainingConfig, validated
from affinage.methods.spaces import RATE, Space, check_space
from affinage.pack import Branch
from affinage.records import BackboneShape, UserError
from affinage.registry import Registry, suggest
from affinage.seeds import generator, seed_of

__all__ = [
    "Adapter",
    "Contrast",
    "Key",
    "Method",
    "Peft",
    "ResolvedMethod",
    "Settings",
    "exactly",
    "linear",
    "normal",
    "parameter",
    "register",
    "registry",
    "resolve",
]

Key = tuple[str | int | float, ...]
"""Names the random stream of a start: method, split, start index, seed; never the culture."""


class Settings(BaseModel):
    """A method's own values; docstrings under fields are their help."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    later: ClassVar[tuple[str, ...]] = ()
    """Values that came after the method was in use. At their defaults they are not written down: a run is named by a digest of its settings, and
    those that were begun before keep their names."""

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain = {name for name in self.later if getattr(self, name) == type(self).model_fields[name].default}
        values: dict[str, Any] = write(self)
        return {name: value for name, value in values.items() if name not in plain}


class Adapter(nn.Module, ABC):
    """Trained tensors and how they enter the model. Every parameter is trained; nothing else of the adapter changes.

    Args:
        shape: of the backbone that it belongs to.
    """

    method: ClassVar[str]
    """The name of its method."""

    def __init__(self, shape: BackboneShape) -> None:
        super().__init__()
        self.shape = shape

    origin: str = "a fresh start"
    """Where it was read from, for messages."""

    draw: Key | None = None
    """Names the random stream of one training step, set by training for that step alone: what is drawn is a function of (seed, step)."""

    seen: frozenset[str] = frozenset()
    """Template ids that it was trained or chosen on; it is never tested on them."""

    after_context: bool = False
    """Whether everything that it brings are virtual tokens behind a question's context, so that nothing trained changes what the context's nodes
    compute (`Method.after_context`)."""

    cultures: tuple[str, ...] = ()
    """Cultures that it serves, each with a part of its own (`under`); empty where it does not ask whose question it reads."""

    def under(self, culture: str) -> Adapter:
        """What it is for questions of a culture: itself, unless it serves several."""
        return self

    def contrast(self) -> Contrast | None:
        """Further sequences of its questions that its loss reads; by default none."""
        return None

    @abstractmethod
    def doors(self) -> Doors:
        """What it puts into the model in one pass; made anew in each, so that gradients reach the parameters."""

    def place(self, branch: Branch) -> Branch:
        """A sequence with the adapter's virtual tokens in it; by default none."""
        return branch

    @abstractmethod
    def final_tensors(self) -> dict[str, Tensor]:
        """What is handed on when training is over, by name, float32; what only training needed (a projection) is left out."""

    def parameter_count(self) -> int:
        """Number of trained values."""
        return sum(p.numel() for p in self.parameters())


@dataclass(frozen=True, slots=True)
class Contrast:
    """The right answer of a question read under other adapters too: it shall tell from whose culture it is (`scoring.contrast_loss`)."""

    others: tuple[Adapter, ...]
    """Under whom."""
    answer: float
    """Weight of the loss that every method has."""
    against: float
    """Weight of minus the log-probability that the answer is read under its own adapter, not under one of the others."""


@dataclass(frozen=True, slots=True)
class Peft:
    """An adapter in PEFT's format."""

    config: Mapping[str, Any]
    """The content of adapter_config.json, without the base model's name."""
    tensors: Mapping[str, Tensor]
    """The content of adapter_model.safetensors."""


class Method(ABC):
    """One way of adapting a frozen model."""

    name: ClassVar[str]
    settings: ClassVar[type[Settings]]
    peft_type: ClassVar[str | None] = None
    """PEFT's name of the method; None where PEFT cannot hold it."""
    alone: ClassVar[bool] = False
    """Whether its adapters share no pass with others, so that they are trained one by one."""
    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]]
    """Preset -> {"settings": ..., "training": ...}; each has `default`."""
    space: ClassVar[Space] = {"training.rate": RATE}
    """What a search (`affinage tune`) may change, and between which values."""
    rows: ClassVar[str | None] = None
    """The final tensor whose rows are virtual tokens, where it is the only one; prompts of such methods can be put one after the other."""

    def settled(self, settings: Any, cultures: tuple[str, ...], culture: str | None) -> Any:
        """The settings of one run of a study, with what depends on the study filled in; by default as they are.

        Args:
            settings: of this method's settings type.
            cultures: studied ones, in the study's order.
            culture: the run's; None for the untrained start.

        Raises:
            UserError: settings that do not fit the study.
        """
        return settings

    def taught(self, settings: Any) -> tuple[str, ...]:
        """Cultures whose training questions one run learns from together; empty for a method that learns from the run's own culture."""
        return ()

    def after_context(self, settings: Any) -> bool:
        """`Adapter.after_context` of its adapters."""
        return False

    @abstractmethod
    def count(self, settings: Any, shape: BackboneShape) -> int:
        """Trained values, in closed form."""

    @abstractmethod
    def build(self, settings: Any, backbone: Backbone, key: Key) -> Adapter:
        """An adapter at its start.

        Args:
            settings: of this method's settings type.
            backbone: gives the shape, and embeddings or keys and values of texts to starts that want them.
            key: of the random stream.
        """

    @abstractmethod
    def restore(self, settings: Any, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Adapter:
        """The adapter with these final tensors.

        Raises:
            UserError: tensors are missing, superfluous, or of another shape.
        """

    def in_peft(self, settings: Any) -> bool:
        """Whether PEFT's format can hold an adapter with these settings."""
        return self.peft_type is not None

    def to_peft(self, settings: Any, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> Peft:
        """The final tensors in PEFT's format.

        Raises:
            UserError: PEFT cannot hold the method.
        """
        raise _no_peft(self.name)

    def from_peft(self, settings: Any, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The final tensors out of PEFT's format.

        Raises:
            UserError: PEFT cannot hold the method, or the tensors do not fit.
        """
        raise _no_peft(self.name)


def _no_peft(name: str) -> UserError:
    return UserError(f"method {name}", "a method that PEFT's format cannot hold", "one that it can", "Use it with Affinage itself.")


registry: Registry[Method] = Registry("method")
"""Every method by name; `none`, the untouched model, is no adapter and stands beside it."""


def register(method: Method) -> Method:
    """Makes a method known under its name."""
    check_space(method.space, method.settings, f"search space of {method.name}")
    return registry.add(method.name, method)


@final
@dataclass(frozen=True, slots=True)
class ResolvedMethod:
    """A method of a study with every value filled in."""

    label: str
    name: str
    settings: Settings
    training: TrainingConfig

    @property
    def alone(self) -> bool:
        """`Method.alone`."""
        return registry.get(self.name).alone

    @property
    def taught(self) -> tuple[str, ...]:
        """`Method.taught`."""
        return registry.get(self.name).taught(self.settings)

    @property
    def after_context(self) -> bool:
        """`Method.after_context`."""
        return registry.get(self.name).after_context(self.settings)

    def settled(self, cultures: tuple[str, ...], culture: str | None) -> ResolvedMethod:
        """As one run of a study has it (`Method.settled`)."""
        return replace(self, settings=registry.get(self.name).settled(self.settings, cultures, culture))

    def build(self, backbone: Backbone, key: Key) -> Adapter:
        """An adapter at its start (`Method.build`), where the backbone is."""
        return registry.get(self.name).build(self.settings, backbone, key).to(backbone.device)


def resolve(config: MethodConfig, training: TrainingConfig) -> ResolvedMethod:
    """Fills in a method's values: its preset, then the study's training values that were written down, then the method's own.

    Raises:
        UserError: unknown method, preset or setting; faults are reported together.
    """
    where = f"methods.{config.label or config.name}"
    method = registry.get(config.name)
    if config.preset not in method.presets:
        raise UserError(f"{where}.preset", repr(config.preset), "a known preset", suggest(config.preset, method.presets))
    preset = method.presets[config.preset]
    written = {name: getattr(training, name) for name in training.model_fields_set}
    values = {**preset.get("training", {}), **written, **config.training}
    settings = validated(method.settings, {**preset.get("settings", {}), **config.settings}, f"{where}.settings")
    return ResolvedMethod(config.label or config.name, config.name, settings, validated(TrainingConfig, values, f"{where}.training"))


def normal(shape: Sequence[int], *key: str | int | float, deviation: float = 1.0) -> Tensor:
    """A float32 tensor of independent normal values with mean 0, from the stream `key`, the same on every device."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed_of(*key))) * deviation


def linear(outputs: int, inputs: int, *key: str | int | float) -> Tensor:
    """[outputs, inputs + 1]: weight and bias uniform in +-1/sqrt(inputs), torch's own start of a linear layer, from a named stream."""
    return torch.from_numpy(generator(*key).uniform(-(inputs**-0.5), inputs**-0.5, (outputs, inputs + 1))).float()


def parameter(value: Tensor) -> nn.Parameter:
    """A trained tensor: float32, its own memory."""
    return nn.Parameter(value.detach().clone().float().contiguous())


def exactly(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuses tensors other than those expected.

    Raises:
        UserError: naming each that is missing, superfluous or of another shape.
    """
    faults = [f"no {name}" for name in expected if name not in tensors]
    faults += [f"an unknown {name}" for name in tensors if name not in expected]
    faults += [f"{name} of shape {list(tensors[name].shape)}" for name, size in expected.items() if name in tensors and tensors[name].shape != size]
    if faults:
        shapes = ", ".join(f"{name} {list(size)}" for name, size in list(expected.items())[:4])
        raise UserError(where, "; ".join(faults[:4]), f"{shapes}{', ...' if len(expected) > 4 else ''}", "Is this adapter made for this model?")
