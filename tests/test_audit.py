"""The audit on small made data: each number by its definition, and what it writes."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from affinage.audit import audit, tables, write_audit
from affinage.audit.agreement import agreements, same_answer
from affinage.audit.base import EVERY, Audit, as_json
from affinage.audit.composition import composition, duplicates
from affinage.audit.findings import program_of
from affinage.audit.page import html, markdown
from affinage.audit.precision import ERRORS_NEEDED, paired_gain, precision, unpaired_gain
from affinage.audit.programs import schemes, sides
from affinage.config import SplitConfig
from affinage.data import Dataset, Terms, choice_sources, load, make_splits
from affinage.data.base import AGREEMENT, NO_LICENCE, as_frame
from affinage.data.rows import assemble
from affinage.records import BASELINES, MCQ, Fault, Split, UserError
from affinage.stats import kish
from tiny import questions

TERMS = Terms("CC-BY-4.0", "Somebody, Questions, 2026", "https://example.org", "Be kind.")


def made(rows: list[MCQ], terms: Terms = TERMS, **values: object) -> Dataset:
    return replace(assemble("made", as_frame(rows), terms, where="here"), **values)  # type: ignore[arg-type]  # any field of a data set


def mcq(number: int, options: str, answer: int, culture: str = "A", template: str = "t", *, whose: str = "") -> MCQ:
    words = tuple(options.split())
    cultures = tuple(whose.split()) or ("",) * len(words)
    return MCQ(f"q{number}", template, culture, "food", f"What is <b>eaten</b> | in {culture} at {template}?", words, cultures, answer)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Two cultures, forty templates of three rows; the first culture's right options are red, the other's blue."""
    rows = [
        *questions("Atlantis", 40, rows=3, rule=lambda _: "red"),
        *questions("Lemuria", 40, rows=3, rule=lambda _: "blue"),
    ]
    return made(rows)


@pytest.fixture(scope="module")
def seen(dataset: Dataset) -> Audit:
    return audit(dataset, make_splits(dataset, SplitConfig(count=2)))


class TestComposition:
    """Counts and shares."""

    ROWS = (
        mcq(0, "a b", 0),
        mcq(1, "a c", 0),
        mcq(2, "a d", 1, whose="A dummy"),
        mcq(3, "a b", 0, template="u"),
        mcq(4, "a Not-Applicable", 1, culture="B"),
        mcq(5, "a b c", 2, culture="B", template="u"),
    )

    def test_by_hand(self) -> None:
        a, b, every = composition(made(list(self.ROWS)))
        assert (a.culture, a.rows, a.templates, a.median, a.maximum) == ("A", 4, 2, 2.0, 3)
        assert (a.top_tenth, a.effective) == (0.75, 1.6)
        assert a.places == (0.75, 0.25, 0.0)
        assert (a.majority, a.dummies, a.not_applicable) == (0.75, 0.25, 0.0)
        assert (b.places, b.majority, b.not_applicable) == ((0.0, 0.5, 0.5), 0.5, 0.5)
        assert (every.culture, every.rows, every.median, every.maximum) == (EVERY, 6, 1.0, 3)
        assert every.majority == pytest.approx((3 + 1) / 6)

    def test_effective_number(self) -> None:
        assert kish(pl.Series([3, 1])) == pytest.approx(16 / 10)
        assert kish(pl.Series([2, 2, 2])) == pytest.approx(3)

    def test_duplicates_follow_edited_groups_and_hold_no_text_that_may_not_be_passed_on(self) -> None:
        rows = [mcq(0, "a b", 0, template="x"), mcq(1, "a b", 0, template="y"), mcq(2, "a b", 0, template="z")]
        texts = {"x": "What is eaten at noon?", "y": "What is eaten at noon there?", "z": "Who sings?"}
        found = duplicates(made(rows, open_questions=texts))
        assert (found.pairs, found.templates, found.of) == (1, 2, 3)
        assert [[each.question for each in group] for group in found.groups] == [[texts["x"], texts["y"]]]
        edited = duplicates(made(rows, open_questions=texts, groups={"x": "x", "y": "y", "z": "y"}))
        assert [[each.template_id for each in group] for group in edited.groups] == [["y", "z"]]
        closed = duplicates(made(rows, replace(TERMS, licence=NO_LICENCE), open_questions=texts))
        assert [each.question for group in closed.groups for each in group] == ["", ""]


