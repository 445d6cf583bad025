"""`affinage data show`: one question at each station of its way."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, final

import typer

from affinage.cli.fetch import fetch
from affinage.cli.flags import ModelFlag, PathFlag, SetFlag, SourceFlag, StudyFlag, assignments, composed, without_none
from affinage.cli.say import examples, say
from affinage.records import NO_AID, UserError
from affinage.registry import suggest

if TYPE_CHECKING:
    from affinage.config import PromptConfig, StudyConfig
    from affinage.data import Dataset
    from affinage.encode import Tokens
    from affinage.records import MCQ, Aid, Encoded, Rendered

__all__ = ["add_to"]

_BASELINE = "Show the question as the first candidate of this baseline without training puts it (`prompting` of the study)."

_NEIGHBOURS = 3
"""Questions of the same template and culture that share the pack that is shown."""

_SEARCHED = 2000
"""Ids among which a misspelt one is looked for."""


def add_to(group: typer.Typer) -> None:
    """Puts the command into `affinage data`."""
    group.command(
        epilog=examples(
            "affinage data show food-01-Spain-1 --model smollm2",
            "affinage data show food-01-Spain-1 --set prompt.style=text      as plain text, without a model",
            "affinage data show ID --study my-study.yaml                     as the study puts it",
            "affinage data show ID --study my-study.yaml --baseline few-shot as a baseline without training puts it",
        )
    )(show)


@final
class _Plain:
    """Stands in for a model's tokenizer: plain text, no chat template."""

    name = "plain text"
    start = ""
    stops = ("[end]",)

    def conversation(self, messages: list[dict[str, str]]) -> str:
        """The user's turn alone, as it would be typed."""
        return "\n".join(message["content"] for message in messages)


def show(
    mcq_id: Annotated[str, typer.Argument(metavar="ID", help="A question's id.")],
    *,
    source: SourceFlag = None,
    path: PathFlag = None,
    model: ModelFlag = None,
    study: StudyFlag = None,
    baseline: Annotated[str | None, typer.Option("--baseline", metavar="LABEL", help=_BASELINE)] = None,
    setting: SetFlag = None,
) -> None:
    """Print a question at each station: the source's row, its sides, the text, the tokens, its place in a pack.

    Text and tokens are those of a model's chat template and tokenizer; without --model (or --study) the text is shown plain and stops there.
    """
    from affinage import data
    from affinage.prompts import render

    config = composed(study, {**assignments(setting), **without_none(data__source=source, data__path=path, model__id=model)})
    dataset = data.load(config.data)
    mcq, neighbours = _found(dataset, mcq_id)
    say("ROW")
    for field in fields(mcq):
        say(f"  {field.name}: {getattr(mcq, field.name)}")
    _sides(dataset, mcq, config)
    prompt, aid = (config.prompt, lambda mcq: NO_AID) if baseline is None else _put(dataset, mcq, config, baseline)
    if model is None and study is None:
        say("TEXT (plain; with --model as the model's chat template has it)")
        _text(render(mcq, prompt.model_copy(update={"chat": False}), _Plain(), seed=config.seed, aid=aid(mcq)))
        return
    from affinage.backbone import tokens as tokens_of

    fetch(config.model.id)
    tokens = tokens_of(config.model)
    encoded, refused = tokens.encode_all([mcq, *neighbours], prompt, seed=config.seed, aid=aid)
    say(f"TEXT (chat template of {config.model.id})")
    _text(render(mcq, prompt, tokens, seed=config.seed, aid=aid(mcq)))
    refusal = next((each for each in refused if each.mcq == mcq), None)
    if refusal is not None:
        say(f"TOKENS\n  refused: {refusal.reason}")
        return
    _tokens(encoded[0], tokens)
    _pack(encoded, config)


def _found(dataset: Dataset, mcq_id: str) -> tuple[MCQ, list[MCQ]]:
    """The question, and a few of the same template and culture."""
    import polars as pl

    row = dataset.frame.filter(pl.col("mcq_id") == mcq_id)
    if row.is_empty():
        ids = dataset.frame["mcq_id"]
        begun_alike = ids.filter(ids.str.starts_with(mcq_id[:3])).head(_SEARCHED).to_list()
        near = difflib.get_close_matches(mcq_id, begun_alike) or ids.head(3).to_list()
        raise UserError(f"question of {dataset.name}", repr(mcq_id), "the id of a question", f"For instance {' or '.join(map(repr, near))}.")
    mcq = dataset.questions(row)[0]
    same = (pl.col("template_id") == mcq.template_id) & (pl.col("culture") == mcq.culture) & (pl.col("mcq_id") != mcq_id)
    return mcq, dataset.questions(dataset.frame.filter(same).head(_NEIGHBOURS))


