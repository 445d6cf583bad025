"""Evaluation: packs that no adapter can change, an order that nothing disturbs, and templates that were seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pytest
import torch

from affinage import evaluate as module
from affinage.backbone import Backbone
from affinage.config import PromptConfig
from affinage.encode import Refusal
from affinage.evaluate import evaluate
from affinage.methods import Adapter, registry
from affinage.pack import Branch, Packed, pack
from affinage.records import Encoded, ItemScore, UserError
from affinage.stats import with_credit
from affinage.store import write_scores
from affinage.store.scores import read_scores
from tiny import LETTERS, PMI, TEXT, encode, questions


def adapter_of(backbone: Backbone, method: str) -> Adapter:
    found = registry.get(method)
    return found.build(found.settings.model_validate({"rank": 2} if method == "lora" else {"length": 3}), backbone, ("e",))


@pytest.fixture(scope="module")
def letters(backbone: Backbone) -> list[Encoded]:
    return encode(backbone, questions("Atlantis", 12), LETTERS)


def credit(scores: Sequence[ItemScore]) -> pl.DataFrame:
    """The two readings of the scores."""
    rows = [{name: getattr(score, name) for name in ItemScore.__slots__} for score in scores]
    return with_credit(pl.DataFrame(rows, infer_schema_length=None).with_columns(run=pl.lit("run")))


def test_packs_do_not_depend_on_the_adapter(backbone: Backbone, letters: list[Encoded], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[int, ...]]] = []

    def spying(branches: Sequence[Branch], adapters: int = 1) -> Packed:
        seen[-1].append(tuple(hash(tuple(i for i in branch.ids if i >= 0)) for branch in branches))
        return pack(branches, adapters)

    monkeypatch.setattr(module, "pack", spying)
    for adapter in (None, *(adapter_of(backbone, name) for name in ("prompt-tuning", "prefix-tuning", "lora"))):
        seen.append([])
        evaluate(backbone, adapter, letters, prompt=LETTERS, nodes_per_pack=300)
    assert len(seen[0]) > 2
    assert all(packs == seen[0] for packs in seen[1:])


@pytest.mark.parametrize("prompt", [LETTERS, TEXT, PMI], ids=lambda prompt: f"{prompt.style}-{prompt.score}")
def test_results_stand_in_the_order_given(prompt: PromptConfig, backbone: Backbone) -> None:
    encoded = encode(backbone, questions("Atlantis", 12), prompt)
    done: list[int] = []
    scores = evaluate(backbone, None, encoded, prompt=prompt, nodes_per_pack=200, on_progress=done.append)
    assert [score.mcq_id for score in scores] == [each.rendered.mcq.mcq_id for each in encoded]
    assert done == sorted(set(done))
    assert len(done) > 2
    assert done[-1] == 12
    turned = evaluate(backbone, None, encoded[::-1], prompt=prompt, nodes_per_pack=200)
    assert turned == scores[::-1]  # bit for bit: the packs are the same
    other = evaluate(backbone, None, encoded, prompt=prompt, nodes_per_pack=1)
    for one, two in zip(scores, other, strict=True):
        assert one.logprob == pytest.approx(two.logprob, abs=1e-4)
        assert (one.order, one.tokens, one.characters, one.answer) == (two.order, two.tokens, two.characters, two.answer)


def test_the_untouched_model_and_the_method_none_say_the_same(backbone: Backbone, letters: list[Encoded]) -> None:
    none = registry.get("none")
    adapter = none.build(none.settings(), backbone, ())
    assert evaluate(backbone, adapter, letters, prompt=LETTERS) == evaluate(backbone, None, letters, prompt=LETTERS)
    assert evaluate(backbone, adapter_of(backbone, "prefix-tuning"), letters, prompt=LETTERS) != evaluate(backbone, None, letters, prompt=LETTERS)


def test_refused_questions_keep_their_reason(backbone: Backbone, letters: list[Encoded]) -> None:
    (stranger,) = questions("Atlantis", 1, first=90)
    scores = evaluate(backbone, None, letters[:2], [Refusal(stranger, "the letter 'A' is 2 tokens")], prompt=LETTERS)
    assert [score.state for score in scores] == ["scored", "scored", "the letter 'A' is 2 tokens"]
    assert (scores[2].mcq_id, scores[2].logprob, scores[2].free, scores[2].letter_mass) == (stranger.mcq_id, (), None, None)
    assert credit(scores)["choice"].null_count() == 1
    assert evaluate(backbone, None, [], [Refusal(stranger, "why")], prompt=LETTERS)[0].state == "why"


def test_numbers_that_are_none_are_a_state(backbone: Backbone, letters: list[Encoded]) -> None:
    adapter = adapter_of(backbone, "prefix-tuning")
    with torch.no_grad():
        next(adapter.parameters()).fill_(float("nan"))
    scores = evaluate(backbone, adapter, letters[:2], prompt=LETTERS)
    assert {score.state for score in scores} == {"the model's log-probabilities are not finite"}
    assert {score.logprob for score in scores} == {()}


def test_a_seen_template_is_refused_with_both_names(backbone: Backbone, letters: list[Encoded]) -> None:
    adapter = adapter_of(backbone, "lora")
    adapter.origin, adapter.seen = "runs/lora/Atlantis", frozenset({"t003", "t005", "t999"})
    with pytest.raises(UserError, match=r"adapter runs/lora/Atlantis: found 2 templates that it has seen in training: t003, t005;"):
        evaluate(backbone, adapter, letters, prompt=LETTERS)
    unseen = [each for each in letters if each.rendered.mcq.template_id not in adapter.seen]
    assert len(evaluate(backbone, adapter, unseen, prompt=LETTERS)) == 10


def test_the_two_readings(backbone: Backbone, letters: list[Encoded]) -> None:
    scores = evaluate(backbone, None, letters, prompt=LETTERS)
    for score, each in zip(scores, letters, strict=True):
        probabilities = torch.tensor(score.logprob).exp()
        assert score.letter_mass == pytest.approx(float(probabilities.sum()), rel=1e-4)
        assert score.letter_mass is not None
        assert 0 < score.letter_mass < 1
        assert score.greedy_probability >= float(probabilities.max()) * (1 - 1e-5)
        right = each.continuation_ids[score.answer][0]
        assert score.free == (score.greedy_token == right)
    # An untouched random model says no letter, so every free reading is wrong and the best letter is still some letter.
    readings = credit(scores)
    assert readings["free"].sum() == 0
    assert 0 < readings["choice"].sum() < 12


def test_letters_are_read_for_letters_alone(backbone: Backbone) -> None:
    for prompt in (TEXT, PMI):
        for score in evaluate(backbone, None, encode(backbone, questions("Atlantis", 3), prompt), prompt=prompt):
            assert (score.free, score.letter_mass) == (None, None)
            assert len(score.empty_logprob) == (4 if prompt is PMI else 0)
            assert all(count > 1 for count in score.tokens)
            assert score.characters == tuple(len(option) for option in questions("Atlantis", 3)[int(score.template_id[1:])].options)


def test_the_options_are_scored_in_the_order_of_the_source(backbone: Backbone) -> None:
    (question,) = questions("Atlantis", 1)
    turned = replace(question, options=question.options[::-1], answer=3 - question.answer)
    one, other = (evaluate(backbone, None, encode(backbone, [each], TEXT), prompt=TEXT)[0] for each in (question, turned))
    assert one.logprob == pytest.approx(other.logprob[::-1], abs=1e-5)
    assert len({round(value, 3) for value in one.logprob}) == 4


def test_scores_survive_the_disk(backbone: Backbone, letters: list[Encoded], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    scores = evaluate(backbone, None, letters, [Refusal(letters[0].rendered.mcq, "why")], prompt=LETTERS)
    write_scores(path, scores)
    rows = read_scores(path)
    assert rows["logprob"].to_list() == [list(score.logprob) for score in scores]
    assert rows["state"].to_list() == [score.state for score in scores]
