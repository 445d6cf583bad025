"""A mixture of low-rank experts against its definition: who is open, how far, what is added, and what keeps all in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import PLACES, build, moved, placed, sequences
from torch import Tensor, nn

from affinage.backbone import Backbone, Doors, Routed, Router, load, updates
from affinage.backbone.updates import adding, gate
from affinage.config import MethodConfig, ModelConfig, TrainingConfig
from affinage.methods import Adapter, resolve
from affinage.methods.base import normal
from affinage.records import UserError
from affinage.train import Batch, cohort_losses, loss
from tiny import TEXT, encode, questions

EXPERTS, RANK, INPUTS, OUTPUTS, TOP = 4, 2, 6, 5, 2
SETTINGS: Mapping[str, Any] = {"cultures": PLACES, "rank": 2, "experts": 3, "hidden": 8, "code": 4, "targets": ("q_proj", "v_proj", "down_proj")}


def router(*, twice: bool) -> Router:
    return Router(normal((8, INPUTS), 1), normal((8,), 2), normal((EXPERTS, 8), 3), normal((EXPERTS,), 4), TOP, twice)


def slow_gate(route: Router, x: Tensor) -> Tensor:
    """[E] of one input [inputs]."""
    logits = route.outer @ (route.inner @ x + route.inner_bias).clamp(min=0) + route.outer_bias
    chosen = sorted(range(EXPERTS), key=lambda e: -float(logits[e]))[:TOP]
    value = logits.exp() / logits.exp().sum() if route.twice else logits
    total = sum(value[e].exp() for e in chosen)
    return torch.stack([value[e].exp() / total if e in chosen else torch.zeros(()) for e in range(EXPERTS)])


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_what_is_added_is_the_sum_over_the_open_experts(twice: bool, shared: bool) -> None:
    x, route = normal((1, 7, INPUTS), "x"), router(twice=twice)
    a, b = normal((RANK if shared else EXPERTS * RANK, INPUTS), "a"), normal((OUTPUTS, EXPERTS * RANK), "b")
    told: list[tuple[Tensor, Tensor]] = []
    update = Routed(a, b, 0.5, route, lambda weights, opened: told.append((weights, opened)))
    found = adding([update], [0, 7])(nn.Linear(INPUTS, OUTPUTS), (x,), torch.zeros(1, 7, OUTPUTS))
    weights = gate(route, x)
    assert torch.equal((weights > 0).sum(-1), torch.full((1, 7), TOP))
    for row in range(7):
        own = slow_gate(route, x[0, row])
        torch.testing.assert_close(weights[0, row], own)
        expected = torch.zeros(OUTPUTS)
        for e in range(EXPERTS):
            part = slice(e * RANK, (e + 1) * RANK)
            expected += 0.5 * own[e] * (b[:, part] @ (a if shared else a[part]) @ x[0, row])
        torch.testing.assert_close(found[0, row], expected)
    ((weights_told, opened),) = told
    assert weights_told.shape == opened.shape == (7, EXPERTS)
    assert torch.equal(opened, weights[0] > 0)
    # An input of another cohort member is no business of this one.
    both = adding([update, None], [0, 3, 7])(nn.Linear(INPUTS, OUTPUTS), (x,), torch.zeros(1, 7, OUTPUTS))
    torch.testing.assert_close(both[:, :3], found[:, :3])
    assert not both[:, 3:].any()


def test_the_softmax_twice_draws_the_weights_towards_equal_ones() -> None:
    x = normal((50, INPUTS), "x")
    once, twice = (gate(router(twice=value), x).amax(-1) for value in (False, True))
    assert bool((twice <= once + 1e-6).all())
    assert float(twice.max()) <= 1 / (1 + torch.tensor(-1.0).exp()) < float(once.max())


def losses(adapter: Adapter, backbone: Backbone, budget: int | None = None) -> float:
    encoded = encode(backbone, questions("Atlantis", 4), TEXT)
    (value,), _ = cohort_losses(backbone, [Batch(adapter, encoded)], "choice", "total", budget)
    return value


def test_the_balance_is_a_part_of_the_loss(backbone: Backbone) -> None:
    """At equal routers' logits every expert has the mean weight that its share of tokens says."""
    free, held = (moved(build(("lora-mixture", {**SETTINGS, "balance": factor}), backbone)) for factor in (0.0, 0.5))
    plain, balanced = losses(free, backbone), losses(held, backbone)
    routers = 2 * backbone.shape.layers  # queries and values share one
    # E sum f p is 1 where all are used alike, and at most E / k where the same k always are.
    assert 0.5 * routers * 0.9 < balanced - plain < 0.5 * routers * 3 / 2
    free.zero_grad()
    held.zero_grad()
    losses(held, backbone)
    gradients = [value.grad for name, value in held.named_parameters() if value.grad is not None]
    losses(free, backbone)
    assert any(not torch.equal(one, other.grad) for one, other in zip(gradients, free.parameters(), strict=True) if other.grad is not None)
    assert losses(held, backbone, 40) - losses(free, backbone, 40) == pytest.approx(balanced - plain, rel=0.2)


