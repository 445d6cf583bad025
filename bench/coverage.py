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
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import invented_studies as invented
import numpy as np
import numpy.typing as npt
import scipy.stats
from invented_studies import GAIN, SHARE, STARTS, Design, Studies

from affinage.bench.page import grid, listed, write_files
from affinage.stats import MINIMUM_EFFECTIVE, MINIMUM_SPLITS, draw_groups
from affinage.stats.bootstrap import Floats
from affinage.stats.intervals import effective_groups, jackknife
from affinage.stats.procedure import decompose, resampled
from affinage.stats.studentised import bootstrap_t
from affinage.store import checkout, provenance, write_json

TEMPLATES, ROWS, CORRELATIONS, SPLITS = (10, 20, 30, 60, 120, 300), ("equal", "blend"), (0.2, 0.5, 0.9), (1, 3, 6)
"""Templates on each test side; rows per template; correlation of two rows of one template; splits."""

BLOCK, LARGE, MARK = 50, 60, 0.93
"""Studies with the same sides; templates above which half as many studies do; what a cell must reach."""

DRAWS, LEVEL, ROUNDING = 999, 0.95, 1e-7
"""Draws of a studentised interval; what an interval promises; a deviation below which sums of squares are rounding."""

INTERVALS = {
    "template": "(a) by template",
    "row-jackknife": "(a) by row, jackknife",
    "quantiles": "the same, studentised alone",
    "row": "(a) by row, as given",
    "procedure": "(b)",
    "corrected": "(b), corrected",
}


def measure(cell: Design, sizes: Callable[[np.random.Generator, int], Floats], studies: int) -> dict[str, Any]:
    """Every interval's coverage in one cell."""
    held: dict[str, list[Floats]] = {kind: [] for kind in INTERVALS}
    width: dict[str, list[Floats]] = {kind: [] for kind in INTERVALS}
    began = time.process_time()
    studies = studies if cell.templates <= LARGE else studies // 2
    for number in range(math.ceil(studies / BLOCK)):
        drawn = invented.worthwhile(cell, sizes, number, min(BLOCK, studies - number * BLOCK))
        for kind, truth, low, high in intervals(drawn, number, cell):
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
    cells = [Design(*values) for values in itertools.product(given.templates, ROWS, CORRELATIONS, given.splits)]
    cells += [Design(templates, "equal", 0.5, splits, shared=True) for templates in (30, 120) for splits in given.splits if splits >= MINIMUM_SPLITS]
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


# The intervals of `affinage.stats`, for many studies at once -----------------------------------------------------------------------------


def intervals(studies: Studies, number: int, cell: Design) -> Iterator[tuple[str, Floats, Floats, Floats]]:
    """Per kind of interval: truth, lower and upper bounds, NaN where the code gives none; shape [studies] each."""
    runs = studies.total.shape[1]
    weight = np.full(runs, 1 / runs)
    there = (studies.count > 0).astype(np.float64)
    accuracy = np.divide(studies.total, studies.count, out=np.zeros_like(studies.total), where=studies.count > 0)
    adapters, everywhere = studies.worth @ weight, np.full(len(studies.total), GAIN)
    bounds = {}
    for kind, total, count in (("template", accuracy, there), ("row-jackknife", studies.total, studies.count)):
        value, error = jackknife(total, count, weight)
        effective = effective_groups(count, weight)
        bounds[kind] = _bounds(value, error, effective - 1, refused=effective < MINIMUM_EFFECTIVE)
        yield kind, adapters, *bounds[kind]
    low, high = _studentised(studies, weight, number, cell)
    yield "quantiles", adapters, low, high
    yield "row", adapters, np.minimum(low, bounds["row-jackknife"][0]), np.maximum(high, bounds["row-jackknife"][1])
    effective = effective_groups(there, weight)
    nothing = np.full(len(studies.total), np.nan)
    if cell.splits < MINIMUM_SPLITS:
        yield "procedure", everywhere, nothing, nothing
        yield "corrected", everywhere, nothing, nothing
        return
    found = decompose(accuracy, there, weight, studies.split)
    refused = effective < MINIMUM_EFFECTIVE
    yield "procedure", everywhere, *_bounds(found.value, np.sqrt(found.variance), found.degrees, refused=refused)
    error = np.sqrt(resampled(accuracy, there, weight, studies.split, SHARE / (1 - SHARE)))
    yield "corrected", everywhere, *_bounds(found.value, error, cell.splits - 1, refused=refused)


