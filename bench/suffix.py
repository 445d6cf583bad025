"""Measures training steps of virtual tokens behind the question: with gradients everywhere, without gradient before them, and with kept states.

    python bench/suffix.py --source blend --path BLEnD --culture Spain
    python bench/suffix.py --source blend --path BLEnD --culture Spain --style text --loss choice --name suffix-text-cpu
    python bench/suffix.py --device cuda --source blend --path BLEnD --culture Spain --name suffix-cuda

The three ways take turns on the same batches, in one process: prompt-tuning of 4 and of 16 vectors, questions drawn plainly and four of one
template side by side. Losses and gradients of the first batch are compared before anything is timed.
"""

# ruff: noqa: T201  (a script prints)

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import flags
import torch

from affinage import backbone, data
from affinage.backbone import Backbone
from affinage.bench.machine import describe
from affinage.bench.page import grid, listed, spread, write_files
from affinage.config import DataConfig, MethodConfig, ModelConfig, PromptConfig, TrainingConfig
from affinage.methods import resolve
from affinage.records import MCQ, Encoded
from affinage.study.costs import Machine, measure, sample, state_bytes, step_seconds
from affinage.study.costs.formulas import Step
from affinage.train import Batch, Way, cohort_losses, reading

WAYS: tuple[Way, ...] = ("gradient", "no-gradient", "kept")


def main() -> None:
    """Prints each measurement as it comes and writes `NAME.json` and `NAME.md`."""
    given = _given()
    config = ModelConfig(id=given.model, device=given.device, dtype=given.dtype)
    prompt, loaded = PromptConfig(style=given.style), backbone.load(config)
    dataset = data.load(DataConfig(source=given.source, path=given.path))
    culture = given.culture or dataset.cultures[0]
    asked = dataset.questions(dataset.select(cultures=(culture,)).frame)
    machine = Machine(*backbone.free_memory(given.device), measure.measure(loaded.shape, config))
    cells = []
    for together in given.per_template:
        training = TrainingConfig(loss=given.loss, batch_size=given.batch_size, questions_per_template=together)
        batches = sample.first_batches(asked, loaded.tokens, training, prompt, members=given.repetitions + 1, seed=0)
        for length in given.vectors:
            cell = {"vectors": length, "per_template": together, **_cell(loaded, batches, training, prompt, length=length, machine=machine)}
            cells.append(cell)
            print(*_row(cell), sep=" | ", flush=True)
    work = {
        "model": f"{config.id} in {config.dtype}",
        "data": f"{given.source}, {culture}, {len(asked):,} questions",
        "prompt": f"{given.style}, loss {given.loss}",
        "batch": f"{given.batch_size} questions",
        "steps": f"{given.repetitions} timed after 1 of each way, in turns",
    }
    record = {
        "bench": "suffix",
        "command": shlex.join(["python", "bench/suffix.py", *sys.argv[1:]]),
        "machine": describe(config),
        "work": work,
        "cells": cells,
        "states": _states(loaded, asked, training, prompt, machine),
    }
    for path in write_files(Path(given.out), given.name, record, _page(given.name, record)):
        print(path)


def _given() -> argparse.Namespace:
    """The flags."""
    parser = flags.shared(__doc__, name="suffix-cpu")
    parser.add_argument("--style", default="letters")
    parser.add_argument("--loss", default="answer")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--vectors", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--per-template", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repetitions", type=int, default=9)
    return parser.parse_args()


