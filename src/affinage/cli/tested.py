"""Which adapter a command tests, under which configuration, and on which questions."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from affinage.cli.fetch import fetch
from affinage.cli.flags import announce_model, composed, model_of
from affinage.cli.say import counted, say
from affinage.records import MCQ, ShortQuestion, SurveyQuestion, UserError
from affinage.registry import suggest

if TYPE_CHECKING:
    from affinage.adapters import AdapterCard
    from affinage.backbone import Backbone
    from affinage.config import StudyConfig
    from affinage.methods import Adapter
    from affinage.records import Split

__all__ = ["Kind", "Tested", "chosen_split", "kind_of", "limited", "tested_adapter", "unseen"]

Kind = Literal["multiple choice", "short answers", "survey"]
Item = TypeVar("Item", MCQ, ShortQuestion, SurveyQuestion)


@dataclass(frozen=True, slots=True)
class Tested:
    """What is tested, and how."""

    name: str
    """The adapter's folder, or `none`."""
    card: AdapterCard | None
    config: StudyConfig
    skip_seen: bool

    @property
    def seen(self) -> frozenset[str]:
        """Template ids that the adapter has seen."""
        return frozenset() if self.card is None else self.card.seen

    def loaded(self) -> tuple[Backbone, Adapter | None]:
        """Model and adapter."""
        from affinage.adapters import load as load_adapter
        from affinage.backbone import load as load_backbone

        announce_model(self.config.model)

        fetch(self.config.model.id)
        backbone = load_backbone(self.config.model)
        return backbone, None if self.card is None else load_adapter(Path(self.name), backbone)


def tested_adapter(adapter: str, *, study: str | None, skip_seen: bool | None, flags: Mapping[str, Any]) -> Tested:
    """The adapter's card and the configuration: flags over the card's model over the study's file; the prompt is the card's."""
    from affinage.adapters import read_card, refuse_unknown_seen

    card = None if adapter == "none" else read_card(Path(adapter))
    beneath: dict[str, Any] = {}
    if card is not None:
        refuse_unknown_seen(Path(adapter), card)
        beneath = model_of(card)
    if study is not None and "data.source" in flags and composed(study, {}).data.source != flags["data.source"]:
        # The study's settings are those of its own source; another source would refuse them as unknown keys.
        beneath["data.settings"] = {}
    config = composed(study, {**beneath, **flags})
    if card is not None:
        arguments = {"template_arguments": dict(card.template_arguments)}
        config = config.model_copy(update={"prompt": card.prompt, "model": config.model.model_copy(update=arguments)})
    skipping = kind_of(config.data.source) != "multiple choice" if skip_seen is None else skip_seen
    return Tested(adapter, card, config, skipping)


def kind_of(source: str) -> Kind:
    """Which kind of questions a source holds; one that is unknown, or holds no questions, is refused where multiple choice is read."""
    from affinage.data import answer_sources, survey_sources

    if source in answer_sources:
        return "short answers"
    return "survey" if source in survey_sources else "multiple choice"


def unseen(items: Sequence[Item], tested: Tested) -> list[Item]:
    """The items whose template the adapter has not seen, where seen ones are to be left out; else all, and the test itself refuses them.

    Raises:
        UserError: nothing is left, or nothing was there.
    """
    if not items:
        raise UserError(f"data source {tested.config.data.source}", "no question", "at least one", "Check the source and the cultures.")
    if not tested.skip_seen:
        return list(items)
    kept = [item for item in items if item.template_id not in tested.seen]
    if tested.card is not None:
        say(f"Left out: {counted(len(items) - len(kept), 'question')} of templates that the adapter has seen.")
    if not kept:
        where = f"adapter {tested.name}"
        raise UserError(where, "only questions of templates that it has seen", "at least one other", "Test it on another source or another side.")
    return kept


def limited(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items per culture, chosen by a hash of the question's id; they keep their order."""
    from affinage import seeds

    if limit is None:
        return list(items)
    kept: set[str] = set()
    for culture in {item.culture for item in items}:
        own = [_id(item) for item in items if item.culture == culture]
        kept.update(sorted(own, key=lambda question: seeds.uniform("limit", question))[:limit])
    return [item for item in items if _id(item) in kept]


def _id(item: Item) -> str:
    return item.mcq_id if isinstance(item, MCQ) else item.question_id


def chosen_split(splits: Sequence[Split], card: AdapterCard | None, number: int | None) -> Split:
    """The split with that number, else the adapter's own, else the first."""
    names = [split.name for split in splits]
    if number is not None:
        if number >= len(splits):
            raise UserError("--split", str(number), f"0 to {len(splits) - 1}", "Raise `splits.count` for more.")
        return splits[number]
    if card is None or not card.split:
        return splits[0]
    if card.split not in names:
        todo = f"Give the study that it was made in (--study DIR/study.yaml). {suggest(card.split, names)}"
        raise UserError("splits", f"{', '.join(names)}", f"{card.split}, on which the adapter was trained", todo)
    return splits[names.index(card.split)]
