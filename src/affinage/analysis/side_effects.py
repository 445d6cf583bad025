"""What an adapter does beside what it was trained for: to questions about no culture, to plain text, to stereotypes, and to the form of answers.

An adapter that has learned a culture can have lost something else. Each effect is measured with it and without it on the same items, so that all
are paired:

- *own*: the study's own test of the adapter's culture; what the side effects stand beside.
- *invalid*: share of the answers whose most probable first token is none of the question's letters, and *mass*, the sum of the letters'
  probabilities; both from the study's score files, for the style `letters` only.
- *neutral*: multiple-choice questions about no culture, put as the study puts its own.
- *text*: minus the log-probability of every token of neutral text, which stands where a question would and without chat template. Its mean per
  token m gives the perplexity exp(m).
- *stereotypes*: pairs of sentences that differ in a stereotype: 1 where the stereotypical one is likelier, 1/2 where both are as likely. The share
  would be 50 % without preference (Nangia et al. 2020, "CrowS-Pairs", who compare masked models; sums over whole sentences are taken here, as fits
  a model that reads from left to right). Many published pairs are faulty: it is unclear what they state, whom they are about, and whether the two
  differ in that alone (Blodgett et al. 2021, "Stereotyping Norwegian salmon"). A share near 50 % is no proof of harmlessness, and none is shipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from affinage.analysis.base import Analysis, Progress, analyses
from affinage.analysis.side_material import Material
from affinage.analysis.subject import Subject
from affinage.backbone import Backbone, Doors
from affinage.encode import Tokens
from affinage.methods import Adapter
from affinage.pack import Branch, greedy_packs, pack
from affinage.prompts import render
from affinage.records import MCQ, Encoded, UserError
from affinage.scoring import branch_logprobs
from affinage.stats import with_credit
from affinage.store import RunRecord, score_frame

__all__ = ["ITEMS", "form_of_answers", "letter_tokens", "log_likelihoods", "run", "text_branches"]

WINDOW = 512
"""Tokens of a passage that are read together; a longer one is cut. Also the nodes of a pack of text, in which every node's logits are read."""

_RUN = {"run": pl.String(), "label": pl.String(), "trained_culture": pl.String(), "split": pl.String(), "start": pl.Int64()}
_MEASURED: dict[str, pl.DataType] = {
    "what": pl.String(),
    "mcq_id": pl.String(),
    "template_id": pl.String(),
    "group": pl.String(),
    "kind": pl.String(),
    "value": pl.Float64(),
    "weight": pl.Int64(),
}
ITEMS: dict[str, pl.DataType] = {**_RUN, **_MEASURED, "before": pl.Float64()}
"""Columns of the table `items`: a row per adapter, effect and item.

`what`: `own`, `invalid`, `mass`, `neutral`, `text` or `stereotypes`; `mcq_id`: the question, passage or pair, of which all but the study's own
questions are a template and a group of their own; `kind`: of a pair; `value`: what the adapter has there, null where it could not be scored, and
`before`, what the untouched model has; `weight`: tokens of a passage, else 1. Of `text` the value is minus the log-probability of the whole passage,
in nats."""

_KEY = ["what", "mcq_id", "weight"]


def run(subject: Subject, progress: Progress) -> dict[str, pl.DataFrame]:
    """Measures the adapters of each method's first split and start, and the untouched model.

    Args:
        subject: the study.
        progress: keeps each adapter.

    Returns:
        `items` (`ITEMS`).

    Raises:
        UserError: a file of the user's that cannot be used; files, data or model as `Subject` says.
    """
    material = Material.of(subject.settings)
    chosen = [
        each for label in subject.labels for first in subject.runs(label)[:1] for each in subject.runs(label, split=first.split, start=first.start)
    ]
    # Where the system message names the culture, the untouched model is asked under each name.
    named = "{culture}" in (subject.prompt.system or "")
    cultures = {each.run: each.trained_culture if named else "" for each in chosen}
    letters = letter_tokens(subject) if subject.prompt.style == "letters" else ()
    progress.expect(len(chosen) + len(set(cultures.values())))
    before: dict[str, pl.DataFrame] = {}
    tables = [pl.DataFrame(schema=ITEMS)]
    for each in chosen:
        culture = cultures[each.run]
        if culture not in before:
            what = f"the untouched model{f' on {culture}' if culture else ''}"
            make = partial(_measured, subject, None, material, culture)
            before[culture] = progress.unit(what, ["untouched", culture, material.digest], make)
        make = partial(_measured, subject, each, material, culture)
        found = progress.unit(f"{each.label} on {each.trained_culture}", [each.run, culture, material.digest], make)
        tables += [_beside(each, found, before[culture]), *_own(subject, each, letters)]
    return {"items": pl.concat(tables)}