def drawn(votes: int, annotators: int, right_answers: int, *, scattered: bool) -> float:
    """`same_answer` by drawing panels."""
    rest = max(annotators - votes * right_answers, 0)
    rivals = [votes] * (right_answers - 1)
    while rest:
        rivals.append(1 if scattered else min(max(votes - 1, 1), rest))
        rest -= rivals[-1]
    shares = np.array([votes, *rivals]) / annotators
    counts = np.random.default_rng(0).binomial(annotators, shares, size=(100_000, len(shares)))
    elected = (counts[:, 0] == counts.max(axis=1)) & (counts[:, 0] > 0)
    return float((elected / (counts == counts.max(axis=1, keepdims=True)).sum(axis=1)).mean())


class TestAgreement:
    """What votes say about a native and a fresh panel."""

    def test_by_hand(self) -> None:
        assert same_answer(5, 5, 1, scattered=False) == pytest.approx(1)
        # Two annotators who disagree, right answer and rival likewise: nobody 1/4, one vote 1/2, both 1/4.
        assert same_answer(1, 2, 1, scattered=True) == pytest.approx(1 / 2 * (1 / 4 + 1 / 2 / 2) + 1 / 4 * (3 / 4 + 1 / 4 / 2))
        assert same_answer(2, 2, 2, scattered=True) == pytest.approx(1 / 2)

    @pytest.mark.parametrize("case", [(3, 5, 1), (2, 5, 2), (2, 5, 1), (3, 5, 3), (4, 6, 1)])
    @pytest.mark.parametrize("scattered", [True, False])
    def test_against_drawn_panels(self, case: tuple[int, int, int], scattered: bool) -> None:
        assert same_answer(*case, scattered=scattered) == pytest.approx(drawn(*case, scattered=scattered), abs=0.006)

    def test_united_rivals_are_worse_than_scattered_ones(self) -> None:
        assert same_answer(3, 5, 1, scattered=False) < same_answer(3, 5, 1, scattered=True) < 1
        for annotators in range(1, 8):
            for votes in range(1, annotators + 1):
                assert same_answer(votes, annotators, 1, scattered=False) <= same_answer(votes, annotators, 1, scattered=True) + 1e-12

    def test_only_pairs_with_questions_count(self) -> None:
        votes = pl.DataFrame([("A", "t", 2, 5, 2), ("A", "u", 4, 5, 1), ("B", "t", 5, 5, 1)], schema=AGREEMENT, orient="row")
        dataset = made([mcq(0, "a b", 0), mcq(1, "a b", 0, template="u"), mcq(2, "a b", 0, template="v")], agreement=votes)
        a, every = agreements(dataset)
        assert (a.culture, a.pairs, a.two_votes, a.ties) == ("A", 2, 0.5, 0.5)
        assert a.native == pytest.approx(0.6)
        assert a.panel_low == pytest.approx((same_answer(2, 5, 2, scattered=False) + same_answer(4, 5, 1, scattered=False)) / 2)
        assert replace(every, culture="A") == a
        assert agreements(made([mcq(0, "a b", 0)])) == ()
        assert agreements(made([mcq(0, "a b", 0, template="none")], agreement=votes)) == ()


