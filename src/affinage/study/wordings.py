"""Tests under instructions that an adapter was not trained on: further test sets of the own culture, one per instruction."""

from __future__ import annotations

from collections.abc import Iterator

from affinage.config import PromptConfig, StudyConfig
from affinage.controls.draws import set_name
from affinage.records import UserError
from affinage.store import UNTOUCHED

__all__ = ["check_instructions", "reworded", "wording_tests"]

_NAME = "wording"


def wording_tests(config: StudyConfig, cultures: tuple[str, ...], trained_culture: str = UNTOUCHED) -> dict[str, str]:
    """Names of the further test sets, and their instructions: of every studied culture for the untouched model, of its own for an adapter.

    Args:
        config: the study.
        cultures: its cultures.
        trained_culture: a studied culture, or `UNTOUCHED`; anything else is not tested further.
    """
    asked = cultures if trained_culture == UNTOUCHED else tuple(culture for culture in cultures if culture == trained_culture)
    return {_named(number, culture): instruction for culture in asked for number, instruction in enumerate(config.evaluation.instructions)}


def reworded(config: StudyConfig, cultures: tuple[str, ...]) -> Iterator[tuple[str, str, PromptConfig]]:
    """Each further test set: its name, its culture, and how its questions are put."""
    for culture in cultures:
        for number, instruction in enumerate(config.evaluation.instructions):
            yield _named(number, culture), culture, config.prompt.model_copy(update={"instruction": instruction})


def check_instructions(config: StudyConfig) -> None:
    """Refuses instructions that are no others, or that do not fit the style.

    Raises:
        UserError: all of them together.
    """
    faults, known = [], {config.prompt.instruction}
    for number, instruction in enumerate(config.evaluation.instructions):
        where = f"evaluation.instructions.{number}"
        if instruction in known:
            faults.append(UserError(where, repr(instruction), "one that stands nowhere else in the study", "Remove it."))
        if instruction == "json" and config.prompt.style != "letters":
            faults.append(UserError(where, f"json with the style {config.prompt.style}", "the style letters", "It asks for a letter."))
        known.add(instruction)
    if faults:
        raise UserError.join(faults)


def _named(number: int, culture: str) -> str:
    return set_name(f"{_NAME}-{number + 1}", culture)
