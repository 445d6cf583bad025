"""Every sentence of the report stands in every language, with the same places."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import affinage
from affinage.config import SplitConfig, StudyConfig
from affinage.controls import registered as controls
from affinage.prompting import registered as baselines
from affinage.report import language
from affinage.report.language import LANGUAGES, Language, catalogue, retell, say, speaking
from affinage.report.ticks import speak_ticks
from affinage.store import Checkout
from affinage.study.plan import _provisional

REPORT = Path(language.__file__).parent
TRANSLATED = [code for code in LANGUAGES if code != "en"]


def sentences() -> Iterator[tuple[str, str]]:
    """(file and line, English sentence) of every call of `say` in the report."""
    for file in sorted(REPORT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say" and node.args:
                where = f"{file.relative_to(REPORT)}:{node.lineno}"
                first = node.args[0]
                assert isinstance(first, ast.Constant), f"{where}: the sentence is no literal"
                assert isinstance(first.value, str), f"{where}: the sentence is no text"
                yield where, first.value


def places(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_sentence_is_translated_with_its_places(code: Language) -> None:
    known = catalogue(code)
    missing = [f"{where}: {english}" for where, english in sentences() if english not in known]
    assert not missing, "\n".join(missing)
    for english, other in known.items():
        assert places(english) == places(other), english


@pytest.mark.parametrize("code", TRANSLATED)
def test_the_catalogue_holds_no_sentence_that_nobody_says(code: Language) -> None:
    said = {english for _, english in sentences()}
    assert not sorted(set(catalogue(code)) - said)


def test_a_sentence_without_translation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "catalogue", lambda code: {"{count} questions": "{count} questions, en français"})
    assert say("{count} questions", count=3) == "3 questions"
    with speaking("fr"):
        assert say("{count} questions", count=3) == "3 questions, en français"
        with pytest.raises(LookupError, match="no translation"):
            say("{count} answers", count=3)
    assert say("{count} answers", count=3) == "3 answers"


# What a study's files hold in English ------------------------------------------------------------------------------------------------------


def kept(code: str, kind: str) -> dict[str, str]:
    """The translations of one kind of stored texts."""
    found: dict[str, dict[str, str]] = yaml.safe_load((REPORT / "languages" / code / "stored.yaml").read_text(encoding="utf-8"))
    return found[kind]


def constants(folder: Path) -> set[str]:
    """Every text that stands in the package's code, one that is written on several lines as one."""
    nodes = (node for file in folder.rglob("*.py") for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_control_and_baseline_has_a_name_in_every_language(code: Language) -> None:
    names = [*controls, *baselines]
    assert {"format-control", "few-shot"} <= set(names)
    assert [retell("names", name) for name in names] == names
    with speaking(code):
        same = [name for name in names if retell("names", name) == name]
        assert not same
        assert retell("names", "learning-curve-25") != "learning-curve-25"
        assert retell("names", "a label of the user's") == "a label of the user's"


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_reason_to_be_provisional_is_told_in_every_language(code: Language) -> None:
    config = StudyConfig(limit=40, splits=SplitConfig(side="development"))
    reasons = _provisional(config, Checkout("0123abc", dirty=True))
    assert len(reasons) == 3
    with speaking(code):
        told = [retell("reasons", reason) for reason in reasons]
    assert not set(told) & set(reasons)
    assert "40" in told[0]
    assert told[2].endswith("0123abc")


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_reason_to_leave_a_question_out_is_told_in_every_language(code: Language) -> None:
    file = Path(affinage.__file__).parent / "controls" / "format_control.py"
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    given = [
        str(call.args[2].value)
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "keep" and isinstance(call.args[2], ast.Constant)
    ]
    assert len(given) >= 4
    with speaking(code):
        for reason in (f"{side} question {each}" for side in ("training", "tested") for each in given):
            assert retell("reasons", reason) != reason
        assert retell("reasons", "tested question without an option of South_Korea").endswith("South_Korea")


@pytest.mark.parametrize("code", TRANSLATED)
def test_no_stored_text_is_translated_that_nobody_stores(code: Language) -> None:
    known = constants(Path(affinage.__file__).parent)
    assert set(kept(code, "terms")) <= known
    for english in kept(code, "reasons"):
        # The side of the split is put before a reason where it arises.
        told = english.removeprefix("training ").removeprefix("tested ").removeprefix("question ")
        for part in (part for part, _, _, _ in string.Formatter().parse(told)):
            assert any(part.strip() in text for text in known), english
    for kind in ("names", "reasons", "settings", "terms"):
        assert all(places(english) == places(other) for english, other in kept(code, kind).items())


# Numbers -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "agreed"),
    [
        ("+1,9", "+1,9 point"),
        ("−0,3", "−0,3 point"),
        ("0,0", "0,0 point"),
        ("+2,0", "+2,0 points"),
        ("−11,0", "−11,0 points"),
        ("−10,5 à 0,4", "−10,5 à 0,4 point"),
    ],
)
def test_french_has_its_plural_from_two_on(text: str, agreed: str) -> None:
    assert say("{points} points, {interval}", points=text, interval="x") == f"{text} points, x"
    with speaking("fr"):
        assert say("{points} points, {interval}", points=text, interval="x") == f"{agreed}, x"


@pytest.mark.parametrize(("code", "wanted"), [("en", {"0.5", "−0.5"}), ("fr", {"0,5", "−0,5"})])
def test_ticks_are_written_as_the_language_writes_numbers(code: Language, wanted: set[str]) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([-0.5, 0.0, 0.5], [0, 1, 2])
    axes.set_xticks([-0.5, 0.0, 0.5])
    axes.set_yticks([0, 1, 2], ["v1.0", "v1.5", "v2.0"])
    with speaking(code):
        speak_ticks(figure)
        figure.canvas.draw()
        assert {label.get_text() for label in axes.get_xticklabels()} > wanted
    assert [label.get_text() for label in axes.get_yticklabels()] == ["v1.0", "v1.5", "v2.0"]


def test_a_scale_of_colours_is_written_likewise() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    image = figure.add_subplot().imshow([[0.0, 0.4]])
    bar = figure.colorbar(image)
    with speaking("fr"):
        speak_ticks(figure)
        figure.canvas.draw()
        assert any("," in label.get_text() for label in bar.ax.get_yticklabels())
        assert not any("." in label.get_text() for label in bar.ax.get_yticklabels())