class TestPrograms:
    """Ways of dividing."""

    def test_what_each_way_lets_through(self, dataset: Dataset) -> None:
        by = {scheme.name: scheme for scheme in schemes(dataset)}
        assert list(by) == ["row", "pair", "template"]
        # Colours are the whole secret here: the association knows them in every way of dividing.
        assert all(program_of(scheme.programs, "association").score == 1 for scheme in by.values())
        assert [program_of(by[way].programs, "memoriser").score for way in ("pair", "template")] == pytest.approx([0.25, 0.25])
        assert program_of(by["template"].programs, "elimination").score == pytest.approx(0.25)
        assert program_of(by["template"].programs, "chance", "Lemuria").score == pytest.approx(0.25)

    def test_a_memoriser_needs_the_pair_and_elimination_the_template(self) -> None:
        rows = [
            mcq(100 * template + 10 * culture + row, " ".join(f"o{template}{each}" for each in range(4)), culture, f"c{culture}", f"t{template}")
            for template in range(12)
            for culture in range(4)
            for row in range(3)
        ]
        by = {scheme.name: scheme for scheme in schemes(made(rows))}
        assert program_of(by["row"].programs, "memoriser").score > 0.8
        # Each of the others' answers that is in training is struck; on average three of five stay.
        assert program_of(by["pair"].programs, "elimination").score > 0.6
        assert program_of(by["pair"].programs, "memoriser").score == pytest.approx(0.25)

    def test_no_fold_of_one_question(self) -> None:
        assert schemes(made([mcq(0, "a b", 0)])) == ()

    def test_sides_are_the_split_s(self, dataset: Dataset) -> None:
        train, test = frozenset({"t000", "t001"}), frozenset({"t002"})
        (side,) = sides(dataset, [Split("s", train, test), Split("empty", train, frozenset({"none"}))])
        assert (side.name, side.train_rows, side.test_rows) == ("s", 12, 6)
        assert [each.culture for each in side.precision] == ["Atlantis", "Lemuria"]
        assert {(program.name, program.culture) for program in side.programs} >= {(name, EVERY) for name in BASELINES}


class TestPrecision:
    """Standard errors and gains."""

    def test_by_hand(self) -> None:
        rows = [("A", "g", "t1", 3), ("A", "g", "t2", 3), ("A", "h", "u", 2)]
        frame = pl.DataFrame(
            [(f"{template}{row}", culture, template, group, 1.0) for culture, group, template, count in rows for row in range(count)],
            schema=["mcq_id", "culture", "template_id", "group", "association"],
            orient="row",
        )
        (found,) = precision(frame)
        assert (found.rows, found.templates, found.groups) == (8, 3, 2)
        assert found.effective == pytest.approx(64 / 40)
        assert found.error_rows == pytest.approx(0.5 / math.sqrt(64 / 40))
        assert found.error_templates == pytest.approx(0.5 / math.sqrt(9 / 5))
        assert found.measured_rows is None

    def test_the_bound_is_reached_by_an_all_or_nothing_scorer(self) -> None:
        frame = pl.DataFrame(
            [(f"{group}-{row}", "A", f"t{group}", f"g{group}", float(group % 2)) for group in range(40) for row in range(3)],
            schema=["mcq_id", "culture", "template_id", "group", "association"],
            orient="row",
        )
        (found,) = precision(frame)
        assert found.error_rows == pytest.approx(0.5 / math.sqrt(40))
        # The sample deviation divides by 39, the bound by 40.
        assert found.measured_rows == pytest.approx(found.error_rows * math.sqrt(40 / 39))
        assert found.measured_templates == pytest.approx(found.measured_rows)

    def test_gains(self) -> None:
        assert unpaired_gain(0.05) == pytest.approx(ERRORS_NEEDED * math.sqrt(2) * 0.05)
        assert paired_gain(0.05) == pytest.approx(0.14)


class TestFindings:
    """Sentences."""

    def test_what_is_found_depends_on_the_data(self, seen: Audit) -> None:
        keys = {finding.key for finding in seen.findings}
        assert {"association", "precision", "agreement", "terms"} <= keys
        assert keys.isdisjoint({"malformed", "left-out", "dummies", "not-applicable", "no-split", "options"})
        weights = [finding.weight for finding in seen.findings]
        assert weights == sorted(weights, reverse=True)
        assert all(finding.fact.endswith(".") and finding.advice.endswith(".") for finding in seen.findings)

    def test_faults_left_out_dummies_and_closed_terms(self) -> None:
        rows = [mcq(0, "a b", 0), mcq(1, "a not-applicable c", 0, whose="A B dummy")]
        faults = (Fault("f", 1, "id 'x' occurs before"), Fault("f", 2, "id 'y' occurs before"), Fault("f", 3, "no id"))
        found = audit(made(rows, replace(TERMS, licence=NO_LICENCE), faults=faults, left_out={"too few": 7}), refused="too few templates.")
        facts = {finding.key: finding.fact for finding in found.findings}
        assert {"malformed", "left-out", "dummies", "not-applicable", "terms", "no-split", "options"} <= facts.keys()
        assert facts["malformed"] == "Set aside: 3 malformed rows."
        assert Counter({fault.name: fault.rows for fault in found.faults}) == {"id '...' occurs before": 2, "no id": 1}
        assert found.first_faults[0] == "f:1: id 'x' occurs before"
        assert "What is" not in markdown(found)
        assert found.sides == ()