def _put(dataset: Dataset, mcq: MCQ, config: StudyConfig, label: str) -> tuple[PromptConfig, Callable[[MCQ], Aid]]:
    """How a baseline's first candidate puts questions, on the first split that tests the question, and what they come with."""
    from functools import partial

    from affinage import data
    from affinage.study.prompted import make_prompted, settled

    config = settled(config)
    if label not in {each.label for each in config.prompting}:
        labels = [each.label or each.name for each in config.prompting]
        raise UserError("--baseline", repr(label), "a baseline without training of the study (`prompting`)", suggest(label, labels))
    splits = data.make_splits(dataset, config.splits)
    tested = tuple(split for split in splits if mcq.template_id in split.test_templates)
    made = make_prompted(config, dataset=dataset, splits=(tested or splits)[:1], cultures=tuple(config.data.cultures or dataset.cultures))
    found = next(each for each in made if each.label == label)
    return found.candidates[0].prompt, partial(found.material.aid, found.candidates[0])


def _sides(dataset: Dataset, mcq: MCQ, config: StudyConfig) -> None:
    """On which side of each split the question is."""
    from affinage import data

    say("SIDES (of its template, the same for every culture)")
    say(f"  template group: {data.template_groups(dataset)[mcq.template_id]}")
    for split in data.make_splits(dataset, config.splits):
        sides = {"train": split.train_templates, "test": split.test_templates, "development": split.development_templates}
        say(f"  {split.name}: {next((name for name, side in sides.items() if mcq.template_id in side), 'neither')}")


def _text(rendered: Rendered) -> None:
    say("  context:")
    for line in rendered.context.split("\n"):
        say(f"    |{line}")
    for place, text in enumerate(rendered.answers):
        right = "  <- right" if place == rendered.mcq.answer else ""
        say(f"  answer {place} ({rendered.mcq.options[place]}): {text!r}{right}")
    say(f"  ending: {rendered.ending!r}")


def _tokens(encoded: Encoded, tokens: Tokens) -> None:
    say(f"TOKENS ({len(encoded.context_ids)} of context)")
    say(f"  context: {_pieces(encoded.context_ids, tokens)}")
    for place, (ids, scored) in enumerate(zip(encoded.continuation_ids, encoded.scored, strict=True)):
        say(f"  answer {place}: {_pieces(ids[:scored], tokens)} scored, then {_pieces(ids[scored:], tokens)}")


def _pieces(ids: Sequence[int], tokens: Tokens) -> str:
    """Each id with its text."""
    return " ".join(f"{token}:{tokens.decode((token,))!r}" for token in ids)


def _pack(encoded: Sequence[Encoded], config: StudyConfig) -> None:
    """The question's sequences in the tree that it makes with its neighbours."""
    from affinage.pack import pack
    from affinage.scoring import option_branches

    own = option_branches(encoded[0], config.prompt.score)
    branches = [*own, *(branch for each in encoded[1:] for branch in option_branches(each, config.prompt.score))]
    packed = pack(branches)
    total = sum(len(branch.ids) - 1 for branch in branches)
    names = ", ".join(each.rendered.mcq.mcq_id for each in encoded[1:]) or "no other question"
    say(f"PACK (as one tree with {names}): {packed.nodes:,} nodes for {total:,} tokens")
    place_of = {b: place for place, b in enumerate(sorted(range(len(branches)), key=lambda b: branches[b].ids))}
    for b, branch in enumerate(own):
        row = place_of[b]
        begin, length = int(packed.own[row]), int(packed.length[row])
        nodes = packed.path[row, begin:length].tolist()
        span = f"adds nodes {nodes[0]} to {nodes[-1]}" if nodes else "adds no node"
        predicting = packed.path[row, branch.first - 1 : length].tolist()
        say(f"  sequence {b}: {length} tokens, shares {begin} with the one before it, {span}; predicted from {predicting}")
