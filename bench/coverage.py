"""Counts how often the intervals of `affinage.stats` hold the truth, on invented studies whose truth is known.

    python bench/coverage.py --blend path/to/blend
    python bench/coverage.py --templates 30 --splits 3 --studies 500 --out somewhere

Every study draws its templates, the rows of each, the splits and what each run is worth; the same functions that a report calls make the
intervals. A cell that is done stays in the result's JSON file, so the same command continues. One core; a cell takes seconds, the grid
about three minutes of processor time.
"""

# ruff: noqa: T201  (a script prints)

from __future__ import annotations

import argparse
import itertools
import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import invented_studies as invented
import numpy as np
import scipy
from invented_studies import INTERVALS, Cell

from affinage.bench.page import grid, listed, write_files
from affinage.stats import MINIMUM_SPLITS
from affinage.stats.bootstrap import Floats
from affinage.store import checkout, provenance, write_json

TEMPLATES, ROWS, CORRELATIONS, SPLITS = (10, 20, 30, 60, 120, 300), ("equal", "blend"), (0.2, 0.5, 0.9), (1, 3, 6)
"""Templates on each test side; rows per template; correlation of two rows of one template; splits."""

BLOCK, LARGE, MARK = 50, 60, 0.93
"""Studies with the same sides; templates above which half as many studies do; what a cell must reach."""


def measure(cell: Cell, sizes: Callable[[np.random.Generator, int], Floats], studies: int) -> dict[str, Any]:
    """Every interval's coverage in one cell."""
    held: dict[str, list[Floats]] = {kind: [] for kind in INTERVALS}
    width: dict[str, list[Floats]] = {kind: [] for kind in INTERVALS}
    began = time.process_time()
    studies = studies if cell.templates <= LARGE else studies // 2
    for number in range(math.ceil(studies / BLOCK)):
        drawn = invented.invent(cell, sizes, number, min(BLOCK, studies - number * BLOCK))
        for kind, truth, low, high in invented.intervals(drawn, number, cell):
            held[kind].append(np.where(np.isnan(low), np.nan, (low <= truth) & (truth <= high)))
            width[kind].append(high - low)
    found: dict[str, Any] = {"seconds": round(time.process_time() - began, 1)}
    for kind in INTERVALS:
        all_held, all_widths = np.concatenate(held[kind]), np.concatenate(width[kind])
        given = all_held[~np.isnan(all_held)]
        found[kind] = {"coverage": None, "error": None, "width": None, "refused": 1 - len(given) / len(all_held)}
        if len(given):
            share = float(given.mean())
            error = math.sqrt(max(share * (1 - share), 1 / len(given)) / len(given))
            found[kind] |= {"coverage": share, "error": error, "width": float(np.nanmedian(all_widths))}
    return found


