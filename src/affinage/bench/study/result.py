"""What a study's bench found: every repetition of both sides, the memory of small cohorts, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from affinage.bench.page import gigabytes, grid, listed, spread, write_files
from affinage.bench.sides import sides as known
from affinage.bench.study.memory import Fit, Row, fitted

__all__ = ["Side", "Sides", "StudyResult", "as_dict", "markdown", "write"]


@dataclass(frozen=True, slots=True)
class Side:
    """What one side took in one repetition."""

    loading: tuple[float, ...]
    """Seconds of each process from its start until its model was loaded."""
    training: tuple[float, ...]
    """Seconds of each training (ours: of each cohort), saving included."""
    tokens: int
    """That the decoder computed, padding left out; for us nodes of the trees."""
    padded: int
    """The same with padding."""
    losses: tuple[float, ...]
    """Of each adapter's last step."""
    digests: tuple[str, ...]
    """Of each adapter's batches."""
    resident: int
    """Largest resident memory of a process, bytes."""
    device: int | None
    """Largest memory on the CUDA device, bytes; None without one."""

    @property
    def seconds(self) -> float:
        """The whole."""
        return sum(self.loading) + sum(self.training)


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides in one repetition."""

    ours: Side
    theirs: Side
    apart: tuple[float, ...]
    """Per adapter the distance of the two sides' trained tensors, as a part of the peer's distance from the start."""

    @property
    def time_ratio(self) -> float:
        """The peer's whole time over ours."""
        return self.theirs.seconds / self.ours.seconds

    @property
    def training_ratio(self) -> float:
        """The same without starting and loading: what the whole comes near to as trainings get longer."""
        return sum(self.theirs.training) / sum(self.ours.training)

    @property
    def token_ratio(self) -> float:
        """The peer's tokens over our nodes, padding left out: what sharing saves."""
        return self.theirs.tokens / self.ours.tokens


@dataclass(frozen=True, slots=True)
class StudyResult:
    """One run of the bench."""

    command: str
    """As it was typed."""
    machine: Mapping[str, Any]
    """`machine.describe`."""
    work: Mapping[str, Any]
    """Model, data, adapters, steps, cohorts."""
    method: str
    peer: str
    """Which of `worker.PEERS`."""
    state: str
    """`measured`, `does not run: REASON` (the peer) or `failed: REASON` (unequal sides, or ours does not run)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The set-up that was the peer's fastest."""
    equality: Mapping[str, Any] = field(default_factory=dict)
    """`equality.Equality` as values; empty where it did not come to that."""
    repetitions: tuple[Sides, ...] = ()
    memory: tuple[Row, ...] = ()
    """Empty where it was not asked for."""

    @property
    def failed(self) -> bool:
        """Whether the sides were unequal, or ours did not run; a cohort that is too large for the memory is a finding."""
        return self.state.startswith("failed")


def as_dict(result: StudyResult) -> dict[str, Any]:
    """Plain values, the ratios beside what they are made of."""
    repetitions = [
        {**asdict(each), "time_ratio": each.time_ratio, "training_ratio": each.training_ratio, "token_ratio": each.token_ratio}
        for each in result.repetitions
    ]
    fit = fitted(result.memory)
    return {
        **{name: getattr(result, name) for name in ("command", "method", "peer", "state", "failed")},
        **{name: dict(getattr(result, name)) for name in ("machine", "work", "options", "equality")},
        "bench": "study",
        "repetitions": repetitions,
        "memory": {"rows": [asdict(row) for row in result.memory], "fit": None if fit is None else asdict(fit)},
    }


def write(result: StudyResult, folder: Path, name: str) -> tuple[Path, Path]:
    """Writes `NAME.json` and `NAME.md`; returns their paths.

    Raises:
        UserError: the place cannot be written.
    """
    return write_files(folder, name, as_dict(result), markdown(result, name))


def markdown(result: StudyResult, name: str) -> str:
    """The page: what ran where, both sides, how equal they are, the memory of another adapter."""
    parts = [
        f"# A study against a process for each adapter: {name}",
        f"    {result.command}",
        listed(result.machine) + "\n" + listed(result.work),
        *([f"**{result.state}**"] if result.state != "measured" else []),
        *(_compared(result) if result.repetitions else ()),
        *(_equal(result) if result.equality else ()),
        *(_remembered(result) if result.memory else ()),
    ]
    return "\n\n".join(parts) + "\n"


def _compared(result: StudyResult) -> Iterable[str]:
    """Both sides' times and memory, and their ratios."""
    ours, theirs = [each.ours for each in result.repetitions], [each.theirs for each in result.repetitions]
    header = ["side", "models loaded", "s, the whole", "s, starting and loading", "s, training and saving", "tokens", "memory"]
    yield grid(header, [_row("affinage, cohorts over one model", ours), _row("PEFT, a process for each adapter", theirs)], words=1)
    whole, training = [each.time_ratio for each in result.repetitions], [each.training_ratio for each in result.repetitions]
    tokens = result.repetitions[0].token_ratio
    rows = [
        ("the whole", spread(whole), f"{tokens:.2f}", f"**{median(whole) / tokens:.2f}**"),
        ("training and saving", spread(training), f"{tokens:.2f}", f"**{median(training) / tokens:.2f}**"),
    ]
    yield grid(("", "time ratio", "token ratio", "time / token"), rows, words=1)
    set_up = f"; fastest: {', '.join(f'{key} {value}' for key, value in result.options.items())}" if result.options else ""
    yield (
        "Seconds are sums over a side's processes and trainings, medians over the repetitions (smallest to largest); the two sides took turns, "
        "cohort by cohort. *time ratio*: the peer's time over ours. Of short trainings loading is a large part: the longer they get, the nearer "
        "the whole comes to the second row. *token ratio*: the peer's tokens over our nodes, padding left out. *time / token*: the first over the "
        "second. Memory: largest resident memory of a process, loading included; on CUDA also on the device. Each side has one model in memory at "
        f"a time; the peer loads it anew for each adapter. The peer, `{result.peer}`: {known.get(result.peer).what}; saved with `save_pretrained`"
        f"{set_up}. What its process imports and reads for this bench alone is taken off its time."
    )


