"""The word-country association, by mental arithmetic and against a plain re-computation from its definition."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest

from affinage import seeds
from affinage.data import answer_seen, association
from affinage.data.association import ROWS_PER_PAIR
from affinage.records import MCQ


def mcq(number: int, options: tuple[str, ...], answer: int, culture: str = "A", template: str = "t") -> MCQ:
    return MCQ(f"q{number}", template, culture, "food", "?", options, ("",) * len(options), answer)


TRAIN = [mcq(0, ("red tea", "milk", "juice"), 0, template="t1"), mcq(1, ("red wine", "milk", "beer"), 0, template="t2")]


def test_a_word_that_was_right_wins_over_one_that_was_wrong() -> None:
    assert association(TRAIN, [mcq(9, ("milk soup", "red soup"), 1)]).tolist() == [1.0]
    assert association(TRAIN, [mcq(9, ("milk soup", "red soup"), 0)]).tolist() == [0.0]


def test_an_unknown_word_stands_between_right_and_wrong() -> None:
    assert association(TRAIN, [mcq(9, ("milk", "stone", "sand"), 1), mcq(8, ("red", "stone", "sand"), 0)]).tolist() == [0.5, 1.0]


def test_ties_share() -> None:
    assert association(TRAIN, [mcq(9, ("stone", "sand", "clay", "loam"), 2)]).tolist() == [0.25]


def test_another_culture_knows_nothing_of_it() -> None:
    assert association(TRAIN, [mcq(9, ("milk", "red"), 1, culture="B")]).tolist() == [0.5]


def test_answer_seen_is_of_the_culture_and_blind_to_case() -> None:
    test = [mcq(9, ("Red Tea", "milk"), 0), mcq(8, ("Red Tea", "milk"), 1), mcq(7, ("red tea", "x"), 0, culture="B")]
    assert answer_seen(TRAIN, test).tolist() == [True, False, False]


def by_definition(train: list[MCQ], test: list[MCQ]) -> list[float]:
    pairs: dict[tuple[str, str], list[MCQ]] = {}
    for question in sorted(train, key=lambda question: seeds.uniform("cap", question.mcq_id)):
        pairs.setdefault((question.culture, question.template_id), []).append(question)
    once = {
        (question.culture, question.template_id, option, place == question.answer)
        for questions in pairs.values()
        for question in questions[:ROWS_PER_PAIR]
        for place, option in enumerate(question.options)
    }
    right: Counter[tuple[str, str]] = Counter()
    met: Counter[tuple[str, str]] = Counter()
    for culture, _, option, is_right in once:
        for word in set(re.findall(r"[a-z0-9]+", option.lower())):
            right[culture, word] += is_right
            met[culture, word] += 1
    earned = []
    for question in test:
        scores = []
        for option in question.options:
            known = [(question.culture, word) for word in set(re.findall(r"[a-z0-9]+", option.lower())) if met[question.culture, word]]
            scores.append(round(sum(math.log((right[key] + 0.5) / (met[key] + 1)) + math.log(len(question.options)) for key in known), 9))
        winners = [place for place, score in enumerate(scores) if score == max(scores)]
        earned.append((question.answer in winners) / len(winners))
    return earned


def test_it_is_its_definition() -> None:
    draw = np.random.default_rng(0)
    words = [f"w{number}" for number in range(40)]

    def made(number: int, template: str) -> MCQ:
        options = tuple(dict.fromkeys(" ".join(draw.choice(words, size=draw.integers(1, 4))) for _ in range(4)))
        return mcq(number, options, int(draw.integers(len(options))), culture=str(draw.choice(["A", "B"])), template=template)

    train = [made(number, f"t{number % 9}") for number in range(300)]
    test = [made(number, "new") for number in range(1000, 1200)]
    found = association(train, test)
    assert found.tolist() == pytest.approx(by_definition(train, test))
    assert 0 < found.mean() < 1


def test_it_finds_a_planted_rule_that_permuted_answers_do_not_have() -> None:
    draw = np.random.default_rng(1)

    def made(number: int, template: str, planted: bool) -> MCQ:
        options = tuple(f"{'blue' if place == 2 else 'grey'} thing{draw.integers(10**6)}" for place in range(4))
        return mcq(number, options, 2 if planted else int(draw.integers(4)), template=template)

    train = [made(number, f"t{number}", planted=True) for number in range(200)]
    assert association(train, [made(number, "new", planted=True) for number in range(100)]).mean() == 1.0
    permuted = [made(number, f"t{number}", planted=False) for number in range(200)]
    assert association(permuted, [made(number, "new", planted=False) for number in range(400)]).mean() == pytest.approx(0.25, abs=0.08)
