"""How alike the adapters of different cultures are: what they answer first, their tensors second, each beside what chance alone makes of one culture.

A similarity between two cultures says nothing by itself: adapters of one model that were taught the same form of question are alike for that reason.
So every measure stands beside the same measure between two trainings for one culture (another start, another split) and between an adapter and the
untouched model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import polars as pl

from affinage import seeds
from affinage.analysis.answers import FEWEST_QUESTIONS, Reader, accuracies, compare
from affinage.analysis.base import Analysis, Progress, analyses
from affinage.analysis.measures import Floats, centred_gram, debiased_cka
from affinage.analysis.pairs import Pair, pairs
from affinage.analysis.relations import correlation_table, map_table, tree_table
from affinage.analysis.states import last_states
from affinage.analysis.subject import Subject
from affinage.analysis.tensors import Tensors, virtual_tokens
from affinage.analysis.vocabulary import nearest
from affinage.records import Encoded
from affinage.store import RunRecord

__all__ = ["PAIR_SCHEMA", "similarity"]

STATES = 1000
"""Questions of a split, over all cultures, whose last states are compared."""
NEAREST = 3
"""Tokens of the vocabulary that are named per virtual token."""

PAIR_SCHEMA: dict[str, pl.DataType] = {
    "label": pl.String(),
    "pair": pl.String(),
    "of": pl.String(),
    "measure": pl.String(),
    "culture_a": pl.String(),
    "culture_b": pl.String(),
    "split_a": pl.String(),
    "split_b": pl.String(),
    "start_a": pl.Int64(),
    "start_b": pl.Int64(),
    "run_a": pl.String(),
    "run_b": pl.String(),
    "value": pl.Float64(),
    "questions": pl.Int64(),
    "templates": pl.Int64(),
}
"""Columns of `pairs.parquet`. `pair`: `pairs.KINDS`; `of`: `answers`, `states`, `tensor`, `displacement` or `product`; `questions` and `templates`:
what the value rests on, null for tensors."""
_WORDS = {"label": pl.String(), "run": pl.String(), "culture": pl.String(), "split": pl.String(), "start": pl.Int64()}
_TOKEN_SCHEMA = {**_WORDS, "token": pl.Int64(), "rank": pl.Int64(), "text": pl.String(), "cosine": pl.Float64(), "began": pl.String()}
_ACCURACY_SCHEMA = {**_WORDS, "tested": pl.String(), "accuracy": pl.Float64()}


def _similarity(subject: Subject, progress: Progress) -> Mapping[str, pl.DataFrame]:
    """Tables `pairs`, `transfer` (accuracy by template of every adapter on every culture), `correlation`, `tree`, `map`, `vocabulary`."""
    worded = [label for label in subject.labels if _vectors(subject, subject.runs(label)[0]) is not None]
    progress.expect(4 * len(subject.labels) + len(worded))
    compared, transfer, words = [], [], []
    for label in subject.labels:
        own, between = subject.runs(label), list(pairs(subject, label))
        key, reader = [label, *sorted(run.run for run in own)], Reader(subject)
        compared.append(progress.unit(f"answers of {label}", ["answers", *key], lambda: _frame(_of_answers(reader, between))))  # noqa: B023
        transfer.append(progress.unit(f"accuracy of {label}", ["transfer", *key], lambda: _transfer(reader, subject, own)))  # noqa: B023
        compared.append(progress.unit(f"tensors of {label}", ["tensors", *key], lambda: _frame(_of_tensors(subject, between))))  # noqa: B023
    for label in subject.labels:  # what needs the model comes last
        own, between = subject.runs(label), list(pairs(subject, label))
        key = [label, *sorted(run.run for run in own)]
        states = ["states", subject.settings.limit, *key]
        compared.append(progress.unit(f"states under {label}", states, lambda: _frame(_of_states(subject, progress, between))))  # noqa: B023
        if label in worded:
            words.append(progress.unit(f"tokens near {label}", ["vocabulary", *key], lambda: _vocabulary(subject, own)))  # noqa: B023
    table, accuracy = pl.concat(compared), pl.concat(transfer)
    named = words or [pl.DataFrame(schema=_TOKEN_SCHEMA)]
    return {
        "pairs": table,
        "transfer": accuracy,
        "correlation": correlation_table(table, accuracy, subject.cultures, subject.settings.distances),
        "tree": tree_table(table, subject.cultures),
        "map": map_table(table, subject.cultures),
        "vocabulary": pl.concat(named),
    }


def _frame(rows: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """Rows of `pairs.parquet`, those without a number left out."""
    return pl.DataFrame(list(rows), PAIR_SCHEMA, orient="row").filter(pl.col("value").is_finite())


def _of_answers(reader: Reader, between: Sequence[Pair]) -> Iterator[dict[str, object]]:
    """What both answered, by the study's own tests."""
    for pair in between:
        found: dict[str, object] = {**compare(reader.of(pair.one), reader.of(pair.other))}
        counts: dict[str, object] = {name: found.pop(name) for name in ("questions", "templates") if name in found}
        for measure, value in found.items():
            yield {**pair.row(), "of": "answers", "measure": measure, "value": value, **counts}


def _transfer(reader: Reader, subject: Subject, runs: Sequence[RunRecord]) -> pl.DataFrame:
    """Every adapter's accuracy on every culture."""
    rows = [
        (*_named(run), tested, accuracy)
        for run in runs
        for tested, accuracy in zip(subject.cultures, accuracies(reader.of(run), subject.cultures), strict=True)
    ]
    return pl.DataFrame(rows, _ACCURACY_SCHEMA, orient="row")


