"""What a study needs of the model's side, as values: planning and executing know nothing of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from affinage.config import MethodConfig, ModelConfig, TrainingConfig
from affinage.records import BackboneShape, Encoded, ItemScore
from affinage.study import costs

if TYPE_CHECKING:
    from affinage.adapters import AdapterCard
    from affinage.backbone import Backbone, Identity
    from affinage.encode import Tokens
    from affinage.methods import Adapter, ResolvedMethod

__all__ = ["Engine", "engine"]


@dataclass(frozen=True, slots=True)
class Engine:
    """The functions that compute; the real ones come from `engine`."""

    describe: Callable[[ModelConfig], tuple[BackboneShape, Identity]]
    """Shape and identity of a backbone, without its weights."""
    tokens: Callable[[ModelConfig], Tokens]
    """The backbone's tokenizer, without its weights."""
    resolve: Callable[[MethodConfig, TrainingConfig], ResolvedMethod]
    """A method's settings and training, presets and defaults filled in."""
    load: Callable[[ModelConfig], Backbone]
    """The backbone, with weights and tokenizer."""
    member: Callable[..., Any]
    """`affinage.train.Member`."""
    train: Callable[..., None]
    """`affinage.train.train_cohort`."""
    save: Callable[..., None]
    """`affinage.adapters.save`."""
    restore: Callable[..., Adapter]
    """`affinage.adapters.load`."""
    card: Callable[..., AdapterCard]
    """`affinage.adapters.AdapterCard`."""
    evaluate: Callable[..., list[ItemScore]]
    """`affinage.evaluate.evaluate`."""
    total_steps: Callable[[TrainingConfig, int], int]
    """`affinage.train.total_steps`."""
    adapter_of: Callable[[ResolvedMethod, BackboneShape], costs.Adapter]
    """`affinage.study.costs.sample.adapter_of`."""
    first_batches: Callable[..., list[list[Encoded]]]
    """`affinage.study.costs.sample.first_batches`."""
    training_step: Callable[..., costs.Step]
    """`affinage.study.costs.sample.training_step`."""
    reading_step: Callable[..., costs.Step]
    """`affinage.study.costs.sample.reading_step`."""
    testing_step: Callable[..., costs.Step]
    """`affinage.study.costs.sample.testing_step`."""
    measure: Callable[[BackboneShape, ModelConfig], costs.Rates]
    """`affinage.study.costs.measure.measure`."""
    free_memory: Callable[[ModelConfig], tuple[str, int]]
    """Of the devices that the model computes on: `affinage.backbone.free_memory`."""
    device_name: Callable[[str], str]
    """`affinage.backbone.device_name`."""


def engine() -> Engine:
    """The functions of this package. Imports torch, hence is called when something is about to be computed."""
    from affinage import adapters, backbone, evaluate, methods, train  # noqa: PLC0415
    from affinage.study.costs import measure, sample  # noqa: PLC0415

    return Engine(
        describe=backbone.describe,
        tokens=backbone.tokens,
        resolve=methods.resolve,
        load=backbone.load,
        member=train.Member,
        train=train.train_cohort,
        save=adapters.save,
        restore=adapters.load,
        card=adapters.AdapterCard,
        evaluate=evaluate.evaluate,
        total_steps=train.total_steps,
        adapter_of=sample.adapter_of,
        first_batches=sample.first_batches,
        training_step=sample.training_step,
        reading_step=sample.reading_step,
        testing_step=sample.testing_step,
        measure=measure.measure,
        free_memory=lambda model: backbone.free_memory(model.device, spread=model.device_map is not None),
        device_name=backbone.device_name,
    )
