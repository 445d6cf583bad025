"""How much a model looks at an adapter's virtual tokens: their share of the attention, layer by layer, head by head, token by token.

For prompts in the text's place (prompt-tuning, p-tuning) virtual tokens are nodes of the tree, for prefixes slots in every layer's attention. The
share of each query's weights that lies on them is averaged over the heads and over the nodes of one of two places: the question's own tokens, and the
tokens whose logits the score reads. Beside it stands the share that equal weights over all visible keys would give: a layer that looks at the prompt
as it looks at everything has the ratio 1.

The share of attention says where a layer reads, not what it does with it (Jain and Wallace 2019, arXiv 1902.10186): a token that is looked at much
may have a value near zero. And models look at whatever stands first, trained or not (attention sinks: Xiao et al. 2023, arXiv 2309.17453), so the
start that an adapter was trained from is looked at in the same way, for comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl
import torch
from torch import Tensor

from affinage.analysis.base import Analysis, Progress, analyses
from affinage.analysis.subject import Subject
from affinage.backbone import Backbone
from affinage.backbone.kernels import STRIPS
from affinage.backbone.measured import measured
from affinage.evaluate import refuse_seen
from affinage.methods import Adapter
from affinage.pack import Packed, pack
from affinage.records import Encoded, Score
from affinage.scoring import option_branches
from affinage.store import RunRecord

__all__ = ["LAYERS", "PLACES", "QUESTIONS", "Spread", "run", "spread", "virtual_tokens"]

QUESTIONS = 32
"""Questions per culture where `--limit` says nothing; each is read in a pass of its own."""

LAYERS: dict[str, pl.DataType] = {
    "run": pl.String(),
    "label": pl.String(),
    "trained_culture": pl.String(),
    "split": pl.String(),
    "start": pl.Int64(),
    "culture": pl.String(),
    "state": pl.String(),
    "mcq_id": pl.String(),
    "template_id": pl.String(),
    "group": pl.String(),
    "place": pl.String(),
    "layer": pl.Int64(),
    "share": pl.Float64(),
    "level": pl.Float64(),
    "heads": pl.List(pl.Float64()),
    "tokens": pl.List(pl.Float64()),
}
"""Columns of the table `layers`: a row per run, state, question as it was asked, place (`question` or `answer`) and layer (from 0).

`state`: `trained`, the run's adapter, or `start`, what it was trained from, where the study has it. `share` of the attention on virtual tokens, mean
over heads and nodes, and `level`, the share that equal weights would give; `heads`: the share per query head; `tokens`: the share on each virtual
token, mean over heads."""

PLACES = ("question", "answer")
"""Where queries stand: tokens of the question that predict nothing, and tokens whose logits the score reads."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How the attention of one question's nodes is spread, per place of `PLACES`; float64."""

    mass: np.ndarray[tuple[int, int, int, int], np.dtype[np.float64]]
    """[2, L, K * G, P] on each virtual token, mean over the nodes of a place."""
    text: np.ndarray[tuple[int, int, int], np.dtype[np.float64]]
    """[2, L, K * G] on text: 1 less the mass, where the model has no attention sinks."""
    level: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    """[2, L] share of the virtual tokens in what the nodes see."""


def virtual_tokens(adapter: Adapter) -> int:
    """How many virtual tokens an adapter puts before or into the text, or into each layer's attention."""
    with torch.no_grad():
        doors = adapter.doors()
    return (0 if doors.vectors is None else len(doors.vectors)) + (0 if doors.keys is None else doors.keys.shape[1])


def spread(backbone: Backbone, adapter: Adapter, encoded: Encoded, score: Score) -> Spread:
    """Reads one question under an adapter and sees where its nodes look.

    The nodes are those that the score reads: the context once, and each option behind it. Virtual tokens themselves are not asked where they look.

    Args:
        backbone: the frozen model.
        adapter: has virtual tokens.
        encoded: the question.
        score: how options are compared.

    Raises:
        ValueError: an adapter without virtual tokens.
    """
    tokens = virtual_tokens(adapter)
    if not tokens:
        raise ValueError(f"method {adapter.method} has no virtual tokens")
    own = replace(encoded, empty=None)  # of `pmi`, the question alone
    packed = pack([adapter.place(branch) for branch in option_branches(own, "total" if score == "pmi" else score)])
    places = _places(packed, backbone.device)
    found: dict[int, tuple[Tensor, Tensor]] = {}

    def told(layer: int, mass: Tensor, level: Tensor) -> None:
        found[layer] = (_means(mass, places), _means(level, places))

    seeing = replace(backbone, kernel=measured(STRIPS, told))
    with torch.no_grad(), seeing.logits(packed, [adapter.doors()]):
        pass
    mass, level = (np.stack([found[layer][part].cpu().double().numpy() for layer in sorted(found)], axis=1) for part in (0, 1))
    return Spread(mass[..., :-1], mass[..., -1], level[..., :-1].sum(-1))


