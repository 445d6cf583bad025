"""Profiles training steps operation by operation: what a step does beside its matrix products, and what that takes.

    python bench/profile_step.py --source blend --path BLEnD --culture Spain --name profile-cpu
    python bench/profile_step.py --device cuda --source blend --path BLEnD --culture Spain --name profile-cuda

The steps are those of `affinage bench train`. They are timed without the profiler first, which by itself takes a microsecond or more for each
operation, most of all for those that Python calls. On CUDA the table counts the device's time.
"""

# ruff: noqa: T201  (a script prints)

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import flags
import torch
from torch.profiler import ProfilerActivity, profile

from affinage.bench.machine import describe
from affinage.bench.material import SETTINGS, material, training_work
from affinage.bench.page import grid, listed, spread, write_files
from affinage.bench.sides.ours import OurTraining
from affinage.config import DataConfig, MethodConfig, ModelConfig, StudyConfig

_FIRST = 2
"""Steps before the first that counts."""


def main() -> None:
    """Prints the table and writes `NAME.json` and `NAME.md`."""
    given = _given()
    cultures = (given.culture,) if given.culture else None
    config = StudyConfig(
        name="profile",
        model=ModelConfig(id=given.model, device=given.device, dtype=given.dtype),
        data=DataConfig(source=given.source, path=given.path, cultures=cultures),
        methods=(MethodConfig(name="none"),),
    )
    made = material(config)
    with TemporaryDirectory() as folder:
        work = training_work(made, given.method, given.per_template, _FIRST + given.steps, Path(folder))
        side = OurTraining(work)
        for index in range(_FIRST):
            side.step(index)
        counted = range(_FIRST, _FIRST + given.steps)
        taken = [side.step(index) for index in counted]
        on_device = side.device.startswith("cuda")
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]) as seen:
            for index in counted:
                side.step(index)
    rows = _operations(seen, given.steps, on_device=on_device)
    record = {
        "bench": "profile",
        "command": shlex.join(["python", "bench/profile_step.py", *sys.argv[1:]]),
        "machine": describe(config.model),
        "work": {
            "model": f"{config.model.id} in {config.model.dtype}",
            "data": f"{given.source}, {made.culture}",
            "method": f"{given.method} ({', '.join(f'{name} {value}' for name, value in SETTINGS[given.method].items())})",
            "batch": f"{work.training.batch_size} questions, {given.per_template} per template",
            "nodes": spread([step.tokens for step in taken]),
            "seconds a step, without the profiler": spread([step.seconds for step in taken]),
        },
        "seconds": [step.seconds for step in taken],
        "operations": rows,
    }
    page = _page(given.name, record, given.rows)
    print(page)
    for path in write_files(Path(given.out), given.name, record, page):
        print(path)


def _given() -> argparse.Namespace:
    """The flags."""
    parser = flags.shared(__doc__, name="profile-cpu")
    parser.add_argument("--method", default="prompt-tuning", choices=sorted(SETTINGS))
    parser.add_argument("--per-template", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rows", type=int, default=24)
    return parser.parse_args()


def _operations(seen: Any, steps: int, *, on_device: bool) -> list[dict[str, Any]]:
    """Per operation its own milliseconds and its calls in a step, the longest first."""
    found = [
        {
            "name": each.key,
            "ms": (each.self_device_time_total if on_device else each.self_cpu_time_total) / 1e3 / steps,
            "calls": each.count / steps,
        }
        for each in seen.key_averages()
    ]
    return sorted((each for each in found if each["ms"] > 0), key=lambda each: -each["ms"])


def _page(name: str, record: dict[str, Any], shown: int) -> str:
    """The result's page."""
    rows = record["operations"]
    total = sum(each["ms"] for each in rows)

    def row(label: str, of: list[dict[str, Any]]) -> tuple[str, ...]:
        own = sum(each["ms"] for each in of)
        return label, f"{own:,.1f}", f"{100 * own / total:.1f} %", f"{sum(each['calls'] for each in of):,.0f}"

    table = [row(f"`{each['name']}`", [each]) for each in rows[:shown]]
    table += [row(f"{len(rows) - shown} others", rows[shown:])] if len(rows) > shown else []
    parts = [
        f"# A training step, operation by operation: {name}",
        f"    {record['command']}",
        listed({**record["machine"], **record["work"]}),
        grid(["operation", "ms a step", "part", "calls"], [*table, row("**all**", rows)], words=1),
        f"Each operation's own time, means over {len(record['seconds'])} steps under torch {torch.__version__}'s profiler, which lengthens whatever "
        "is called often: the last row is longer than a step without it, by as much.",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