def _row(name: str, repetitions: Sequence[Side]) -> tuple[str, ...]:
    first = repetitions[0]
    device = max(side.device or 0 for side in repetitions) if first.device is not None else None
    return (
        name,
        str(len(first.loading)),
        spread([side.seconds for side in repetitions]),
        spread([sum(side.loading) for side in repetitions]),
        spread([sum(side.training) for side in repetitions]),
        f"{first.tokens:,}",
        gigabytes(max(side.resident for side in repetitions), device),
    )


def _equal(result: StudyResult) -> Iterable[str]:
    """The gradients' equality, and where the trainings ended."""
    found = result.equality
    narrow = ("", "") if found["ours"] is None else (f"{found['ours']:.2e}", f"{found['theirs']:.2e}")
    exact = ("", "") if found["exact"] is None else tuple(f"{value:.1e}" for value in found["exact"])
    header = ("float32: largest deviation", "at", "from float64: ours", "the peer's", "narrow: our error", "the peer's")
    yield "## Equality, asserted before timing"
    yield grid(header, [(f"{found['float32']:.1e}", str(found["where"]), *exact, *narrow)], words=0)
    yield (
        "Of the gradients of the first adapter's first batch (batch 0) and of the last adapter's (batch 1) at the start, ours computed in their "
        "cohorts and packs. Both sides then train on the same batches, by their digests."
    )
    if result.repetitions:
        last = result.repetitions[-1]
        yield (
            f"After the last step the trained tensors of the two sides are {median(last.apart):.1e} apart (largest {max(last.apart):.1e}), as a part "
            f"of how far the peer's have moved from the start; the mean loss of the last step was {mean(last.ours.losses):.4f} here and "
            f"{mean(last.theirs.losses):.4f} there. Rounding grows from step to step; this is told, not judged."
        )


def _remembered(result: StudyResult) -> Iterable[str]:
    """The memory of small cohorts and what it tells of another adapter."""
    yield "## Memory of another adapter in a cohort"
    rows = [
        (
            str(row.adapters),
            "one pack" if row.nodes_per_pack is None else f"packs of {row.nodes_per_pack:,}",
            *_measured(row),
        )
        for row in result.memory
    ]
    header = ("adapters", "a step is", "nodes of the largest pack", "MB after loading", "MB at most", "allocated in the steps, MB")
    yield grid(header, rows, words=0)
    fit = fitted(result.memory)
    if fit is None:
        yield "Too few cohorts to tell an adapter's memory from that of its nodes."
        return
    own = next(row.adapter for row in result.memory if row.state == "measured")
    parts = "its tensors, gradients and AdamW's moments"
    each = [
        ("another adapter, packs as large", f"{fit.per_adapter / 1e6:,.3f} MB", f"{own / 1e6:,.3f} MB: {parts}"),
        ("another node of the largest pack", f"{fit.per_node / 1e6:,.3f} MB", "its activations"),
        *_together(result.memory, fit, own, parts),
    ]
    yield grid(("what is added", "measured", "made of"), each, words=3)
    yield (
        f"Least squares, first over the packs of one adapter's step, none of which is farther than {fit.off / 1e6:,.3f} MB from its line, then over "
        f"all: {fit.base / 1e6:,.0f} MB + adapters x {fit.per_adapter / 1e6:,.3f} MB + nodes x {fit.per_node / 1e6:,.3f} MB; no cohort is farther "
        f"from that than {fit.largest / 1e6:,.1f} MB. "
        "Each cohort ran in a process of its own, a few steps, all its adapters on the first one's questions. *MB after loading* and *MB at most*: "
        "resident memory (on a CPU with the records of the profiler that counts), on CUDA what is allocated on the device. *allocated in the steps*: "
        "the most that torch held at once on the CPU beyond what it held before the first step, which the lines are laid through there."
    )


def _measured(row: Row) -> tuple[str, str, str, str]:
    """Its numbers, or why there are none."""
    if row.state != "measured":
        return row.state, "", "", ""
    allocated = "" if row.allocated is None else f"{row.allocated / 1e6:,.1f}"
    return f"{row.nodes:,}", f"{row.before / 1e6:,.0f}", f"{row.peak / 1e6:,.0f}", allocated


def _together(rows: Sequence[Row], fit: Fit, own: int, parts: str) -> Iterable[tuple[str, ...]]:
    """What another adapter adds where a step is one pack: from one adapter to the largest such cohort."""
    told = [row for row in rows if row.state == "measured" and (row.nodes_per_pack is None or row.adapters == 1)]
    first, last = min(told, key=lambda row: row.adapters), max(told, key=lambda row: row.adapters)
    more = last.adapters - first.adapters
    if first.adapters == 1 and more:
        nodes = (last.nodes - first.nodes) / more
        activations = f"{own / 1e6:,.2f} MB: {parts}; {nodes * fit.per_node / 1e6:,.0f} MB: activations of its {nodes:,.0f} nodes"
        yield "another adapter, a step as one pack", f"{(last.held - first.held) / more / 1e6:,.2f} MB", activations