def test_the_balance_of_a_pass_is_its_definition(backbone: Backbone) -> None:
    adapter = moved(build(("lora-mixture", {**SETTINGS, "balance": 2.0, "targets": ("down_proj",)}), backbone))
    doors = adapter.doors()
    told: list[tuple[Tensor, Tensor]] = []
    listens = {
        name: replace(update, balance=lambda weights, opened: told.append((weights, opened)))
        for name, update in doors.updates.items()
        if isinstance(update, Routed)
    }
    listening = replace(doors, updates=listens)
    packed = placed(sequences(3, backbone.shape.vocabulary), [adapter])
    with torch.no_grad():
        for each in (doors, listening):
            with backbone.logits(packed, [each]):
                pass
    assert len(doors.terms) == len(told) == backbone.shape.layers
    for term, (weights, opened) in zip(doors.terms, told, strict=True):
        share = opened.sum(0) / (2 * packed.nodes)
        assert float(term) == pytest.approx(2.0 * 3 * float((share * weights.mean(0)).sum()), rel=1e-5)


@pytest.fixture(scope="module")
def again(tiny_folder: Path) -> Backbone:
    """The tiny model, its layers computed again in the backward pass."""
    return load(ModelConfig(id=str(tiny_folder), dtype="float32", device="cpu", threads=1, gradient_checkpointing=True))


def test_a_layer_that_is_computed_again_says_its_term_once(again: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = moved(build(("lora-mixture", {**SETTINGS, "balance": 0.5}), again))
    doors = adapter.doors()
    passes: list[Tensor] = []
    packed = placed(sequences(3, again.shape.vocabulary), [adapter])
    real = updates.gate

    def counted(route: Router, x: Tensor) -> Tensor:
        passes.append(x)
        return real(route, x)

    monkeypatch.setattr(updates, "gate", counted)
    with again.logits(packed, [doors]) as logits:
        forward = len(passes)
        (logits.square().mean() + torch.stack(doors.terms).sum()).backward()  # type: ignore[no-untyped-call]
    assert len(passes) == 2 * forward, "every layer was computed again"
    assert len(doors.terms) == 2 * again.shape.layers  # queries and values share one


def test_terms_of_layers_on_several_devices_are_moved_to_the_loss(backbone: Backbone) -> None:
    meta = torch.device("meta")
    adapter = moved(build(("lora-mixture", SETTINGS), backbone))
    item = loss._Item(0, encode(backbone, questions("Atlantis", 1), TEXT)[0], 1.0, None, (adapter,), (), 0)
    doors = Doors(terms=[torch.ones(()), torch.ones((), device=meta)])
    ((_, term),) = loss._terms([item], [adapter], [doors], meta)
    assert term.device == meta


def test_a_single_open_expert_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match="top 1: a single open expert has the weight 1 whatever its router says"):
        resolve(MethodConfig(name="lora-mixture", settings={"top": 1}), TrainingConfig())
    with pytest.raises(UserError, match="experts"):
        resolve(MethodConfig(name="lora-mixture", settings={"experts": 1}), TrainingConfig())


def test_layers_that_are_computed_again_give_the_same_gradients(backbone: Backbone, again: Backbone) -> None:
    found = []
    for model in (backbone, again):
        adapter = moved(build(("lora-mixture", {**SETTINGS, "balance": 0.5}), model))
        value = losses(adapter, model)
        found.append((value, [parameter.grad for parameter in adapter.parameters() if parameter.grad is not None]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert len(found[0][1]) == len(found[1][1]) > 0
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert float((one - other).abs().max()) <= 1e-4 * float(one.abs().max()) + 1e-8
