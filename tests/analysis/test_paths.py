"""Places between and around adapters: the ends are the adapters, sums are sums of what adapters do, and what makes no sense is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from affinage.adapters import AdapterCard
from affinage.analysis import cohort
from affinage.analysis.cohort import evaluate_together
from affinage.analysis.paths import Place, angle, average, displacement, noisy, place_of, spherical, straight, tokens_of, with_tokens
from affinage.backbone import Backbone, LowRank
from affinage.evaluate import evaluate
from affinage.methods import Adapter, registry
from affinage.methods.base import normal
from affinage.pack import Branch, Packed, pack
from affinage.records import UserError
from tiny import LETTERS, TEXT, encode, questions

KEY = ("start", "split", 0, 0)
ADDED: dict[str, dict[str, Any]] = {
    "prompt-tuning": {"length": 4},
    "prefix-tuning": {"length": 3},
    "p-tuning": {"root": (2, "People like:", 3), "encoder": "mlp"},
    "adaptive-prefix": {"length": 3},
    "prefix-tuning-plus": {},
    "lora": {"rank": 2, "rank_stabilised": True, "targets": ("q_proj", "down_proj")},
    "lora-hyper": {"cultures": ("Atlantis", "Lemuria"), "rank": 3, "code": 4, "place": 4, "hidden": 8, "targets": ("q_proj",)},
    "contrastive-prefix": {"cultures": ("Atlantis", "Lemuria"), "length": 3},
    "full": {},
}
"""Methods whose adapters are added up, with settings."""


def place(backbone: Backbone, method: str, culture: str, step: float = 0.1, *, split: str = "split", key: Any = KEY, **settings: Any) -> Place:
    """A finished adapter that went one random step from its start, handed on and read again; its start itself where the step is 0."""
    own = registry.get(method)
    values = own.settings.model_validate({**ADDED.get(method, {}), **settings})
    adapter = own.build(values, backbone, key)
    with torch.no_grad():
        for name, value in adapter.named_parameters():
            value.add_(normal(value.shape, "trained", culture, name, deviation=step))
    read = own.restore(values, backbone.shape, {name: value.clone() for name, value in adapter.final_tensors().items()})
    read.origin, read.seen = f"runs/{method}/{culture}", frozenset({f"seen by {culture}", "seen by all"})
    card = AdapterCard(method, values.model_dump(mode="json"), culture, split, read.seen, key, TEXT, backbone.identity, "digest")
    return place_of(read, card)


def doing(adapter: Adapter) -> dict[str, Tensor]:
    """What an adapter puts into the model, updates as products."""
    doors = adapter.doors()
    fixed = {name: getattr(doors, name) for name in ("vectors", "keys", "values", "gates", "scales", "additive")}
    low = {name: update.scale * update.b @ update.a for name, update in doors.updates.items() if isinstance(update, LowRank)}
    return {name: value.detach() for name, value in {**fixed, **low, **doors.shifts}.items() if value is not None}


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor], *, exactly: bool = False) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0 if exactly else 1e-5, atol=0 if exactly else 1e-6)


@pytest.mark.parametrize("method", ADDED)
def test_the_ends_of_a_way_are_the_adapters_to_the_bit(method: str, backbone: Backbone) -> None:
    one, other, start = (place(backbone, method, name, step) for name, step in (("Spain", 0.1), ("Algeria", 0.2), ("", 0.0)))
    middle = straight(one, other, 0.5).final_tensors()
    for at, end in ((0.0, one), (1.0, other)):
        for adapter in (straight(one, other, at), spherical(one, other, start, at)):
            assert_same(adapter.final_tensors(), end.tensors, exactly=True)
        assert any(value.shape != end.tensors[name].shape or not torch.equal(value, end.tensors[name]) for name, value in middle.items())


@pytest.mark.parametrize("method", ADDED)
@pytest.mark.parametrize("at", [-0.5, 0.25, 1.5])
def test_a_place_on_the_straight_way_does_the_weighted_sum(method: str, at: float, backbone: Backbone) -> None:
    one, other = (place(backbone, method, name) for name in ("Spain", "Algeria"))
    a, b = doing(one.adapter), doing(other.adapter)
    found = straight(one, other, at)
    assert_same(doing(found), {name: (1 - at) * a[name] + at * b[name] for name in a})
    assert found.seen == one.adapter.seen | other.adapter.seen
    assert "runs/" in found.origin


def test_products_are_interpolated_not_factors(backbone: Backbone) -> None:
    one, other = (place(backbone, "lora", name) for name in ("Spain", "Algeria"))
    factors = {name: (value + other.tensors[name]) / 2 for name, value in one.tensors.items()}
    halfway = registry.get("lora").restore(one.settings, backbone.shape, factors)
    name = next(iter(doing(halfway)))
    assert not torch.allclose(doing(halfway)[name], doing(straight(one, other, 0.5))[name], atol=1e-3)
    assert straight(one, other, 0.5).final_tensors()[f"{name}.a"].shape[0] == 4  # the added ranks


def test_the_mean_of_three_adapters_weighs_them_alike(backbone: Backbone) -> None:
    places = [place(backbone, "lora", name) for name in ("Spain", "Algeria", "Iran")]
    each = [doing(one.adapter) for one in places]
    assert_same(doing(average(places)), {name: sum(one[name] for one in each) / 3 for name in each[0]})  # type: ignore[misc]
    assert average(places).seen == {"seen by all", "seen by Spain", "seen by Algeria", "seen by Iran"}


def prompt(backbone: Backbone, start: Place, displaced: Tensor, culture: str) -> Place:
    """A prompt that went that far from its start."""
    tensors = {"vectors": start.tensors["vectors"] + displaced}
    adapter = registry.get("prompt-tuning").restore(start.settings, backbone.shape, tensors)
    adapter.origin = culture
    return place_of(adapter, start.card)


def test_the_spherical_way_turns_evenly_between_unit_vectors(backbone: Backbone) -> None:
    start = place(backbone, "prompt-tuning", "", 0.0)
    east, north = torch.zeros(4, 64), torch.zeros(4, 64)
    east[0, 0], north[3, 5] = 1.0, 1.0
    one, other = prompt(backbone, start, east, "east"), prompt(backbone, start, north, "north")
    assert displacement(one, start) == pytest.approx(1.0, abs=1e-6)
    assert angle(one, other, start) == pytest.approx(math.pi / 2, abs=1e-6)
    third = spherical(one, other, start, 1 / 3).final_tensors()["vectors"] - start.tensors["vectors"]
    torch.testing.assert_close(third, math.cos(math.pi / 6) * east + math.sin(math.pi / 6) * north, atol=1e-6, rtol=0)
    straighter = straight(one, other, 0.5).final_tensors()["vectors"] - start.tensors["vectors"]
    assert float(straighter.norm()) == pytest.approx(math.sqrt(0.5), abs=1e-6)  # nearer to the start than either end
    longer = prompt(backbone, start, 3 * north, "far north")
    assert float((spherical(one, longer, start, 0.5).final_tensors()["vectors"] - start.tensors["vectors"]).norm()) == pytest.approx(2.0, abs=1e-5)


def test_the_spherical_way_between_parallel_displacements_is_straight_and_between_opposite_ones_refused(backbone: Backbone) -> None:
    start = place(backbone, "prompt-tuning", "", 0.0)
    step = normal((4, 64), "step")
    one, other = prompt(backbone, start, step, "one"), prompt(backbone, start, 3 * step, "other")
    assert_same(spherical(one, other, start, 0.25).final_tensors(), straight(one, other, 0.25).final_tensors())
    with pytest.raises(UserError, match="adapters one and back: found displacements in opposite directions"):
        spherical(one, prompt(backbone, start, -step, "back"), start, 0.5)


@pytest.mark.parametrize("method", ["prompt-tuning", "lora", "adaptive-prefix"])
def test_norms_and_angles_are_those_of_what_adapters_do(method: str, backbone: Backbone) -> None:
    one, other, start = (place(backbone, method, name, step) for name, step in (("Spain", 0.1), ("Algeria", 0.3), ("", 0.0)))
    parts = [doing(each.adapter) if method == "lora" else each.tensors for each in (one, other, start)]
    a, b, s = (torch.cat([value.flatten().double() for _, value in sorted(each.items())]) for each in parts)
    assert displacement(one, start) == pytest.approx(float((a - s).norm()), rel=1e-4)
    cosine = float(torch.nn.functional.cosine_similarity(a - s, b - s, dim=0))
    assert math.cos(angle(one, other, start)) == pytest.approx(cosine, abs=1e-4)
    assert cosine < 0.999


@pytest.mark.parametrize("method", ["prompt-tuning", "prefix-tuning", "p-tuning", "lora"])
def test_noise_is_so_long_and_the_same_draw_is_the_same_direction(method: str, backbone: Backbone) -> None:
    one, other, start = (place(backbone, method, name, step) for name, step in (("Spain", 0.1), ("Algeria", 0.3), ("", 0.0)))

    def step(end: Place, share: float, draw: int) -> Tensor:
        found, own = doing(noisy(end, start, share, draw)), doing(end.adapter)
        return torch.cat([(found[name] - own[name]).flatten() for name in sorted(own)])

    for share in (0.5, 2.0):
        assert float(step(one, share, 0).norm()) == pytest.approx(share * displacement(one, start), rel=1e-3)
    same = torch.nn.functional.cosine_similarity
    assert float(same(step(one, 1.0, 0), step(other, 1.0, 0), dim=0)) == pytest.approx(1.0, abs=1e-3)
    assert abs(float(same(step(one, 1.0, 0), step(one, 1.0, 1), dim=0))) < 0.3


def test_noise_leaves_words_of_a_pattern_alone(backbone: Backbone) -> None:
    one, start = place(backbone, "p-tuning", "Spain"), place(backbone, "p-tuning", "", 0.0)
    moved = (noisy(one, start, 1.0, 0).final_tensors()["root"] != one.tensors["root"]).any(1)
    words = len(moved) - 5
    assert words > 0
    assert moved.tolist() == [True] * 2 + [False] * words + [True] * 3


@pytest.mark.parametrize("method", ["prompt-tuning", "prefix-tuning", "contrastive-prefix"])
def test_dropping_tokens_leaves_the_others_and_dropping_all_the_untouched_model(method: str, backbone: Backbone) -> None:
    one = place(backbone, method, "Spain")
    assert tokens_of(one) == (4 if method == "prompt-tuning" else 3)
    kept = with_tokens(one, (2, 0)).final_tensors()
    assert_same(kept, {name: value[[0, 2]] for name, value in one.tensors.items()}, exactly=True)
    asked = encode(backbone, questions("Atlantis", 3), LETTERS)
    nothing, untouched = (evaluate(backbone, adapter, asked, prompt=LETTERS) for adapter in (with_tokens(one, ()), None))
    assert nothing == untouched
    assert evaluate(backbone, with_tokens(one, range(tokens_of(one))), asked, prompt=LETTERS) == evaluate(
        backbone, one.adapter, asked, prompt=LETTERS
    )
    assert evaluate(backbone, one.adapter, asked, prompt=LETTERS) != untouched


def test_what_cannot_be_added_is_refused_by_name(backbone: Backbone) -> None:
    one = place(backbone, "prompt-tuning", "Spain")
    for other, found in (
        (place(backbone, "prefix-tuning", "Iran"), "two methods: prompt-tuning and prefix-tuning"),
        (place(backbone, "prompt-tuning", "Iran", split="another"), "two splits: split and another"),
        (place(backbone, "prompt-tuning", "Iran", key=("start", "split", 1, 0)), "two starts: "),
        (place(backbone, "prompt-tuning", "Iran", length=5), "two settings: "),
    ):
        with pytest.raises(UserError, match=f"adapters runs/prompt-tuning/Spain and runs/.*/Iran: found {found}"):
            straight(one, other, 0.5)
        with pytest.raises(UserError, match=found):
            average([one, one, other])
    with pytest.raises(UserError, match="method lora-mixture: found updates behind a router"):
        place(backbone, "lora-mixture", "Spain", cultures=("Atlantis",), rank=2, experts=2, hidden=4, code=4, targets=("q_proj",))
    with pytest.raises(UserError, match="found no trained tensor"):
        place(backbone, "none", "Spain")
    with pytest.raises(UserError, match="method lora: found no virtual tokens"):
        with_tokens(place(backbone, "lora", "Spain"), ())
    with pytest.raises(UserError, match="an adapter that is where it began"):
        noisy(place(backbone, "prompt-tuning", "", 0.0), place(backbone, "prompt-tuning", "", 0.0), 0.5, 0)


def test_a_sum_is_never_tested_on_what_a_part_has_seen(backbone: Backbone) -> None:
    one, other = place(backbone, "prompt-tuning", "Spain"), place(backbone, "prompt-tuning", "Iran")
    asked = encode(backbone, questions("Atlantis", 2), LETTERS)
    between = straight(replace(one), other, 1.0)
    assert evaluate_together(backbone, [between], asked, prompt=LETTERS)
    one.adapter.seen = frozenset({asked[1].rendered.mcq.template_id})
    for seen in (straight(one, other, 1.0), average([one, other]), noisy(one, place(backbone, "prompt-tuning", "", 0.0), 0.1, 0)):
        with pytest.raises(UserError, match="1 templates that it has seen"):
            evaluate_together(backbone, [between, seen], asked, prompt=LETTERS)


def test_a_cohort_of_places_scores_as_one_by_one(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = encode(backbone, questions("Atlantis", 6), TEXT)
    ends = {method: [place(backbone, method, name) for name in ("Spain", "Iran")] for method in ("prompt-tuning", "prefix-tuning", "lora", "full")}
    adapters = [straight(one, other, at) for one, other in ends.values() for at in (0.0, 0.3, 0.7, 1.0)]
    adapters += [with_tokens(ends["prompt-tuning"][0], range(kept)) for kept in range(4)]
    adapters += [with_tokens(ends["prefix-tuning"][0], range(kept)) for kept in range(3)]
    passes: list[int] = []

    def spying(branches: list[Branch], adapters: int = 1) -> Packed:
        passes.append(adapters)
        return pack(branches, adapters)

    monkeypatch.setattr(cohort, "pack", spying)
    found = evaluate_together(backbone, adapters, asked, prompt=TEXT, nodes_per_pack=1500)
    assert max(passes) > 2  # several shared a pass
    largest = 0.0
    for adapter, own in zip(adapters, found, strict=True):
        expected = evaluate(backbone, adapter, asked, prompt=TEXT, nodes_per_pack=1500)
        assert [score.mcq_id for score in own] == [score.mcq_id for score in expected]
        for one, other in zip(own, expected, strict=True):
            largest = max(largest, *(abs(a - b) / max(map(abs, other.logprob)) for a, b in zip(one.logprob, other.logprob, strict=True)))
    assert largest <= 1e-5
    assert len({own[0].logprob for own in found}) > len(adapters) // 2  # places say different things


def test_questions_that_fill_the_budget_are_scored_as_evaluate_does_to_the_bit(backbone: Backbone) -> None:
    asked = encode(backbone, questions("Atlantis", 8), LETTERS)
    one, other = (place(backbone, "prompt-tuning", name) for name in ("Spain", "Iran"))
    adapters = [straight(one, other, at) for at in (0.0, 0.5)]
    done: list[int] = []
    found = evaluate_together(backbone, adapters, asked, prompt=LETTERS, nodes_per_pack=100, on_progress=done.append)
    assert found == [evaluate(backbone, adapter, asked, prompt=LETTERS, nodes_per_pack=100) for adapter in adapters]
    assert done == [1, 2]
