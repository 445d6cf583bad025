"""The training bench: the same steps of the same training on our side and on a peer's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from affinage.bench.comparison import Comparison, Reply, Start
from affinage.bench.equality import Answer, gradient_answer
from affinage.bench.machine import describe
from affinage.bench.material import material, training_work
from affinage.bench.results import Result
from affinage.bench.share import Share
from affinage.bench.sides import OURS
from affinage.bench.wire import Process, SideError, Talk
from affinage.bench.work import Work, write_work
from affinage.config import StudyConfig

__all__ = ["JUDGED", "WARM_UP", "train"]

WARM_UP = 2
"""Steps before the timed ones."""
JUDGED = 3
"""Equality is judged by the gradients of so many batches, all of them at the start."""
_STANDSTILL = 1e-30
"""A rate that moves no float32 tensor: with it, trainers too stay at the start from batch to batch."""


def train(
    config: StudyConfig,
    *,
    methods: Sequence[str],
    peers: Sequence[str],
    per_template: Sequence[int],
    repetitions: int,
    command: str,
    products: int = 0,
    start: Start = Process,
    on_event: Callable[[str], None] = lambda event: None,
    on_result: Callable[[Result], object] = lambda result: None,
) -> Result:
    """Compares the training of each method with each peer.

    Args:
        config: model, data and training.
        methods: names of `material.SETTINGS`.
        peers: names of training sides.
        per_template: values of `questions_per_template`.
        repetitions: timed steps.
        command: as it was typed, for the record.
        products: how often the matrix products of each timed step of ours are timed alone, afterwards; 0 for not at all.
        start: starts a worker.
        on_event: told of each comparison before it begins.
        on_result: given what is known so far, after each comparison.

    Raises:
        UserError: model or data cannot be read.
    """
    made = material(config)
    worked = {
        "model": f"{config.model.id} in {config.model.dtype}",
        "data": f"{config.data.source}, {made.culture}, {len(made.trained):,} questions to train on",
        "prompt": f"{config.prompt.style}, options {config.prompt.options}",
        "batch": f"{config.training.batch_size} questions",
        "steps": f"{repetitions} timed after {WARM_UP}",
    }
    result = Result("train", command, describe(config.model), worked, ())
    with TemporaryDirectory() as scratch:
        for method in methods:
            chosen: dict[str, Mapping[str, Any]] = {}
            for together in per_template:
                folder = Path(scratch) / f"{method}-{together}"
                work = training_work(made, method, together, max(JUDGED, WARM_UP + repetitions), folder / "start")
                still = work.training.model_copy(update={"rate": _STANDSTILL, "weight_decay": 0.0})
                comparison = Comparison(
                    kind="train",
                    work=work,
                    variant=str(together),
                    folder=folder,
                    start=start,
                    judged=work.model_copy(update={"training": still, "batches": work.batches[:JUDGED]}),
                    answer=_gradients,
                    repeat=_step,
                    warm=range(WARM_UP),
                    timed=range(WARM_UP, WARM_UP + repetitions),
                    questions=len(work.batches[0]),
                    trial=work,
                    chosen=chosen,
                )
                for peer in peers:
                    on_event(f"{method}, {together} per template, {peer}")
                    result = replace(result, cells=(*result.cells, comparison.cell(peer)))
                    on_result(result)
                if products:
                    on_event(f"{method}, {together} per template, our matrix products alone")
                    share = _share(start, work, folder, str(together), products)
                    result = replace(result, shares=(*result.shares, share))
                    on_result(result)
    return result


def _gradients(talk: Talk, path: Path) -> Answer:
    """Losses and gradients of the first batches."""
    return gradient_answer((path, float(talk.ask("step", index=batch, gradients=path)["loss"])) for batch in range(JUDGED))


def _share(start: Start, work: Work, folder: Path, variant: str, rounds: int) -> Share:
    """Our side once more, by itself: whole steps and their products in turns."""
    talk = start()
    try:
        talk.ask("open", side=OURS["train"], work=write_work(folder / "products.json", work), options={})
        for index in range(WARM_UP):
            _step(talk, index)
        found = talk.ask("products", indices=list(range(WARM_UP, len(work.batches))), rounds=rounds)
    except SideError as error:
        return Share(work.method, variant, f"failed: {error}")
    finally:
        talk.close()
    return Share(work.method, variant, "measured", found["batches"], found["peak"])


def _step(talk: Talk, index: int) -> Reply:
    return talk.ask("step", index=index, gradients=None)