@pytest.mark.parametrize("name", choice_sources)
def test_every_source_can_be_audited(name: str, tmp_path: Path) -> None:
    dataset = load(choice_sources.get(name).sample(tmp_path))
    found = audit(dataset, refused="a sample.")
    assert found.composition[-1].rows == len(dataset)
    assert f"Audit of {dataset.name}" in html(found)
    if not dataset.terms.may_pass_on:
        assert not any(each.question for group in found.duplicates.groups for each in group)


class TestFiles:
    """What is written."""

    def test_every_format(self, seen: Audit, tmp_path: Path) -> None:
        paths = write_audit(seen, tmp_path / "new" / "audit")
        found = json.loads(paths.json.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert found["origin"]["questions"] == 240
        assert found == as_json(seen)
        text = paths.markdown.read_text(encoding="utf-8")
        assert all(f"## {table.title}" in text for table in tables(seen))
        assert all(finding.advice in text for finding in seen.findings)
        frames = {path.stem: pl.read_csv(path) for path in paths.csv}
        assert frames["cultures"]["culture"].to_list() == ["Atlantis", "Lemuria", EVERY]
        assert frames["programs"].filter(by="template", name="association", culture=EVERY)["score"].to_list() == [1.0]
        assert set(frames["split-precision"]["split"]) == {side.name for side in seen.sides}

    def test_what_is_no_finite_number_is_null(self) -> None:
        assert as_json((math.nan, math.inf, 1.5, None, "x")) == [None, None, 1.5, None, "x"]

    def test_a_text_of_the_source_stands_beside_its_terms_only(self, tmp_path: Path) -> None:
        rows = [mcq(number, "a b", 0, template=template) for number, template in enumerate("xyz")]
        texts = {"x": "Which lamps are lit at noon?", "y": "Which lamps are lit at noon there?", "z": "Who sings?"}
        paths = write_audit(audit(made(rows, open_questions=texts), refused="too few templates."), tmp_path)
        assert "near-duplicates" in {path.stem for path in paths.csv}
        assert not any("lamps" in path.read_text(encoding="utf-8") for path in paths.csv)
        for path in (paths.page, paths.markdown, paths.json):
            assert "lamps" in path.read_text(encoding="utf-8")
            assert TERMS.licence in path.read_text(encoding="utf-8")

    def test_a_folder_that_cannot_be_made(self, seen: Audit, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(UserError, match="a folder that can be written to"):
            write_audit(seen, tmp_path / "file" / "audit")

    def test_the_page_needs_nothing_else_and_holds_every_number(self, seen: Audit) -> None:
        page = html(seen)
        assert "<script" not in page
        assert not re.findall(r"(?:src|href|url)\s*[=(]", page)
        assert "prefers-color-scheme: dark" in page
        for table in tables(seen):
            assert all(cell.text in page for row in table.rows for cell in row)

    def test_texts_are_escaped(self) -> None:
        rows = [mcq(0, "a b", 0, template="noon"), mcq(1, "a b", 1, template="one"), mcq(2, "a b", 1, culture="<i>", template="one")]
        texts = {"noon": "What is <b>eaten</b> | a lot?", "one": "What is <b>eaten</b> | a lot there?"}
        found = audit(made(rows, open_questions=texts))
        page = html(found)
        assert "&lt;b&gt;eaten" in page
        assert "&lt;i&gt;" in page
        assert "<b>" not in page
        assert "<i>" not in page
        assert "<b>eaten</b> \\| a lot" in markdown(found)

    def test_tables_are_rectangles(self, seen: Audit) -> None:
        def lengths() -> Iterator[tuple[int, int]]:
            for table in tables(seen):
                yield from ((len(table.header), len(row)) for row in table.rows)

        assert all(header == row for header, row in lengths())