def _places(packed: Packed, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes of the text that predict nothing, and those whose logits are read."""
    reading = np.zeros(packed.nodes, bool)
    reading[packed.predicting] = True
    text = packed.ids >= 0
    return tuple(torch.from_numpy(np.flatnonzero(chosen)).to(device) for chosen in (text & ~reading, text & reading))  # type: ignore[return-value]


def _means(rows: Tensor, places: Sequence[Tensor]) -> Tensor:
    """[N, ...] -> [places, ...], the mean over each place's nodes."""
    return torch.stack([rows.index_select(0, nodes.to(rows.device)).mean(0) for nodes in places])


def run(subject: Subject, progress: Progress) -> dict[str, pl.DataFrame]:
    """Looks at every adapter with virtual tokens, on its own culture's test questions.

    Args:
        subject: the study.
        progress: keeps each adapter.

    Returns:
        `layers` (`LAYERS`).

    Raises:
        UserError: files, data or model as `Subject` says.
    """
    rows = [pl.DataFrame(schema=LAYERS)]
    for label in subject.labels:
        runs = subject.runs(label)
        if not virtual_tokens(subject.adapter(runs[0])):
            continue
        progress.expect(len(runs))
        for each in runs:
            key: list[str | int] = [each.run, subject.settings.limit or QUESTIONS]
            rows.append(progress.unit(f"{label}, {each.trained_culture}", key, partial(_looked, subject, each)))
    return {"layers": pl.concat(rows)}


def _looked(subject: Subject, run: RunRecord) -> pl.DataFrame:
    """Where the model looks under one adapter, and under its start; columns of `LAYERS`."""
    began, culture = subject.start_of(run), run.trained_culture
    states = {"trained": subject.adapter(run), **({} if began is None else {"start": subject.adapter(began)})}
    asked = subject.asked(run.split, culture, QUESTIONS).encoded
    for adapter in states.values():
        refuse_seen(adapter, (each.rendered.mcq.template_id for each in asked), "Look at it on the test side of its own split.")
    rows = [row for each in asked for state, adapter in states.items() for row in _rows(subject, adapter, each, state)]
    origin = {"run": run.run, "label": run.label, "trained_culture": culture, "split": run.split, "start": run.start, "culture": culture}
    table = pl.DataFrame(rows, schema={name: LAYERS[name] for name in LAYERS if name not in {*origin, "group"}})
    questions = subject.record.questions.filter((pl.col("split") == run.split) & (pl.col("culture") == culture)).select("mcq_id", "group")
    named_rows = table.with_columns(pl.lit(value).alias(name) for name, value in origin.items())
    return named_rows.join(questions, on="mcq_id", how="left", maintain_order="left").select(*LAYERS).cast(pl.Schema(LAYERS))


def _rows(subject: Subject, adapter: Adapter, encoded: Encoded, state: str) -> Iterator[dict[str, object]]:
    """One question's rows of `LAYERS`, without what is the run's."""
    mcq, found = encoded.rendered.mcq, spread(subject.backbone, adapter, encoded, subject.prompt.score)
    heads, tokens = found.mass.sum(-1), found.mass.mean(-2)
    for (where, layer), level in np.ndenumerate(found.level):
        named = {"mcq_id": mcq.mcq_id, "template_id": mcq.template_id, "state": state, "place": PLACES[where], "layer": layer}
        shares = {"share": heads[where, layer].mean(), "heads": heads[where, layer].tolist(), "tokens": tokens[where, layer].tolist()}
        yield {**named, **shares, "level": level}


analyses.add(
    "attention",
    Analysis(
        "attention",
        f"Share of attention on virtual tokens, per layer, head and token; {QUESTIONS} questions per culture, or as --limit says.",
        run,
    ),
)