def main() -> None:
    """Measures what is not in the result yet, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blend", default="", help="BLEnD's folder; without it its row counts are drawn from a log-normal distribution")
    parser.add_argument("--templates", type=int, nargs="*", default=list(TEMPLATES))
    parser.add_argument("--splits", type=int, nargs="*", default=list(SPLITS))
    parser.add_argument("--studies", type=int, default=2000, help="invented studies per cell")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    given = parser.parse_args()
    cells = [Cell(*values) for values in itertools.product(given.templates, ROWS, CORRELATIONS, given.splits)]
    cells += [Cell(templates, "equal", 0.5, splits, shared=True) for templates in (30, 120) for splits in given.splits if splits >= MINIMUM_SPLITS]
    record = _record(given)
    file = given.out / "coverage.json"
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if before["settings"] == record["settings"]:
            record["cells"] = before["cells"]
    sizes = {kind: invented.sizes_of(kind, given.blend) for kind in ROWS}
    given.out.mkdir(parents=True, exist_ok=True)
    for number, cell in enumerate(cells, start=1):
        if cell.name in record["cells"]:
            continue
        record["cells"][cell.name] = {**asdict(cell), **measure(cell, sizes[cell.rows], given.studies)}
        write_json(file, record)
        found = record["cells"][cell.name]
        print(f"{number}/{len(cells)} {cell.name}: {', '.join(_text(found[kind]) for kind in INTERVALS)}; {found['seconds']} s", flush=True)
    write_files(given.out, "coverage", record, page(record))


def _record(given: argparse.Namespace) -> dict[str, Any]:
    """What a result is called and made with, without any cell."""
    made = provenance("cpu", 1, checkout())
    settings = {"studies per cell": f"{given.studies}, half as many above {LARGE} templates", **invented.about(given.blend)}
    return {
        "command": shlex.join(["python", *sys.argv]).replace(given.blend or "\0", "path/to/blend"),
        "affinage": f"{made.affinage}, commit {made.commit or 'unknown'}{' with changes' if made.dirty else ''}",
        "python": f"{made.python} on {made.platform}",
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        "settings": settings,
        "cells": {},
    }


def page(record: dict[str, Any]) -> str:
    """The result's page."""
    cells = sorted(record["cells"].values(), key=lambda each: (each["shared"], each["rows"], each["templates"], each["correlation"], each["splits"]))
    about = {name: value for name, value in record.items() if name not in {"command", "settings", "cells"}}
    parts = ["# Coverage of the intervals", "", f"    {record['command']}", "", listed({**about, **record["settings"]}), "", READING, ""]
    parts += ["## In short", "", _summary([each for each in cells if not each["shared"]]), ""]
    header = ["templates on a test side", "correlation", "splits", *INTERVALS.values()]
    titles = {"equal": f"Rows per template: all {invented.EQUAL}", "blend": "Rows per template: BLEnD's"}
    for (shared, rows), group in itertools.groupby(cells, key=lambda each: (each["shared"], each["rows"])):
        parts += [f"## {SHARED if shared else titles[rows]}", ""]
        lines = [[str(each[name]) for name in ("templates", "correlation", "splits")] + [_text(each[kind]) for kind in INTERVALS] for each in group]
        parts += [grid(header, lines, words=0), ""]
    return "\n".join(parts)


def _summary(cells: list[dict[str, Any]]) -> str:
    """Per kind of interval: in how many cells it is given, the middle and the lowest coverage, how many are below the mark."""
    rows = []
    for kind, name in INTERVALS.items():
        given = [each[kind] for each in cells if each[kind]["coverage"] is not None]
        low = min(given, key=lambda found: found["coverage"], default=None)
        below = [found for found in given if found["coverage"] < MARK]
        surely = sum(found["coverage"] + 2 * found["error"] < MARK for found in below)
        if low is not None:
            middle = statistics.median(found["coverage"] for found in given)
            rows.append([name, str(len(given)), str(len(cells) - len(given)), f"{100 * middle:.1f}", _text(low), str(len(below)), str(surely)])
    header = ["interval", "cells", "refused", "middle coverage", "lowest", "below 93 %", "by more than two errors"]
    return grid(header, rows, words=1)


def _text(found: dict[str, Any]) -> str:
    """A coverage in percent with its Monte Carlo error; bold where it is below the mark."""
    if found["coverage"] is None:
        return "refused"
    text = f"{100 * found['coverage']:.1f} ± {100 * found['error']:.1f}"
    text = f"**{text}**" if found["coverage"] < MARK else text
    return text + (f" ({100 * found['refused']:.2g} % refused)" if found["refused"] else "")


SHARED = "Runs whose worth is made by their training templates: the truth under (b) is what a run on new data is worth"

READING = """Percent of the invented studies whose 95 % interval holds the truth, with the Monte Carlo error (one standard error). Bold: below 93 %.
Refused: the code gives the number without interval (in some studies of a cell, where a share stands). Truth under (a): what these runs are worth over
all templates; under (b): what a new run is worth.

*studentised alone* is not what the code gives: with few effective template groups it is too narrow, so each bound of *as given* is the farther of
it and of the jackknife's. (b) is wide with three splits, since a spread over three numbers is hardly known. In the last table runs owe what they
are worth to their training templates, four fifths of which two splits of one pool share: no spread between such splits can show what new data
would change. That is why a report calls (b) a lower bound of the uncertainty there; the corrected variance makes up for a part of it only."""


if __name__ == "__main__":
    main()
