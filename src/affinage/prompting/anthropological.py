"""`anthropological`: a system message that asks to reason as an ethnographer would.

Anthropological prompting: AlKhamissi et al. (2024), "Investigating Cultural Alignment of Large Language Models". Theirs lists what to weigh
before answering as a person of a culture: insiders' and outsiders' views, context, social standing, personal experience, relativism, time
and place, nuances of language. It was made for models that write their reasoning down first. Here the answer is scored at once, so what is
measured is what the frame alone does; the wordings are ours.
"""

from __future__ import annotations

from affinage.config import PromptConfig
from affinage.prompting.base import Prompting, PromptingSettings, baselines

__all__ = ["AnthropologicalSettings"]


class AnthropologicalSettings(PromptingSettings):
    """Which system messages."""

    wordings: tuple[str, ...] = (
        "You are an ethnographer who has lived for years in {culture}. Before you answer, weigh the view of insiders against that of outsiders, "
        "the social setting, people's means, their own experience, and the time and place that the question is about. Then answer as people "
        "there would.",
        "Answer as a member of the community would, in {culture}. Consider what the custom means to those who practise it, who takes part in it, "
        "what they can afford, and how it is spoken of there. Judge nothing by the customs of other places.",
        "Take the insider's view of life in {culture}: meanings and habits as people there understand them, with regard to age, income, religion, "
        "region and season. Leave the outsider's view aside unless it is asked for.",
        "Reason like an anthropologist about {culture}. 1. What do people there say themselves? 2. What would a visitor notice? 3. In which setting "
        "does it happen? 4. How do standing and income change it? 5. What is specific to this time and place? Answer with what most people there "
        "would say.",
        "Cultures are to be understood in their own terms. Picture a typical household in {culture}, its surroundings, its means and its language, "
        "and give the answer that its members would give.",
    )
    """System messages that are tried; `{culture}` stands where the culture is named."""


def _put(prompt: PromptConfig, wording: str) -> PromptConfig:
    return prompt.model_copy(update={"system": wording})


baselines.add(
    "anthropological",
    Prompting(
        name="anthropological",
        what="A system message that asks to weigh insiders' view, setting, standing, time and place first, as an ethnographer would.",
        settings=AnthropologicalSettings,
        put=_put,
    ),
)