def _beside(each: RunRecord, found: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """What an adapter has beside what the untouched model has; columns of `ITEMS`."""
    both = found.join(before.select(*_KEY, before="value"), on=_KEY, how="left", maintain_order="left")
    origin = {"run": each.run, "label": each.label, "trained_culture": each.trained_culture, "split": each.split, "start": each.start}
    return both.with_columns(pl.lit(value).alias(name) for name, value in origin.items()).select(*ITEMS).cast(pl.Schema(ITEMS))


# The study's own test ---------------------------------------------------------------------------------------------------------------------


def _own(subject: Subject, each: RunRecord, letters: Sequence[int]) -> Iterator[pl.DataFrame]:
    """Answers to the study's own questions, from its score files; nothing where the untouched model is not tested yet."""
    untouched, culture = subject.untouched(each.split), each.trained_culture
    if untouched is None:
        return
    questions = subject.record.questions.filter((pl.col("split") == each.split) & (pl.col("culture") == culture)).select("mcq_id", "group")

    def values(run: RunRecord) -> pl.DataFrame:
        scores = subject.scores(run, culture)
        credit = with_credit(scores.with_columns(pl.lit(run.run).alias("run")), subject.prompt.score)
        frames = [credit.select("mcq_id", "template_id", what=pl.lit("own"), value="choice")]
        frames += [form_of_answers(scores, letters)] if letters else []
        both = pl.concat([frame.select("what", "mcq_id", "template_id", "value") for frame in frames])
        shared = both.with_columns(kind=pl.lit(""), weight=pl.lit(1)).join(questions, on="mcq_id", how="left", maintain_order="left")
        return shared.select(*_MEASURED).cast(pl.Schema(_MEASURED))

    yield _beside(each, values(each), values(untouched))


def letter_tokens(subject: Subject) -> tuple[int, ...]:
    """The token of each letter as it begins an answer in the study's prompt, in the alphabet's order.

    As many letters as the study's questions have options at the most; the token does not depend on the question.

    Raises:
        UserError: a letter is no single token of its own in this prompt.
    """
    tokens, most = subject.plan.tokens, int(str(subject.plan.dataset.frame["options"].list.len().max()))
    options = tuple(f"option {number}" for number in range(1, most + 1))
    probe = MCQ("probe", "probe", subject.cultures[0], "", "Which one?", options, ("",) * most, 0)
    given = render(probe, subject.prompt, tokens, seed=0, order=tuple(range(most)))
    outcome = tokens.encode(given, letters=True)
    if not isinstance(outcome, Encoded):
        raise UserError("prompt.style", outcome.reason, "letters of one token each", "Use the model that the study was made with.")
    return tuple(ids[0] for ids in outcome.continuation_ids)


def form_of_answers(scores: pl.DataFrame, letters: Sequence[int]) -> pl.DataFrame:
    """Whether the most probable first token is none of a question's letters, and how probable all of its letters are together.

    Args:
        scores: columns of `store.SCORE_SCHEMA`, of the style `letters`.
        letters: tokens of the letters, as many as the longest question has options.

    Returns:
        Columns `what` (`invalid`, `mass`), `mcq_id`, `template_id`, `value`: the mean over the orders in which a question was asked, null where
        one of them could not be scored.
    """
    place = pl.col("greedy_token").replace_strict(list(letters), list(range(len(letters))), default=len(letters), return_dtype=pl.Int64)
    rows = scores.with_columns(invalid=(place >= pl.col("order").list.len()).cast(pl.Float64), known=pl.col("state") == "scored")
    means = rows.group_by("mcq_id", "template_id", maintain_order=True).agg(
        pl.col("known").all(), pl.col("invalid").mean(), pl.col("letter_mass").mean().alias("mass")
    )
    long = means.unpivot(["invalid", "mass"], index=["mcq_id", "template_id", "known"], variable_name="what")
    return long.with_columns(pl.when("known").then("value").alias("value")).select("what", "mcq_id", "template_id", "value")


# What needs the model ---------------------------------------------------------------------------------------------------------------------


def _measured(subject: Subject, run: RunRecord | None, material: Material, culture: str) -> pl.DataFrame:
    """Everything that the model is needed for, under one adapter or none; columns of `_MEASURED`."""
    adapter = None if run is None else subject.adapter(run)
    tables = [_neutral(subject, adapter, material, culture)]
    backbone, most = subject.backbone, min(subject.nodes_per_pack, WINDOW)
    parts = text_branches(backbone.tokens, material.passages)
    sums = -log_likelihoods(backbone, adapter, [branch for _, branch in parts], most)
    names = [f"passage-{place + 1}" for place, _ in parts]
    counts = [len(branch.ids) - branch.first for _, branch in parts]
    # The windows of a passage belong together: they are summed, and the passage is the group.
    windows = pl.DataFrame({"mcq_id": names, "value": sums, "weight": counts}, schema_overrides={"value": pl.Float64})
    tables.append(_items("text", windows.group_by("mcq_id", maintain_order=True).sum()))
    if material.pairs:
        sentences = [each for pair in material.pairs for each in (pair.more, pair.less)]
        found = text_branches(backbone.tokens, sentences)
        of = np.bincount([place for place, _ in found], log_likelihoods(backbone, adapter, [branch for _, branch in found], most))
        more, less = of[::2], of[1::2]
        preferred = np.where(more == less, 0.5, more > less)
        pairs = pl.DataFrame({"mcq_id": [each.item for each in material.pairs], "value": preferred, "kind": [each.kind for each in material.pairs]})
        tables.append(_items("stereotypes", pairs))
    return pl.concat(tables)


def _items(what: str, frame: pl.DataFrame) -> pl.DataFrame:
    """A frame of `mcq_id`, `value` and perhaps `weight` and `kind`, each item a group of its own; columns of `_MEASURED`."""
    more = {"kind": pl.lit(""), "weight": pl.lit(1)}
    filled = frame.with_columns(**{name: value for name, value in more.items() if name not in frame.columns})
    named = filled.with_columns(pl.lit(what).alias("what"), template_id="mcq_id", group="mcq_id")
    return named.select(*_MEASURED).cast(pl.Schema(_MEASURED))


def _neutral(subject: Subject, adapter: Adapter | None, material: Material, culture: str) -> pl.DataFrame:
    """Credit on the neutral questions, asked whole also where the study hides a part of its own."""
    prompt = subject.prompt.model_copy(update={"hide": "nothing"})
    asked = [replace(each, culture=culture or each.culture) for each in material.questions]
    config = subject.record.config
    encoded, refused = subject.plan.tokens.encode_all(asked, prompt, seed=config.seed, asked=config.evaluation.orders)
    scored = subject.engine.evaluate(subject.backbone, adapter, encoded, refused, prompt=prompt, nodes_per_pack=subject.nodes_per_pack)
    credit = with_credit(score_frame(scored).with_columns(pl.lit("").alias("run")), prompt.score)
    return _items("neutral", credit.select("mcq_id", value="choice"))


def text_branches(tokens: Tokens, texts: Sequence[str]) -> list[tuple[int, Branch]]:
    """Plain texts as sequences whose every token is scored, behind what the tokenizer begins a text with, or else its end-of-text token.

    That is what lm-evaluation-harness conditions a first token on, too. Virtual tokens that an adapter puts before a question, its options or the
    answer stand right before the text.

    Returns:
        Which text a sequence is of, and the sequence; a text of more than `WINDOW` tokens gives several, each read by itself.

    Raises:
        UserError: the tokenizer has no token to begin with, or a text has no token.
    """
    begin = tokens.ids([tokens.start])[0] or tokens.stop_ids[:1]
    if not begin:
        raise UserError(f"tokenizer of {tokens.name}", "no token to begin a text with", "a beginning-of-text or end-of-text token", "Give it one.")
    first = len(begin)
    found = []
    for place, ids in enumerate(tokens.ids(texts)):
        if not ids:
            raise UserError(f"text {texts[place][:40]!r}", "no token", "at least one", "Remove it.")
        for cut in range(0, len(ids), WINDOW):
            found.append((place, Branch(begin + ids[cut : cut + WINDOW], first, question=first, options=first)))
    return found


def log_likelihoods(backbone: Backbone, adapter: Adapter | None, branches: Sequence[Branch], nodes_per_pack: int) -> npt.NDArray[np.float64]:
    """[B] natural log-probability of each sequence's predicted tokens, summed.

    Args:
        backbone: the frozen model.
        adapter: trained tensors; None for the model without one. The packs do not depend on it.
        branches: B sequences without virtual tokens.
        nodes_per_pack: node budget of a pack.
    """
    sums = np.empty(len(branches))
    for chosen in greedy_packs([[branch] for branch in branches], nodes_per_pack):
        own = [branches[i] for i in chosen]
        packed = pack(own if adapter is None else [adapter.place(branch) for branch in own])
        with torch.no_grad(), backbone.logits(packed, [Doors() if adapter is None else adapter.doors()]) as logits:
            sums[chosen] = branch_logprobs(logits, packed, len(own)).cpu().double().numpy()
    return sums


analyses.add(
    "side-effects",
    Analysis(
        "side-effects",
        "Neutral questions, perplexity of neutral text, stereotypes (with --stereotypes) and invalid answers, beside the gain.",
        run,
        reads=("limit", "neutral", "text", "stereotypes"),
    ),
)