def _cell(
    loaded: Backbone, batches: Sequence[Sequence[Encoded]], training: TrainingConfig, prompt: PromptConfig, *, length: int, machine: Machine
) -> dict[str, Any]:
    """One number of vectors with one way of drawing batches: nodes, seconds of each step in each way, how far the ways are apart."""
    settings = {"length": length, "place": "before_answer"}
    method = resolve(MethodConfig(name="prompt-tuning", settings=settings), training)
    adapter = method.build(loaded, ("prompt-tuning", "suffix bench", 0, 0))
    everything = [each for batch in batches for each in batch]
    reads = {way: reading(loaded, way, everything, training.loss, prompt.score) for way in WAYS}

    def step(way: Way, batch: Sequence[Encoded]) -> tuple[float, torch.Tensor]:
        adapter.zero_grad()
        (loss,), _ = cohort_losses(reads[way], [Batch(adapter, batch)], training.loss, prompt.score)
        (vectors,) = adapter.parameters()
        assert vectors.grad is not None
        return loss, vectors.grad.clone()

    first = {way: step(way, batches[0]) for way in WAYS}
    loss, gradient = first["gradient"]
    apart = {
        way: {"loss": abs(found[0] - loss) / abs(loss), "gradient": float((found[1] - gradient).norm() / gradient.norm())}
        for way, found in first.items()
        if way != "gradient"
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number, batch in enumerate(batches[1:]):
        for way in (*WAYS[number % 3 :], *WAYS[: number % 3]):
            _finish(loaded)
            began = time.perf_counter()
            step(way, batch)
            _finish(loaded)
            seconds[way].append(time.perf_counter() - began)
    about = sample.adapter_of(method, loaded.shape)
    laid: dict[str, list[Step]] = {
        way: [sample.training_step([batch], training.loss, prompt.score, about, nodes_per_pack=None, context=way) for batch in batches[1:]]
        for way in WAYS
    }
    width = torch.finfo(loaded.dtype).bits // 8
    return {
        "nodes": [sum(pack.nodes for pack in each.packs) for each in laid["gradient"]],
        "behind": [sum(pack.nodes for pack in each.packs) for each in laid["kept"]],
        "seconds": seconds,
        "told": {
            way: [step_seconds(each, loaded.shape, machine.rates, width=width, adapter=about, members=1) for each in steps]
            for way, steps in laid.items()
        },
        "apart": apart,
    }


def _states(loaded: Backbone, asked: Sequence[MCQ], training: TrainingConfig, prompt: PromptConfig, machine: Machine) -> dict[str, Any]:
    """What the states of all questions of the culture take, from some whole templates of them: nodes, bytes and seconds a question."""
    read = sample.reading_step(asked, loaded.tokens, training.loss, prompt, seed=0)
    near = sorted(asked, key=lambda mcq: (mcq.template_id, mcq.mcq_id))[: read.questions]
    encoded, _ = loaded.tokens.encode_all(near, prompt, seed=0)
    _finish(loaded)
    began = time.perf_counter()
    reading(loaded, "kept", encoded, training.loss, prompt.score)
    _finish(loaded)
    took = time.perf_counter() - began
    nodes = sum(pack.nodes for pack in read.read) / read.questions
    width = torch.finfo(loaded.dtype).bits // 8
    each = state_bytes(nodes, loaded.shape, width=width)
    return {"questions": read.questions, "nodes": nodes, "bytes": each, "seconds": took / read.questions, "bytes_of_16000": 16_000 * each}


def _finish(loaded: Backbone) -> None:
    """Waits for what was begun."""
    if loaded.device.type == "cuda":
        torch.cuda.synchronize()


def _ratios(cell: dict[str, Any], way: str) -> list[float]:
    """Seconds with gradients everywhere over those of a way, batch by batch."""
    return [whole / other for whole, other in zip(cell["seconds"]["gradient"], cell["seconds"][way], strict=True)]


def _row(cell: dict[str, Any]) -> tuple[str, ...]:
    told = {way: median(cell["told"]["gradient"]) / median(cell["told"][way]) for way in WAYS[1:]}
    return (
        str(cell["vectors"]),
        str(cell["per_template"]),
        f"{median(cell['nodes']):,.0f}",
        f"{median(cell['behind']):,.0f}",
        *(spread(cell["seconds"][way]) for way in WAYS),
        f"**{spread(_ratios(cell, 'no-gradient'))}**",
        f"{told['no-gradient']:.2f}",
        f"**{spread(_ratios(cell, 'kept'))}**",
        f"{told['kept']:.2f}",
    )


def _page(name: str, record: dict[str, Any]) -> str:
    """The result's page."""
    header = ["vectors", "questions per template", "nodes a step", "of them behind the questions"]
    header += [f"{way}, s a step" for way in WAYS]
    header += ["gradient / no-gradient", "estimated", "gradient / kept", "estimated"]
    states = record["states"]
    furthest = {key: max(found[key] for cell in record["cells"] for found in cell["apart"].values()) for key in ("loss", "gradient")}
    parts = [
        f"# Virtual tokens behind the question: {name}",
        f"    {record['command']}",
        listed({**record["machine"], **record["work"]}),
        grid(header, [_row(cell) for cell in record["cells"]], words=2),
        "Prompt-tuning with its vectors before the answer. Medians over the batches (smallest to largest); ratios batch by batch. *gradient*: one "
        "tree, gradients everywhere. *no-gradient*: the questions' nodes in a pass of their own without gradient. *kept*: that pass made before the "
        "training. *estimated*: what the cost model says of the same batches.",
        f"On the first batch of each row the ways are at most {furthest['loss']:.1e} of the loss and {furthest['gradient']:.1e} of the gradient's "
        "norm apart.",
        f"Kept states, from {states['questions']:,} questions of whole templates: {states['nodes']:.1f} nodes, {states['bytes'] / 1e6:.3f} MB and "
        f"{1e3 * states['seconds']:.1f} ms a question, made once; {states['bytes_of_16000'] / 1e9:.1f} GB for 16,000 questions.",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
