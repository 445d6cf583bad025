"""Scores by mental arithmetic: a model whose logits are chosen."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from affinage.pack import Branch, Packed, pack
from affinage.records import MCQ, Encoded, Rendered
from affinage.scoring import (
    answer_branch,
    answer_losses,
    branch_logprobs,
    choice_losses,
    contrast_loss,
    item_scores,
    option_branches,
    option_scores,
    token_logprobs,
    unscored,
)

V = 12
MCQ_1 = MCQ("q1", "t1", "Spain", "food", "What?", ("tea", "bread", "egg"), ("Spain", "UK", ""), 1)
CONTEXT = (1, 2, 3)
OPTIONS = ((4,), (5, 6), (5, 7, 8))
ENDING = (9, 10)


def encoded(mcq: MCQ = MCQ_1, context: tuple[int, ...] = CONTEXT, options: tuple[tuple[int, ...], ...] = OPTIONS) -> Encoded:
    rendered = Rendered(mcq, "What?", mcq.options, "<end>", (2, 0, 1))
    return Encoded(rendered, context, tuple(ids + ENDING for ids in options), tuple(len(ids) for ids in options))


def logits_of(packed: Packed) -> Tensor:
    """The token t after a node with id i has the logit log(1 + (i + t) mod 5): each probability is a fraction."""
    return torch.log(1.0 + (torch.from_numpy(packed.ids[packed.predicting])[:, None] + torch.arange(V)) % 5)


def p(before: int, token: int) -> float:
    """Log-probability of a token after another under that model."""
    weights = [1 + (before + t) % 5 for t in range(V)]
    return math.log(weights[token] / sum(weights))


def test_sequences_of_a_score_end_with_the_answer_and_those_of_the_loss_with_its_ending() -> None:
    one = encoded()
    assert option_branches(one, "total") == [Branch((1, 2, 3, 4), 3), Branch((1, 2, 3, 5, 6), 3), Branch((1, 2, 3, 5, 7, 8), 3)]
    assert answer_branch(one) == Branch((1, 2, 3, 5, 6, 9, 10), 3)
    empty = replace(one, context_ids=(1, 3))
    branches = option_branches(replace(one, empty=empty), "pmi")
    assert branches[:3] == option_branches(one, "total")
    assert branches[3:] == [Branch((1, 3, 4), 2), Branch((1, 3, 5, 6), 2), Branch((1, 3, 5, 7, 8), 2)]
    with pytest.raises(ValueError, match="needs a question that was encoded for it"):
        option_branches(one, "pmi")


def test_log_probabilities_are_read_at_the_token_before() -> None:
    packed = pack(option_branches(encoded(), "total"))
    found = token_logprobs(logits_of(packed), packed).tolist()
    assert found == pytest.approx([p(3, 4), p(3, 5), p(5, 6), p(3, 5), p(5, 7), p(7, 8)])
    sums = branch_logprobs(logits_of(packed), packed, 3).tolist()
    assert sums == pytest.approx([p(3, 4), p(3, 5) + p(5, 6), p(3, 5) + p(5, 7) + p(7, 8)])


def test_log_probabilities_are_computed_in_float32() -> None:
    packed = pack(option_branches(encoded(), "total"))
    found = token_logprobs(logits_of(packed).bfloat16(), packed)
    assert found.dtype == torch.float32
    assert torch.equal(found, token_logprobs(logits_of(packed).bfloat16().float(), packed))


def test_each_score_by_hand() -> None:
    sums = torch.tensor([-1.0, -4.0, -9.0])
    assert option_scores(encoded(), sums, "total").tolist() == [-1.0, -4.0, -9.0]
    assert option_scores(encoded(), sums, "per-token").tolist() == [-1.0, -2.0, -3.0]
    assert option_scores(encoded(), sums, "per-character").tolist() == pytest.approx([-1 / 3, -4 / 5, -9 / 3])
    both = torch.tensor([-1.0, -4.0, -9.0, -2.0, -3.0, -9.5])
    assert option_scores(encoded(), both, "pmi").tolist() == [1.0, -1.0, 0.5]


def test_the_losses_are_their_definitions_per_question() -> None:
    other = encoded(replace(MCQ_1, mcq_id="q2", answer=0), (1, 2, 6))
    batch = [encoded(), other]
    packed = pack([branch for one in batch for branch in option_branches(one, "per-token")])
    expected = []
    for one, last, answer in ((batch[0], 3, 1), (other, 6, 0)):
        scores = [p(last, 4), (p(last, 5) + p(5, 6)) / 2, (p(last, 5) + p(5, 7) + p(7, 8)) / 3]
        expected.append(math.log(sum(map(math.exp, scores))) - scores[answer])
        assert one.rendered.mcq.answer == answer
    sums = branch_logprobs(logits_of(packed), packed, len(packed.adapter))
    assert choice_losses(batch, sums, "per-token").tolist() == pytest.approx(expected, rel=1e-5)
    packed = pack([answer_branch(one) for one in batch])
    expected = [-(p(3, 5) + p(5, 6) + p(6, 9) + p(9, 10)), -(p(6, 4) + p(4, 9) + p(9, 10))]
    assert answer_losses(branch_logprobs(logits_of(packed), packed, 2)).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_loss_choice_of_equal_scores_is_the_logarithm_of_their_number() -> None:
    one = encoded(options=((4,), (5,), (6,)))
    packed = pack(option_branches(one, "total"))
    sums = branch_logprobs(torch.zeros(len(packed.predicting), V), packed, 3)
    assert float(choice_losses([one], sums, "total")) == pytest.approx(math.log(3))


def test_the_loss_of_a_contrast_is_how_surely_the_answer_is_read_under_its_own_adapter() -> None:
    assert float(contrast_loss(torch.tensor([-3.0, -4.0, -5.0]))) == pytest.approx(math.log(1 + math.exp(-1) + math.exp(-2)))
    assert float(contrast_loss(torch.tensor([-3.0]))) == 0


def test_item_scores_of_letters() -> None:
    one, other = encoded(options=((4,), (5,), (6,))), encoded(replace(MCQ_1, mcq_id="q2", answer=0), (1, 2, 6), ((4,), (5,), (6,)))
    packed = pack([branch for each in (one, other) for branch in option_branches(each, "total")])
    first, second = item_scores([one, other], logits_of(packed), packed, "total", letters=True)
    assert (first.mcq_id, first.template_id, first.culture, first.answer, first.order, first.state) == ("q1", "t1", "Spain", 1, (2, 0, 1), "scored")
    assert first.logprob == pytest.approx((p(3, 4), p(3, 5), p(3, 6)))
    assert (first.tokens, first.characters, first.empty_logprob) == ((1, 1, 1), (3, 5, 3), ())
    assert first.letter_mass == pytest.approx(sum(math.exp(p(3, token)) for token in (4, 5, 6)))
    # After 3 the weights are 4 5 1 2 3, repeated: token 1 is the first of the most probable ones; after 6 it is token 3.
    assert (first.greedy_token, first.free) == (1, False)
    assert (second.greedy_token, second.free) == (3, False)
    assert first.greedy_probability == pytest.approx(math.exp(p(3, 1)))


def test_the_free_reading_is_right_only_where_the_greedy_token_is_the_right_letter() -> None:
    one = encoded(options=((4,), (5,), (6,)))
    packed = pack(option_branches(one, "total"))
    for token, free in ((5, True), (4, False), (11, False)):
        logits = torch.zeros(len(packed.predicting), V)
        logits[:, token] = 3.0
        (score,) = item_scores([one], logits, packed, "total", letters=True)
        assert (score.greedy_token, score.free) == (token, free)


def test_item_scores_of_texts_have_no_letters() -> None:
    one = replace(encoded(), empty=encoded(context=(1, 3)))
    packed = pack(option_branches(one, "pmi"))
    (score,) = item_scores([one], logits_of(packed), packed, "pmi", letters=False)
    assert (score.letter_mass, score.free, score.tokens) == (None, None, (1, 2, 3))
    assert score.logprob == pytest.approx((p(3, 4), p(3, 5) + p(5, 6), p(3, 5) + p(5, 7) + p(7, 8)))
    assert len(score.empty_logprob) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_question_without_finite_scores_is_a_state_and_its_neighbour_is_not(value: float) -> None:
    one, other = encoded(), encoded(replace(MCQ_1, mcq_id="q2"), (1, 2, 6))
    packed = pack([branch for each in (one, other) for branch in option_branches(each, "total")])
    logits = logits_of(packed)
    logits[packed.predicting.tolist().index(2), 0] = value  # after the third token of the first question
    bad, good = item_scores([one, other], logits, packed, "total", letters=False)
    assert bad.state == "the model's log-probabilities are not finite"
    assert (bad.logprob, bad.tokens, bad.free) == ((), (), None)
    assert good.state == "scored"
    assert good.logprob == pytest.approx((p(6, 4), p(6, 5) + p(5, 6), p(6, 5) + p(5, 7) + p(7, 8)))


def test_a_question_that_was_not_put_keeps_its_place() -> None:
    score = unscored(MCQ_1, "its letters are two tokens")
    assert (score.mcq_id, score.answer, score.order, score.logprob, score.state) == ("q1", 1, (0, 1, 2), (), "its letters are two tokens")
