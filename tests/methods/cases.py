"""Every registered method with the settings under which the contract is tested: a new method is tested with its defaults until it gets a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from affinage.backbone import Backbone, Doors
from affinage.methods import Adapter, Key, registry
from affinage.methods.base import normal
from affinage.pack import Branch, Packed, pack
from affinage.seeds import generator

PLACES = ("Atlantis", "Lemuria")
"""Cultures of the methods that one run trains for several."""

SETTINGS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "prompt-tuning": (
        {"length": 8, "start": "random"},
        {"length": 5, "start": "vocabulary"},
        {"length": 4, "start": "text", "text": "What do people like?"},
        {"length": 3, "start": "vocabulary", "place": "before_answer"},
    ),
    "prefix-tuning": (
        {"length": 8, "start": "random"},
        {"length": 5, "start": "vocabulary"},
        {"length": 3, "start": "random", "projection": 32},
        {"length": 3, "start": "text", "text": "What do people like?", "projection": 32},
    ),
    "p-tuning": (
        {"root": (5,), "encoder": "lstm"},
        {"root": (2, "People like:", 3), "encoder": "mlp"},
        {"root": (2,), "before_answer": ("Answer:", 3), "encoder": "lstm"},
        {"root": (), "before_question": (1, "People:"), "before_options": (2,), "before_answer": (1,), "encoder": "mlp"},
    ),
    "p-tuning-v2": (
        {"length": 6, "start": "random", "dropout": 0.1},
        {"length": 4, "start": "text", "text": "What do people like?"},
    ),
    "prefix-tuning-plus": ({},),
    "adaptive-prefix": (
        {"length": 6, "start": "random"},
        {"length": 4, "start": "vocabulary"},
    ),
    "lora": (
        {"rank": 4},
        {"rank": 3, "alpha": 5.0, "rank_stabilised": True},
        {"rank": 2, "targets": ("q_proj", "down_proj")},
        {"rank": 2, "targets": ("self_attn.k_proj", "model.layers.1.mlp.up_proj")},
    ),
    "lora-mixture": (
        {"cultures": PLACES, "rank": 4, "experts": 3, "hidden": 16, "code": 8, "balance": 0.0, "targets": ("q_proj", "v_proj", "down_proj")},
        {"cultures": PLACES, "rank": 4, "experts": 4, "hidden": 16, "gate": "twice", "shared_a": True, "source": "code", "targets": ("mlp.up_proj",)},
    ),
    "lora-hyper": (
        {"cultures": PLACES, "rank": 4, "code": 8, "place": 4, "hidden": 16},
        {"cultures": PLACES, "rank": 3, "source": "code", "code": 6, "rank_stabilised": True, "targets": ("q_proj", "down_proj")},
    ),
    "contrastive-prefix": (
        {"cultures": PLACES, "length": 8, "start": "random"},
        {"cultures": PLACES, "length": 4, "start": "vocabulary", "against": 0.5},
    ),
}

RATES = {"prompt-tuning": 5e-2, "prefix-tuning": 5e-2, "p-tuning-v2": 5e-2, "adaptive-prefix": 5e-2, "contrastive-prefix": 5e-2}
"""Learning rates at which the tiny model learns quickly."""

RATE = 5e-3
"""The rate of a method that has no row."""

FIXED = {"prefix-tuning-plus", "full"}
"""Methods that start from zero, whatever the key."""

HANDED_ON = {"lora-hyper": "lora", "contrastive-prefix": "prefix-tuning"}
"""As which method a culture's part goes on, where that is another."""

UNTRAINED = {"none"}
"""Methods without trained values: most of the contract is about those."""

Case = tuple[str, Mapping[str, Any]]

CASES: list[Case] = [(name, settings) for name in registry if name not in UNTRAINED for settings in SETTINGS.get(name, ({},))]

BESIDE_OTHERS = [case for case in CASES if not registry.get(case[0]).alone]
"""Cases whose adapters may share a pass."""

FLOAT32 = 1e-5
"""Largest difference of float32 logits, as a share of the largest, that counts as rounding."""


def label(case: Case) -> str:
    """The case's name in pytest's output."""
    return f"{case[0]}:" + ",".join(str(value) for value in case[1].values())


def build(case: Case, backbone: Backbone, key: Key = ("split", 0, 0)) -> Adapter:
    """The case's adapter at its start."""
    method = registry.get(case[0])
    return method.build(method.settings.model_validate(case[1]), backbone, key)


def moved(adapter: Adapter, step: int = 0, size: float = 0.1) -> Adapter:
    """The adapter one random step from where it was, so that no tensor of it is at a special value."""
    with torch.no_grad():
        for name, value in adapter.named_parameters():
            value.add_(normal(value.shape, "moved", name, step, deviation=size))
    return adapter


def sequences(count: int, vocabulary: int, *, adapter: int = 0, stream: int = 0) -> list[Branch]:
    """Random sequences of different lengths that share a beginning, the last three ids of each predicted."""
    rng = generator("sequences", stream)
    trunk = rng.integers(vocabulary, size=9).tolist()
    drawn = [rng.integers(vocabulary, size=4 + b).tolist() for b in range(count)]
    return [Branch((*trunk, *ids), 9 + len(ids) - 3, adapter, question=2, options=5) for ids in drawn]


def read(backbone: Backbone, branches: Sequence[Branch], adapters: Sequence[Adapter | None] = (None,)) -> list[Tensor]:
    """Per sequence the logits that predict its last ids, all of them computed in one pass.

    Args:
        backbone: the frozen model.
        branches: the sequences, each with the number of its adapter.
        adapters: of the cohort; None for the untouched model.
    """
    with torch.no_grad():
        return graph(backbone, branches, adapters)


def graph(backbone: Backbone, branches: Sequence[Branch], adapters: Sequence[Adapter | None]) -> list[Tensor]:
    """As `read`, with gradients."""
    packed = placed(branches, adapters)
    doors = [Doors() if adapter is None else adapter.doors() for adapter in adapters]
    with backbone.logits(packed, doors) as logits:
        rows = [torch.from_numpy(packed.target_row[packed.target_branch == b]) for b in range(len(branches))]
        return [logits.index_select(0, own).float() for own in rows]


def placed(branches: Sequence[Branch], adapters: Sequence[Adapter | None]) -> Packed:
    """The pack of the sequences, each with its adapter's virtual tokens in it."""
    inside = []
    for branch in branches:
        adapter = adapters[branch.adapter]
        inside.append(branch if adapter is None else adapter.place(branch))
    return pack(inside, len(adapters))


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Largest difference, as a share of the largest logit of either."""
    a, b = torch.cat(list(one)), torch.cat(list(other))
    return float((a - b).abs().max() / torch.maximum(a.abs().max(), b.abs().max()))
