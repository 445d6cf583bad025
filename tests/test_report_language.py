"""Every sentence of the report stands in every language, with the same places."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from affinage.report import language
from affinage.report.language import LANGUAGES, Language, catalogue, say, speaking

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
