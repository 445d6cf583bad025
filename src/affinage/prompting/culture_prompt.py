"""`culture-prompt`: the culture named in the system message, in several plain sentences."""

from __future__ import annotations

from affinage.config import PromptConfig
from affinage.prompting.base import Prompting, PromptingSettings, baselines

__all__ = ["CulturePromptSettings"]


class CulturePromptSettings(PromptingSettings):
    """Which system messages."""

    wordings: tuple[str, ...] = (
        "You are a helpful assistant who knows daily life in {culture} well.",
        "You grew up in {culture} and answer as most people there would.",
        "Answer from the point of view of somebody who lives in {culture}.",
        "The questions are about everyday life in {culture}. Give the answer that is most common there.",
        "Imagine an ordinary person from {culture}. Which answer would that person give?",
        "Think of what is usual in {culture}, not of what is usual elsewhere, before you answer.",
    )
    """System messages that are tried; `{culture}` stands where the culture is named."""


def _put(prompt: PromptConfig, wording: str) -> PromptConfig:
    return prompt.model_copy(update={"system": wording})


baselines.add(
    "culture-prompt",
    Prompting(
        name="culture-prompt",
        what="The culture named in the system message: what saying so gives.",
        settings=CulturePromptSettings,
        put=_put,
    ),
)
