"""Methods that one run trains for several cultures: each question is read under its own culture's part, and the parts are handed on alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, FLOAT32, PLACES, Case, build, distance, label, moved, read, sequences
from torch import Tensor

from affinage.backbone import Backbone
from affinage.config import TrainingConfig
from affinage.evaluate import evaluate
from affinage.methods import Adapter, registry
from affinage.records import Encoded, UserError
from affinage.store import RunFolder
from affinage.train import Batch, cohort_losses, total_steps, train
from tiny import LETTERS, TEXT, encode, questions

TOGETHER = [case for case in CASES if "cultures" in case[1]]
each = pytest.mark.parametrize("case", TOGETHER, ids=label)
contrastive: Case = ("contrastive-prefix", {"cultures": (*PLACES, "Mu"), "length": 3, "start": "random", "against": 0.3})


def asked(backbone: Backbone, count: int, places: Sequence[str] = PLACES) -> list[Encoded]:
    """Questions of several cultures, one after the other."""
    return [each for place in places for each in encode(backbone, questions(place, count), TEXT)]


def handed_on(case: Case, adapter: Adapter, backbone: Backbone) -> Adapter:
    """What a run puts into its folder, as it is read back."""
    method = registry.get(case[0])
    return method.restore(method.settings.model_validate(case[1]), backbone.shape, adapter.final_tensors())


def test_there_are_such_methods() -> None:
    assert {name for name, _ in TOGETHER} == {"lora-mixture", "lora-hyper", "contrastive-prefix"}


@each
def test_each_culture_has_its_own_part_of_the_same_tensors(case: Case, backbone: Backbone) -> None:
    adapter = moved(build(case, backbone))
    parts = [adapter.under(place) for place in PLACES]
    assert parts[0] is adapter
    assert adapter.under(PLACES[1]) is parts[1] is parts[1].under(PLACES[1])
    assert all(one is other for one, other in zip(parts[0].parameters(), parts[1].parameters(), strict=True))
    branches = sequences(3, backbone.shape.vocabulary)
    if case[0] == "contrastive-prefix" or case[1].get("source") == "code":  # all begin alike, so that a start does not know the culture
        assert distance(*(read(backbone, branches, [part]) for part in (build(case, backbone), build(case, backbone).under(PLACES[1])))) == 0
    logits = [read(backbone, branches, [part]) for part in parts]
    assert distance(*logits) > 1e-3
    for part, own in zip(parts, logits, strict=True):
        assert distance(read(backbone, branches, [handed_on(case, part, backbone)]), own) < FLOAT32
    with pytest.raises(UserError, match="found questions about Mu; expected about Atlantis, Lemuria"):
        adapter.under("Mu")


@each
def test_a_step_reads_every_question_under_its_own_part(case: Case, backbone: Backbone) -> None:
    adapter = moved(build(case, backbone), size=0.02)
    encoded = asked(backbone, 3)
    (loss,), _ = cohort_losses(backbone, [Batch(adapter, encoded)], "choice", "total")
    gradients: dict[str, Tensor] = {name: value.grad.clone() for name, value in adapter.named_parameters() if value.grad is not None}
    assert gradients
    adapter.zero_grad()
    alone = 0.0
    parts: dict[str, Tensor] = {name: torch.zeros_like(value) for name, value in gradients.items()}
    for place in PLACES:
        own = [one for one in encoded if one.rendered.mcq.culture == place]
        alone += cohort_losses(backbone, [Batch(adapter.under(place), own)], "choice", "total")[0][0] / len(PLACES)
        for name, value in adapter.named_parameters():
            if value.grad is not None:
                parts[name] += value.grad / len(PLACES)
        adapter.zero_grad()
    # The balance of a mixture is over the nodes of a pack and adapter, which are the same here and there.
    assert loss == pytest.approx(alone, rel=1e-5)
    for name, gradient in gradients.items():
        assert float((gradient - parts[name]).abs().max()) <= 1e-4 * float(gradient.abs().max()) + 1e-7, name
    (cut,), _ = cohort_losses(backbone, [Batch(adapter, encoded)], "choice", "total", 60)
    assert cut == pytest.approx(loss, rel=1e-5 if case[1].get("balance", 0.01) == 0 or case[0] != "lora-mixture" else 1e-2)


@each
def test_both_cultures_are_learned_by_heart(case: Case, backbone: Backbone, tmp_path: Path) -> None:
    encoded = [one for place in PLACES for one in encode(backbone, questions(place, 4), LETTERS)]
    adapter = build(case, backbone)
    rate = 5e-2 if case[0] == "contrastive-prefix" else 5e-3
    training = TrainingConfig(steps=50, batch_size=4, rate=rate, loss="choice")
    train(backbone, adapter, encoded, training, prompt=LETTERS, seed=0, folder=RunFolder(tmp_path))
    for place in PLACES:
        own = [one for one in encoded if one.rendered.mcq.culture == place]
        scores = evaluate(backbone, handed_on(case, adapter.under(place), backbone), own, prompt=LETTERS)
        assert [score.logprob.index(max(score.logprob)) for score in scores] == [score.answer for score in scores]


def test_a_step_has_the_batch_of_each_culture(backbone: Backbone, tmp_path: Path) -> None:
    encoded = [*asked(backbone, 6), *encode(backbone, questions("Mu", 2), TEXT)]
    adapter = build(("lora-hyper", {"cultures": (*PLACES, "Mu"), "rank": 1, "code": 2, "hidden": 4}), backbone)
    training = TrainingConfig(epochs=2, batch_size=2)
    assert total_steps(training, 6) == 6
    seen: list[int] = []
    train(backbone, adapter, encoded, training, prompt=TEXT, seed=0, folder=RunFolder(tmp_path), on_step=lambda record: seen.append(record.total))
    assert seen == [6] * 6


@pytest.mark.parametrize("source", ["description", "code"])
def test_a_culture_that_is_held_out_has_a_part_all_the_same(source: str, backbone: Backbone, tmp_path: Path) -> None:
    case: Case = ("lora-hyper", {"cultures": (*PLACES, "Mu"), "held_out": ("Mu",), "source": source, "rank": 2, "code": 4, "hidden": 8})
    method = registry.get("lora-hyper")
    assert method.taught(method.settings.model_validate(case[1])) == PLACES
    adapter = build(case, backbone)
    training = TrainingConfig(steps=8, rate=1e-2)
    train(backbone, adapter, asked(backbone, 4), training, prompt=TEXT, seed=0, folder=RunFolder(tmp_path))
    finals = [adapter.under(place).final_tensors() for place in (*PLACES, "Mu")]
    name = next(name for name in finals[0] if name.endswith(".b"))
    assert len({tuple(final[name].flatten().tolist()) for final in finals}) == 3
    assert all(bool(final[name].abs().max() > 0) for final in finals)


def settled(values: dict[str, Any], cultures: tuple[str, ...], culture: str | None) -> Any:
    """Settings of the hypernetwork as a study fills them in."""
    method = registry.get("lora-hyper")
    return method.settled(method.settings.model_validate(values), cultures, culture)


def test_a_study_fills_in_its_cultures() -> None:
    studied = ("Atlantis", "Lemuria", "Mu")
    assert settled({}, studied, "Mu").cultures == studied
    each = {"held_out": "each"}
    assert [settled(each, studied, place).held_out for place in studied] == [(place,) for place in studied]
    assert settled(each, studied, None).held_out == ()
    with pytest.raises(UserError, match=r"method lora-hyper: held_out: found 'Atlantic'.*Did you mean 'Atlantis'"):
        settled({"held_out": ["Atlantic"]}, studied, "Mu")
    with pytest.raises(UserError, match="method lora-hyper: cultures: found Atlantis, Mu; expected every studied culture, Lemuria too"):
        settled({"cultures": ["Atlantis", "Mu"]}, studied, "Lemuria")
    with pytest.raises(UserError, match="expected at least one other culture to train on"):
        settled({"held_out": list(studied)}, studied, "Mu")


@pytest.mark.parametrize(
    ("name", "values"),
    [("contrastive-prefix", {"start": "random"}), ("lora-hyper", {"source": "code"}), ("lora-mixture", {"source": "code"})],
)
def test_without_cultures_there_is_nothing_to_serve(name: str, values: dict[str, Any], backbone: Backbone) -> None:
    method, told = registry.get(name), f"method {name}: found no culture to serve"
    with pytest.raises(UserError, match=told):
        build((name, values), backbone)
    with pytest.raises(UserError, match=told):
        method.count(method.settings.model_validate(values), backbone.shape)


def test_descriptions_that_do_not_differ_are_refused(backbone: Backbone) -> None:
    with pytest.raises(UserError, match="found the same text for every culture"):
        build(("lora-hyper", {"cultures": PLACES, "description": "People"}), backbone)


def answer_logprob(backbone: Backbone, adapter: Adapter, one: Encoded) -> Tensor:
    """Log-probability of the right answer and its ending under an adapter."""
    (loss,), _ = cohort_losses(backbone, [Batch(adapter, [one])], "answer", "total")
    return -torch.tensor(loss)


@pytest.mark.parametrize("loss", ["answer", "choice"])
def test_the_contrastive_loss_is_its_definition(loss: str, backbone: Backbone) -> None:
    adapter = moved(build(contrastive, backbone))
    places = contrastive[1]["cultures"]
    encoded = asked(backbone, 2, places)
    plain = {place: handed_on(contrastive, adapter.under(place), backbone) for place in places}
    expected = []
    for one in encoded:
        own = one.rendered.mcq.culture
        value = cohort_losses(backbone, [Batch(plain[own], [one])], loss, "total")[0][0]
        under = torch.stack([answer_logprob(backbone, plain[place], one) for place in places])
        expected.append(0.7 * value - 0.3 * float(under.log_softmax(0)[places.index(own)]))
    for budget in (None, 100):
        adapter.zero_grad()
        (found,), _ = cohort_losses(backbone, [Batch(adapter, encoded)], loss, "total", budget)
        assert found == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    # Each prefix also learns from the questions of the others.
    adapter.zero_grad()
    cohort_losses(backbone, [Batch(adapter, encoded[:2])], loss, "total")
    gradient = next(adapter.parameters()).grad
    assert gradient is not None
    assert bool((gradient.flatten(1).abs().amax(1) > 0).all())
