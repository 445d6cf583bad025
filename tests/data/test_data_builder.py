"""The builder by mental arithmetic: cultures A to E, answers whose letters say whose they are."""

from __future__ import annotations

import time
from dataclasses import replace
from math import comb
from pathlib import Path

import pytest

from affinage.data.builder import ShortAnswers, build, distractors, right_answers
from affinage.data.clash import Answer, Clashes, ClashRule, clash_rule, lexical_clash
from affinage.records import UserError

LEXICAL = clash_rule("lexical")


def entry(culture: str, *answers: tuple[str, int], unknown: int = 0, template: str = "t") -> ShortAnswers:
    return ShortAnswers(template, culture, "food", f"What in {culture}?", tuple(Answer(text, votes) for text, votes in answers), unknown)


FOUR = [entry("A", ("apple", 3)), entry("B", ("bread", 3)), entry("C", ("corn", 3)), entry("D", ("dates", 3))]


def test_one_question_for_each_culture() -> None:
    frame = build(FOUR, LEXICAL).frame
    assert frame.height == 4
    assert frame["options"].to_list() == [["apple", "bread", "corn", "dates"]] * 4
    assert frame["option_cultures"].to_list() == [["A", "B", "C", "D"]] * 4
    assert dict(zip(frame["culture"], frame["answer"], strict=True)) == {"A": 0, "B": 1, "C": 2, "D": 3}


def test_every_combination_of_three_distractors_becomes_a_question() -> None:
    entries = [entry(chr(65 + place), (f"{chr(97 + place) * 3}", 3)) for place in range(7)]
    frame = build(entries, LEXICAL).frame
    assert frame.height == 7 * comb(6, 3)
    assert frame["mcq_id"].is_unique().all()
    for options, answer, culture in frame.select("options", "answer", "culture").iter_rows():
        assert options == sorted(options)
        assert options[answer] == culture.lower() * 3
    assert len({(culture, *options) for culture, options in frame.select("culture", "options").iter_rows()}) == frame.height


def test_all_most_voted_answers_are_right_each_in_its_own_row() -> None:
    tie = entry("A", ("apple", 2), ("pear", 2), ("fig", 1))
    assert right_answers(tie) == ["apple", "pear"]
    frame = build([tie, *FOUR[1:]], LEXICAL).frame
    rows = frame.filter(frame["culture"] == "A")
    assert sorted(options[answer] for options, answer in rows.select("options", "answer").iter_rows()) == ["apple", "pear"]


@pytest.mark.parametrize(("votes", "unknown", "takes_part"), [(2, 2, True), (1, 0, False), (5, 3, False)])
def test_a_culture_takes_part_when_two_agree_and_at_most_two_do_not_know(votes: int, unknown: int, takes_part: bool) -> None:
    doubtful = entry("A", ("apple", votes), unknown=unknown)
    assert bool(right_answers(doubtful)) is takes_part
    built = build([doubtful, *FOUR[1:]], LEXICAL)
    assert ("A" in built.frame["culture"].to_list()) is takes_part
    assert bool(built.left_out) is not takes_part


def test_distractors_are_most_voted_first_one_per_culture_and_clash_with_nothing() -> None:
    own = entry("A", ("apple pie", 3), ("single vote", 1))
    others = [
        entry("B", ("apple", 5), ("bread", 2)),  # apple is inside the own answer, so B's second answer serves
        entry("C", ("corn", 4), ("cake", 3)),
        entry("D", ("corn bread", 3), ("dates", 2)),  # shares a word with C's, which has more votes
        entry("E", ("another vote", 5), ("eel", 1)),  # clashes with an answer of the culture that one annotator gave; eel has one vote
    ]
    clashes = Clashes(LEXICAL, "t", [])
    assert distractors(own, others, clashes) == [("corn", "C"), ("bread", "B"), ("dates", "D")]


def test_too_few_distractors_make_no_question() -> None:
    built = build(FOUR[:3], LEXICAL)
    assert built.frame.is_empty()
    assert built.left_out == {"fewer than 3 distractors that do not clash": 3}


def test_ids_do_not_depend_on_other_rows() -> None:
    four, five = build(FOUR, LEXICAL).frame, build([*reversed(FOUR), entry("E", ("eel", 3))], LEXICAL).frame
    assert five.height == 5 * comb(4, 3)
    assert set(four["mcq_id"]) < set(five["mcq_id"])
    same = five.filter(five["mcq_id"].is_in(four["mcq_id"].to_list()))
    assert same.sort("mcq_id").equals(four.sort("mcq_id"))


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("8", "8.0", True),
        ("2", "12", False),
        ("8:00", "08:00", True),
        ("2:00", "12:00", False),
        ("12/01", "12/24", False),
        ("tea", "green tea", True),
        ("ham", "hamburger", True),
        ("fish and chips", "chips/fries", True),
        ("dried fruits/nuts", "nuts", True),
        ("tea", "coffee", False),
    ],
)
def test_lexical_clash(one: str, other: str, clash: bool) -> None:
    assert lexical_clash(one, other) is lexical_clash(other, one) is clash


def test_annotators_clusters_clash_directly_and_through_a_shared_form() -> None:
    football = Answer("football", 3, frozenset({"football", "soccer"}))
    answers = [football, Answer("futsal", 2, frozenset({"futsal", "soccer"})), Answer("tennis", 2)]
    strict, loose = Clashes(ClashRule(clusters=True), "t", answers), Clashes(LEXICAL, "t", answers)
    assert strict("football", "soccer")
    assert strict("futsal", "soccer")
    assert not strict("football", "tennis")
    assert not loose("football", "soccer")


def test_a_file_of_judged_pairs_is_added_to_the_clusters(tmp_path: Path) -> None:
    path = tmp_path / "judged.tsv"
    path.write_text("answer_a\tanswer_b\ttemplate\nBread\ttoast\t\ncorn\tmaize\tother\n", encoding="utf-8")
    rule = clash_rule(str(path))
    assert rule.clusters
    assert Clashes(rule, "t", [])("toast", "bread")
    assert not Clashes(rule, "t", [])("corn", "maize")
    assert Clashes(rule, "other", [])("maize", "corn")
    toast = [*FOUR[:1], entry("B", ("toast", 3)), *FOUR[2:], entry("E", ("bread", 2))]
    assert build(toast, LEXICAL).frame.height > build(toast, rule).frame.height


def test_a_clash_setting_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'cluster'.*expected 'lexical', 'clusters' or a file"):
        clash_rule("cluster")
    path = tmp_path / "judged.csv"
    path.write_text("answer_a,answer_b\nbread,\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"judged\.csv:2: found an empty answer"):
        clash_rule(str(path))


def test_four_hundred_thousand_rows_are_made_in_seconds() -> None:
    cultures = [chr(65 + place) for place in range(15)]
    letters = [f"{culture * 3} {culture * 4}".lower() for culture in cultures]
    entries = [
        replace(entry(culture, (text, 3)), template_id=f"t{number}") for number in range(74) for culture, text in zip(cultures, letters, strict=True)
    ]
    begin = time.perf_counter()
    assert build(entries, LEXICAL).frame.height == 74 * 15 * comb(14, 3) > 400_000
    assert time.perf_counter() - begin < 20