def _named(run: RunRecord) -> tuple[str, str, str, str, int]:
    return run.label, run.run, run.trained_culture, run.split, run.start


def _of_tensors(subject: Subject, between: Sequence[Pair]) -> Iterator[dict[str, object]]:
    """What both have learned, as tensors."""
    tensors = Tensors(subject)
    for pair in between:
        for of, measure, value in tensors.compare(pair):
            yield {**pair.row(), "of": of, "measure": measure, "value": value}


def _of_states(subject: Subject, progress: Progress, between: Sequence[Pair]) -> Iterator[dict[str, object]]:
    """Debiased CKA of the states over the questions that both were asked."""
    runs = {run.run: run for run in chain.from_iterable((pair.one, pair.other) for pair in between)}
    progress.expect(len(runs))
    states: dict[str, pl.DataFrame] = {}
    for split in dict.fromkeys(run.split for run in runs.values()):
        for run in (each for each in runs.values() if each.split == split):
            key = ["one run's states", subject.settings.limit, run.run]
            what = f"states under {_in_words(run)}"
            states[run.run] = progress.unit(what, key, lambda: _states(subject, run))  # noqa: B023
    grams: dict[str, tuple[Floats, int, int]] = {}
    for pair in between:
        one, other = pair.one.run, pair.other.run
        if pair.same_split:
            for path in {one, other} - set(grams):
                grams[path] = _gram(states[path])
            both = [grams[one], grams[other]]
        else:
            common = states[one].select("culture", "mcq_id").join(states[other].select("culture", "mcq_id"), on=["culture", "mcq_id"])
            both = [_gram(states[path].join(common, on=["culture", "mcq_id"], how="semi")) for path in (one, other)]
        (left, questions, templates), (right, *_) = both
        if questions >= FEWEST_QUESTIONS:
            counts = {"questions": questions, "templates": templates}
            yield {**pair.row(), "of": "states", "measure": "cka", "value": debiased_cka(left, right), **counts}


def _in_words(run: RunRecord) -> str:
    """A run, for who waits."""
    return f"the untouched model, {run.split}" if run.method == "none" else f"{run.label} on {run.trained_culture}, {run.split}, start {run.start}"


def _gram(states: pl.DataFrame) -> tuple[Floats, int, int]:
    """Centred inner products of states, and on how many questions and templates they rest."""
    counts = states.height, states.n_unique(["culture", "template_id"])
    if states.height < FEWEST_QUESTIONS:
        return np.zeros((0, 0)), *counts
    return centred_gram(states.sort("culture", "mcq_id")["state"].to_numpy()), *counts


def _states(subject: Subject, run: RunRecord) -> pl.DataFrame:
    """A run's last states over the questions drawn from its split: columns `culture, mcq_id, template_id, state`."""
    adapter = None if run.method == "none" else subject.adapter(run)
    encoded = _drawn(subject, run.split)
    states = last_states(subject.backbone, adapter, encoded, nodes_per_pack=subject.nodes_per_pack)
    asked = [each.rendered.mcq for each in encoded]
    columns = {name: [getattr(mcq, name) for mcq in asked] for name in ("culture", "mcq_id", "template_id")}
    return pl.DataFrame({**columns, "state": states})


def _drawn(subject: Subject, split: str) -> list[Encoded]:
    """At most `STATES` test questions of a split, each in the first of its orders, chosen by a hash of the question's id."""
    asked = (each for culture in subject.cultures for each in subject.asked(split, culture).encoded)
    first = {(each.rendered.mcq.culture, each.rendered.mcq.mcq_id): each for each in reversed(list(asked))}
    kept = sorted(first, key=lambda key: (seeds.uniform("states", *key), key))[:STATES]
    return [first[key] for key in sorted(kept)]


def _vectors(subject: Subject, run: RunRecord) -> Floats | None:
    """[P, H] a run's virtual tokens; None where they are no embeddings."""
    width = subject.plan.shape.width
    found = virtual_tokens(run.method, {name: value.float().numpy() for name, value in subject.tensors(run).items()}, width)
    return found if found is not None and found.shape[1] == width else None


def _vocabulary(subject: Subject, runs: Sequence[RunRecord]) -> pl.DataFrame:
    """The tokens nearest to each virtual token of each run, and the one nearest to what it began as."""
    rows: list[tuple[object, ...]] = []
    tokens = subject.backbone.tokens
    for run in runs:
        vectors, start = _vectors(subject, run), subject.start_of(run)
        assert vectors is not None
        ids, cosines = nearest(subject.backbone, vectors, NEAREST)
        first = None if start is None else _vectors(subject, start)
        began = ["" for _ in ids] if first is None else [tokens.decode([int(best)]) for (best,) in nearest(subject.backbone, first, 1)[0]]
        for place, (own, values) in enumerate(zip(ids, cosines, strict=True)):
            named = enumerate(zip(own, values, strict=True), start=1)
            rows += [(*_named(run), place, rank, tokens.decode([int(each)]), float(value), began[place]) for rank, (each, value) in named]
    return pl.DataFrame(rows, _TOKEN_SCHEMA, orient="row")


similarity = analyses.add(
    "similarity",
    Analysis(
        "similarity",
        "How alike the adapters of different cultures are, in answers, states and tensors, beside what chance makes of one culture.",
        _similarity,
        reads=("limit", "distances"),
    ),
)
