"""The page: it needs nothing else, everybody can read it, and it says the same in both languages."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from matplotlib.figure import Figure

from affinage.adapters import modelcard
from affinage.config import MethodConfig
from affinage.report import LANGUAGES, ReportPaths, build_report, figures, read_evidence, speaking, training, verdicts, write_report
from affinage.report.answers import answers
from affinage.report.cells import Cells
from affinage.report.charts import forests, heat_maps
from affinage.report.language import Language
from affinage.report.latex import table as latex_table
from affinage.report.page.meaning import limits, meaning
from affinage.report.page.page import drawings
from affinage.report.page.text import inline, paragraphs
from affinage.report.sections import sections
from affinage.report.state import state
from affinage.report.table import Picture, Table
from affinage.report.training import read_training
from affinage.report.words import called, many, number, percent, points, shown
from affinage.store import append_log
from plays import Play
from small_studies import BASE, Small, everywhere

HOSTILE = '<script>alert("x")</script> & {{ 123 * 456 }} $50_%'
VOID = {"meta", "link", "br", "img", "line", "circle", "path", "rect", "hr", "input"}


@dataclass
class Element:
    """One element with what is inside."""

    tag: str
    given: dict[str, str | None]
    inside: list[Element | str] = field(default_factory=list)

    def all(self, *tags: str) -> list[Element]:
        found = [self] if self.tag in tags else []
        return found + [each for child in self.inside if isinstance(child, Element) for each in child.all(*tags)]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.inside)


class Tree(HTMLParser):
    """A page as a tree; an element that is not closed, or closed twice, is an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(page)
        assert [each.tag for each in self.open] == [""]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods, one of whose labels is hostile, and a training log."""
    study = Play(labels=("prompt-tuning", HOSTILE), cultures=("Spain", "<b>Atlantis</b>"), templates=24).write(tmp_path_factory.mktemp("s"))
    for run in read_evidence(study).runs:
        if run.trained_culture == "Spain":
            for step in range(1, 21):
                append_log(study / run.run / "train.jsonl", {"step": step, "loss": 2.0 / step, "seconds": 0.5})
    return study


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, ReportPaths]:
    evidence = read_evidence(folder)
    return {language: write_report(evidence, folder / language, language) for language in LANGUAGES}


@pytest.fixture(scope="module", params=LANGUAGES)
def written(request: pytest.FixtureRequest, reports: dict[str, ReportPaths]) -> ReportPaths:
    return reports[request.param]


@pytest.fixture(scope="module")
def page(written: ReportPaths) -> str:
    return written.html.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree(page: str) -> Element:
    return Tree(page).root


# One file, that everybody can read -------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_from_elsewhere(page: str, tree: Element) -> None:
    for element in tree.all("script", "img", "link", "iframe", "source", "image", "use", "object", "embed"):
        for name in ("src", "href", "data", "xlink:href"):
            assert (element.given.get(name) or "data:").startswith("data:")
    assert not re.search(r"@import|url\((?!['\"]?data:)", page)
    for link in tree.all("a"):
        assert str(link.given["href"]).startswith(("#", "https://"))
    assert len(tree.all("script")) == 1


def test_headings_stand_in_order(tree: Element) -> None:
    levels = [int(each.tag[1]) for each in tree.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    # The contents' heading stands before the content's first one; no level is left out on the way down.
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert all(each.text.strip() for each in tree.all("h1", "h2", "h3", "h4"))


def test_every_name_is_given_once_and_every_reference_leads_somewhere(tree: Element) -> None:
    every = tree.all(*{each.tag for each in _walk(tree)})
    names = [each.given["id"] for each in every if "id" in each.given]
    assert len(names) == len(set(names))
    wanted = {str(link.given["href"])[1:] for link in tree.all("a") if str(link.given["href"]).startswith("#")}
    for name in ("aria-labelledby", "aria-describedby"):
        wanted |= {str(each.given[name]) for each in every if name in each.given}
    assert wanted <= set(names)


def _walk(element: Element) -> list[Element]:
    return [each for child in element.inside if isinstance(child, Element) for each in (child, *_walk(child))]


def test_every_picture_says_what_it_shows(tree: Element) -> None:
    images = tree.all("img")
    assert images
    assert all(len(str(image.given["alt"])) > 20 for image in images)
    # Inline drawings repeat what stands beside them in words.
    assert all(drawing.given.get("aria-hidden") == "true" or _inside_hidden(tree, drawing) for drawing in tree.all("svg"))


@pytest.mark.parametrize(("width", "whole"), [("806.4", True), ("446.4", False)])
def test_panels_side_by_side_have_the_whole_width(tmp_path: Path, width: str, whole: bool) -> None:
    (tmp_path / "panels.svg").write_text(f'<svg xmlns="x" width="{width}pt" height="200pt"/>')
    picture = Picture("panels", "Panels", "Two of them.", "Two panels, side by side.", Figure)
    (drawn,) = drawings((picture,), {"panels": tmp_path / "panels.svg"})
    assert drawn.wide is whole


def _inside_hidden(tree: Element, drawing: Element) -> bool:
    return any(drawing in outer.all("svg") for outer in tree.all("svg") if outer.given.get("aria-hidden") == "true")


def test_every_table_has_a_caption_and_scopes(tree: Element) -> None:
    found = tree.all("table")
    assert len(found) > 10
    for table in found:
        (caption,) = table.all("caption")
        assert caption.text.strip()
        heads = table.all("th")
        assert all(head.given.get("scope") in {"col", "row", "rowgroup"} and head.text.strip() for head in heads)
        assert sum(head.given["scope"] == "col" for head in heads) >= 1
    regions = [each for each in tree.all("div") if each.given.get("role") == "region"]
    assert all(region.given.get("tabindex") == "0" and "aria-labelledby" in region.given for region in regions)
    assert len(regions) == len(found)


def test_names_from_the_data_stay_text(page: str, tree: Element, written: ReportPaths) -> None:
    assert "<script>alert" not in page
    assert "<b>Atlantis" not in page
    assert "56088" not in page
    assert any(HOSTILE in each.text for each in tree.all("h3"))
    assert any("<b>Atlantis</b>" in each.text for each in tree.all("th"))
    for path in written.latex:
        text = path.read_text(encoding="utf-8")
        body = text[text.index("\n") :]
        assert not re.search(r"(?<!\\)[_#&]{2}|(?<!\\)%|(?<!\\)\$(?!-)(?<!-\$)", body), path.name


def test_the_page_begins_with_the_state_and_the_three_answers(tree: Element, written: ReportPaths) -> None:
    (main,) = tree.all("main")
    first = main.all("h3")[:3]
    assert [each.text for each in first] == [f"{place}. {_spaced(answer.question)}" for place, answer in enumerate(written.answers, start=1)]
    for answer in written.answers:
        assert _spaced(answer.sentence) in main.text
    assert tree.all("a")[0].given["href"] == "#content"


def _spaced(text: str) -> str:
    return text.replace(" %", "\u00a0%")


def test_both_languages_have_the_same_page(reports: dict[str, ReportPaths]) -> None:
    trees = [Tree(reports[language].html.read_text(encoding="utf-8")).root for language in ("en", "fr")]
    assert [each.given["lang"] for each in (tree.all("html")[0] for tree in trees)] == ["en", "fr"]
    shapes = [[each.tag for each in _walk(tree) if each.tag != "code"] for tree in trees]
    assert shapes[0] == shapes[1]
    english, french = ([each.text for each in tree.all("h2")] for tree in trees)
    assert all(left != right for left, right in zip(english, french, strict=True))
    said = [" ".join(each.text for each in tree.all("td")) for tree in trees]
    numbers = [re.findall(r"\d+[.,]\d", re.sub(r"(?<=\d),(?=\d{3}\b)", "", said[0])), re.findall(r"\d+[.,]\d", said[1])]
    assert [each.replace(".", ",") for each in numbers[0]] == numbers[1]
    assert "." not in "".join(numbers[1])


# What is drawn ---------------------------------------------------------------------------------------------------------------------------


def test_a_forest_draws_each_difference_at_its_place(folder: Path) -> None:
    found = verdicts(read_evidence(folder))
    drawn = {each.key: each for each in forests(found)}
    assert list(drawn) == ["better", "own", "new", "program"]
    ticks = {int(text.replace("−", "-")): place for place, text in drawn["better"].ticks}
    low, high = min(ticks), max(ticks)
    for group, verdict in zip(drawn["better"].groups, found, strict=True):
        assert [mark.pooled for mark in group.marks] == [False, False, True]
        assert group.marks[-1].estimate == verdict.claims[0].estimate
        for mark in group.marks:
            share = (100 * mark.estimate.value - low) / (high - low)
            assert mark.at == pytest.approx(ticks[low] + share * (ticks[high] - ticks[low]), abs=0.02)
            assert mark.text == points(mark.estimate.value)
            assert (mark.shows == "above") == mark.estimate.above


def test_a_cell_of_a_heat_map_tells_what_it_rests_on(folder: Path) -> None:
    evidence = read_evidence(folder)
    cells = Cells(evidence)
    shown = heat_maps(cells)[0]
    row = next(row for row in shown.rows if row.name == "Spain")
    assert [cell.own for cell in row.cells] == [True, False]
    cell = cells.cell(("prompt-tuning", "Spain"), "Spain", "choice", "template")
    assert cell.accuracy is not None
    assert row.cells[0].text == percent(cell.accuracy.mean)
    assert row.cells[0].colour == figures.colour_of(cell.accuracy.mean, figures.heat_scale(cells))
    assert re.fullmatch(
        r"trained on Spain, tested on Spain: [\d.]+ %; (95 % interval [\d.]+ to [\d.]+|[\d.]+ effective .*); 48 questions of 24 templates; 4 runs\.",
        row.cells[0].detail,
    )


def test_the_losses_are_those_of_the_logs(folder: Path, reports: dict[str, ReportPaths]) -> None:
    frames = json.loads(reports["en"].json.read_text(encoding="utf-8"))["frames"]
    losses = [row["loss"] for row in frames["training"] if row["label"] == "prompt-tuning"]
    assert losses == pytest.approx([2.0 / step for _ in range(4) for step in range(1, 21)])
    evidence = read_evidence(folder)
    (first, *_) = [run for run in evidence.runs if run.trained_culture == "Spain"]
    assert read_training(evidence, first)["step"].to_list() == list(range(1, 21))
    cost = [row for row in frames["cost"] if row["seconds"] is not None]
    assert {row["seconds"] for row in cost} == {10.0}


def test_a_study_without_logs_has_no_training(tmp_path: Path) -> None:
    assert training.section(Cells(read_evidence(Play(templates=12).write(tmp_path)))) is None


def test_the_json_holds_every_csv(reports: dict[str, ReportPaths]) -> None:
    written = reports["en"]
    frames = json.loads(written.json.read_text(encoding="utf-8"))["frames"]
    assert set(frames) == {path.stem for path in written.csv}
    for path in written.csv:
        assert len(frames[path.stem]) == len(pl.read_csv(path, infer_schema=False))


# What is answered ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("play", "begins"),
    [
        (Play(templates=48), ("Yes: ", "The study has one method", "It gains there: ")),
        (Play(own=0.3, other=0.3), ("Not shown: ", "The study has one method", "A gain there is not shown: ")),
        (Play(own=0.1, other=0.1), ("No: ", "The study has one method", "It loses there: ")),
        (Play(templates=16), ("Not told: ", "The study has one method", "Not told: ")),
        (Play(cultures=("Spain",), labels=("lora", "prompt-tuning")), ("Yes: ", "Not shown: ", "The study tests no adapter on another culture.")),
    ],
)
def test_what_the_three_questions_may_be_answered(tmp_path: Path, play: Play, begins: tuple[str, str, str]) -> None:
    evidence = read_evidence(play.write(tmp_path))
    found = answers(evidence, verdicts(evidence))
    for answer, begin in zip(found, begins, strict=True):
        assert answer.sentence.startswith(begin), answer.sentence
        if answer.estimate is not None and not math.isnan(answer.estimate.value):
            holds = answer.estimate.above or answer.estimate.below
            assert ("contains zero" in answer.sentence.split(";")[0]) == (answer.estimate.low is not None and not holds)


def test_a_study_without_adapters_answers_nothing(tmp_path: Path) -> None:
    written = build_report(Play(labels=()).write(tmp_path))
    assert written.answers == ()
    assert 'id="answers"' not in written.html.read_text(encoding="utf-8")


# What is said ----------------------------------------------------------------------------------------------------------------------------


def test_the_words_about_cultures_are_those_of_a_model_card(folder: Path) -> None:
    template = (Path(modelcard.__file__).parent / "templates" / "model-card.md.j2").read_text(encoding="utf-8")
    card = " ".join(template.split())
    evidence = read_evidence(folder)
    kept = ("It describes no person, it may repeat stereotypes, and it is not for guessing or assigning anyone's culture.",)
    for sentence in kept:
        assert sentence in card
        assert any(sentence in line for line in meaning(evidence))
    assert any("People under one label differ from each other more than any adapter can say." in line for line in limits(evidence))
    assert "People under one label differ from each other more than any adapter can say." in card


@pytest.mark.parametrize(
    ("count", "english", "french"), [(0, "0 runs", "0 exécution"), (1, "1 run", "1 exécution"), (1200, "1,200 runs", "1\u202f200 exécutions")]
)
def test_nouns_have_the_plural_of_their_language(count: int, english: str, french: str) -> None:
    assert many(count, "run") == english
    with speaking("fr"):
        assert many(count, "run") == french
    with pytest.raises(LookupError, match="no plural known"):
        many(count, "ox")


def test_numbers_have_the_form_of_their_language() -> None:
    with speaking("fr"):
        assert (number(1234567.5, ",.1f"), percent(0.123), points(-0.05), points(0.0001)) == ("1\u202f234\u202f567,5", "12,3", "−5,0", "0,0")
    assert (number(1234567.5, ",.1f"), percent(0.123), points(0.05)) == ("1,234,567.5", "12.3", "+5.0")


def test_a_label_inside_a_sentence_keeps_its_letters() -> None:
    assert [called(label) for label in ("lora", "prompt-tuning")] == ["LoRA", "prompt-tuning"]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a < b & `x_1`", "<p>a &lt; b &amp; <code>x_1</code></p>"),
        ("**one** 5 %", "<p><strong>one</strong> 5\u00a0%</p>"),
        ("one\n\n* two\n* three", "<p>one</p>\n<ul><li>two</li><li>three</li></ul>"),
    ],
)
def test_text_becomes_html(text: str, html: str) -> None:
    assert str(paragraphs(text)) == html
    assert str(inline("`<b>`")) == "<code>&lt;b&gt;</code>"


def test_latex_knows_what_a_french_number_is_made_of() -> None:
    table = Table("key", "Titre\u00a0: 5\u202f%", "x ≥ 1", ("", "«\u00a0a\u00a0»"), (("1\u202f200", "± 2,0"),))
    text = latex_table(table)
    assert r"Titre~: 5\,\%" in text
    assert r"1\,200 & $\pm$ 2,0 \\" in text
    assert r"$\geq$" in text


def test_an_unknown_language_is_refused(folder: Path) -> None:
    from affinage.cli.report import write  # noqa: PLC0415
    from affinage.records import UserError  # noqa: PLC0415

    with pytest.raises(UserError, match=r"--language.*'de'"):
        write(folder, "de")


# French, to the last word -----------------------------------------------------------------------------------------------------------------


def test_a_french_page_says_in_french_why_it_is_provisional(tmp_path: Path) -> None:
    reason = "a trial with at most 40 questions per culture and side"
    folder = Play(provisional=(reason, "a reason of another version")).write(tmp_path)
    assert state(read_evidence(folder)).provisional == f"Provisional, no result: {reason}; a reason of another version."
    french = build_report(folder, "fr").html.read_text(encoding="utf-8")
    assert "Provisoire\u00a0: a play</h1>" in french
    assert "essai limité à 40 questions par culture et par côté du découpage\u202f; a reason of another version." in french
    assert reason not in french


def test_a_french_page_names_controls_in_french(tmp_path: Path) -> None:
    runs = {("lora", "other-cultures.Spain"): {"Spain": range(10)}, ("lora", "format-control"): everywhere(2)}
    folder = Small({**BASE, **runs}).write(tmp_path)
    heads = {}
    for language in LANGUAGES:
        with speaking(language):
            tables = {table.key: table for section in sections(Cells(read_evidence(folder))) for table in section.tables}
        table = tables["controls-lora"]
        heads[language] = [row[0].strip() for row in table.rows]
        (note,) = table.notes
        assert "zero-shot" in note
        assert note[1:] in tables["controls-lora-pooled"].text or note in tables["controls-lora-pooled"].text
    assert {"other-cultures", "other-cultures − untouched", "format-control"} <= set(heads["en"])
    assert {"autres cultures", "autres cultures − intact", "témoin de format"} <= set(heads["fr"])
    without = Small({**BASE, ("lora", "format-control"): everywhere(2)}).write(tmp_path / "without")
    assert not any("zero-shot" in note for section in sections(Cells(read_evidence(without))) for table in section.tables for note in table.notes)


def test_the_colons_and_semicolons_of_a_french_page_have_their_spaces(reports: dict[str, ReportPaths]) -> None:
    tree = Tree(reports["fr"].html.read_text(encoding="utf-8")).root
    said = [each.text for each in tree.all("h1", "h2", "h3", "h4", "caption", "figcaption") if HOSTILE not in each.text]
    said += [each.text for each in tree.all("p") if each.given.get("class") == "ramp"]
    assert any("\u00a0:" in text for text in said)
    assert not [text for text in said if re.search(r"\w[:;] ", text)]


@pytest.mark.parametrize("out", [["Spain"], "each"])
def test_sentences_say_which_adapters_never_saw_their_culture(tmp_path: Path, out: object) -> None:
    evidence = read_evidence(Play(labels=("prompt-tuning", "lora")).write(tmp_path))
    said = {answer.key: answer.sentence for answer in answers(evidence, verdicts(evidence))}
    assert not any("zero-shot" in text for text in (*said.values(), *(verdict.conclusion for verdict in verdicts(evidence))))
    method = MethodConfig(name="prompt-tuning", settings={"held_out": out})
    config = evidence.study.config.model_copy(update={"methods": (method, MethodConfig(name="lora"))})
    held = replace(evidence, study=replace(evidence.study, config=config))
    listed = ", ".join(map(shown, held.cultures)) if out == "each" else "Spain"
    begun: dict[Language, str] = {"en": "Trained without the culture that it is for (zero-shot): ", "fr": "(zero-shot)\u00a0: "}
    for language, begins in begun.items():
        with speaking(language):
            found = verdicts(held)
            said = {answer.key: answer.sentence for answer in answers(held, found)}
        ends = f"{begins}prompt-tuning." if out == "each" else f"{begins}prompt-tuning (Spain)."
        assert all(text.endswith(ends) for text in said.values())
        conclusions = {verdict.label: verdict.conclusion for verdict in found}
        assert conclusions["prompt-tuning"].endswith(f"{begins}{listed}.")
        assert "zero-shot" not in conclusions["lora"]


def test_a_map_does_not_say_that_an_adapter_was_trained_on_what_it_never_saw(tmp_path: Path) -> None:
    evidence = read_evidence(Play(labels=("prompt-tuning",)).write(tmp_path))
    config = evidence.study.config.model_copy(update={"methods": (MethodConfig(name="prompt-tuning", settings={"held_out": ["Spain"]}),)})
    (drawn,) = heat_maps(Cells(replace(evidence, study=replace(evidence.study, config=config))))
    rows = {row.name: row for row in drawn.rows if row.adapter}
    assert rows["Spain (zero-shot)"].cells[0].detail.startswith("made for Spain (zero-shot), tested on ")
    assert all(row.cells[0].detail.startswith(f"trained on {name}, ") for name, row in rows.items() if "zero-shot" not in name)


def test_the_figures_of_a_french_report_have_no_decimal_points(reports: dict[str, ReportPaths]) -> None:
    def numbers(language: str) -> list[str]:
        paths = [path for path in (*reports[language].figures, *reports[language].pictures) if path.suffix == ".svg"]
        assert paths
        texts = [text for path in paths for text in re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))]
        return [text for text in texts if re.fullmatch(r"\s*[−±+]?\s?\d+[.,]\d+\s*", text)]

    assert any("." in text for text in numbers("en"))
    assert not any("," in text for text in numbers("en"))
    assert any("," in text for text in numbers("fr"))
    assert not any("." in text for text in numbers("fr"))