def _bounds(value: Floats, error: Floats, degrees: Floats | float, *, refused: bool) -> tuple[Floats, Floats]:
    half = np.full_like(value, np.nan) if refused else scipy.stats.t.ppf((1 + LEVEL) / 2, degrees) * error
    return value - half, value + half


def _studentised(studies: Studies, weight: Floats, number: int, cell: Design) -> tuple[Floats, Floats]:
    """The studentised bounds of each study; the starts of a split have the same rows and are one cell."""
    first = np.arange(0, len(studies.split), STARTS)
    total, count = np.add.reduceat(studies.total, first, axis=1) / STARTS, studies.count[first]
    weights = np.add.reduceat(weight, first)
    if effective_groups(count, weights) < MINIMUM_EFFECTIVE:
        nothing = np.full(len(total), np.nan)
        return nothing, nothing
    counts = draw_groups(total.shape[2], DRAWS, ("coverage", cell.name, number))
    value, error, quantiles = pivots(total, count, weights, counts)
    expected = bootstrap_t(total[0], count, weights, counts, LEVEL)
    np.testing.assert_allclose((error[0], *quantiles[:, 0]), (expected[0], *expected[1]), rtol=1e-6, err_msg=cell.name)
    quantiles = np.where(np.isfinite(quantiles).all(0), quantiles, np.nan)
    return value - quantiles[1] * error, value - quantiles[0] * error


def pivots(total: Floats, count: Floats, weight: Floats, counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """`stats.studentised.bootstrap_t` of many studies with the same rows, its squares multiplied out: few large matrix products.

    With A_c a cell's weight over its size and m_c its mean in a draw, sum_g k_g (sum_c A_c (t_cg - m_c n_cg))^2 is a sum over pairs of cells of
    products of draws with t t', t n' and n n'.

    Args:
        total: shape [studies, cells, groups].
        count: shape [cells, groups].
        weight: shape [cells].
        counts: shape [draws, groups].

    Returns:
        Value and error, shape [studies]; quantiles, shape [2, studies], NaN where too many draws lack a cell.
    """
    studies, cells, groups = total.shape
    drawn = np.concatenate([np.ones((1, groups)), counts])
    drawn = drawn[(drawn @ count.T > 0).all(1)]
    sizes = drawn @ count.T
    share = weight / sizes

    def over(products: Floats) -> Floats:
        return np.asarray((drawn @ products.reshape(-1, groups).T).reshape(len(drawn), *products.shape[:-1]))

    means = over(total) / sizes[:, None]
    variances = np.zeros((len(drawn), studies))
    for one in range(cells):
        for other in range(cells):
            both = (share[:, one] * share[:, other])[:, None]
            crossed = over(total[:, one] * count[other]) * means[:, :, other]
            sized = over((count[one] * count[other])[None]) * means[:, :, one] * means[:, :, other]
            if other >= one:
                variances += (1 + (other > one)) * both * over(total[:, one] * total[:, other])
            variances += both * (sized - 2 * crossed)
    there = int((count.sum(0) > 0).sum())
    values, errors = means @ weight, np.sqrt(there / (there - 1) * np.maximum(variances, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(np.abs(values - values[0]) < ROUNDING, 0.0, (values - values[0]) / np.where(errors < ROUNDING, 0.0, errors))[1:]
    enough = len(found) >= 0.99 * len(counts)
    levels = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return values[0], errors[0], np.quantile(found, levels, axis=0, method="inverted_cdf") if enough else np.full((2, studies), np.nan)


# The page ------------------------------------------------------------------------------------------------------------------------------


def _record(given: argparse.Namespace) -> dict[str, Any]:
    """What a result is called and made with, without any cell."""
    made = provenance("cpu", 1, checkout())
    settings = {"studies per cell": f"{given.studies}, half as many above {LARGE} templates", **invented.about(given.blend)}
    settings |= {"draws of a studentised interval": DRAWS, "interval": LEVEL}
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
