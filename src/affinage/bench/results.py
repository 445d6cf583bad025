"""A bench's result: every repetition of both sides, what they amount to, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from affinage.bench.page import gigabytes, grid, listed, spread, write_files
from affinage.bench.share import Share, share_page
from affinage.bench.sides import Kind, sides

__all__ = ["Cell", "Measured", "Result", "as_dict", "markdown", "write"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one side took."""

    seconds: tuple[float, ...]
    """Per repetition: of a step, or of a pass over the test set."""
    questions: int
    """Per repetition."""
    tokens: int
    """That the decoder computed in all repetitions, padding left out; for us nodes of the tree."""
    padded: int
    """The same with padding."""
    resident: int
    """Largest resident memory of the side's process, bytes."""
    device: int | None
    """Largest memory on the CUDA device after loading, bytes; None without one."""

    @property
    def per_second(self) -> float:
        """Questions per second at the median."""
        return self.questions / median(self.seconds)


@dataclass(frozen=True, slots=True)
class Cell:
    """Our side against one peer."""

    method: str
    variant: str
    """Training: questions per template; evaluation: the style."""
    peer: str
    options: Mapping[str, Any]
    """The set-up that was the peer's fastest."""
    state: str
    """`measured`, `does not run: REASON` (the peer) or `failed: REASON` (unequal sides, or ours does not run)."""
    equality: Mapping[str, Any]
    """`equality.Equality` as values; empty where it did not come to that."""
    ours: Measured | None = None
    theirs: Measured | None = None

    @property
    def time_ratio(self) -> float | None:
        """The peer's time over ours, repetition by repetition, the median; above 1 we are faster."""
        return median(self.time_ratios) if self.time_ratios else None

    @property
    def time_ratios(self) -> list[float]:
        """Per repetition."""
        if self.ours is None or self.theirs is None:
            return []
        return [theirs / ours for ours, theirs in zip(self.ours.seconds, self.theirs.seconds, strict=True)]

    @property
    def token_ratio(self) -> float | None:
        """The peer's tokens over our nodes for the same questions, padding left out: what sharing saves."""
        return None if self.ours is None or self.theirs is None else self.theirs.tokens / self.ours.tokens

    @property
    def engineering(self) -> float | None:
        """Time ratio over token ratio: what is left when the saved tokens are paid for."""
        return None if self.time_ratio is None or self.token_ratio is None else self.time_ratio / self.token_ratio


@dataclass(frozen=True, slots=True)
class Result:
    """One run of a bench."""

    kind: Kind
    command: str
    """As it was typed."""
    machine: Mapping[str, Any]
    """`machine.describe`."""
    work: Mapping[str, Any]
    """Model, data, batch, type, repetitions."""
    cells: Sequence[Cell]
    shares: Sequence[Share] = ()
    """Training: what part of our step its matrix products are."""

    @property
    def failed(self) -> bool:
        """Whether two sides were unequal, or ours did not run."""
        return any(state.startswith("failed") for state in (*(cell.state for cell in self.cells), *(share.state for share in self.shares)))


def as_dict(result: Result) -> dict[str, Any]:
    """Plain values, the ratios beside what they are made of."""
    cells = [
        {**asdict(cell), "time_ratio": cell.time_ratio, "token_ratio": cell.token_ratio, "time_over_tokens": cell.engineering}
        for cell in result.cells
    ]
    head = {"bench": result.kind, "command": result.command, "machine": dict(result.machine), "work": dict(result.work)}
    return {**head, "failed": result.failed, "cells": cells, "shares": [share.as_dict() for share in result.shares]}


def write(result: Result, folder: Path, name: str) -> tuple[Path, Path]:
    """Writes `NAME.json` and `NAME.md`; returns their paths.

    Raises:
        UserError: the place cannot be written.
    """
    return write_files(folder, name, as_dict(result), markdown(result, name))


_TITLE = {"train": "Training", "eval": "Evaluation"}
_VARIANT = {"train": "questions per template", "eval": "answers"}
_UNIT = {"train": "s a step", "eval": "s a pass"}


def markdown(result: Result, name: str) -> str:
    """The page: what ran where, the table, what the columns mean, how equal the sides are."""
    unit = _UNIT[result.kind]
    header = ["method", _VARIANT[result.kind], "peer", f"peer, {unit}", f"affinage, {unit}", "peer, questions/s", "affinage, questions/s"]
    header += ["peer, memory", "affinage, memory", "time ratio", "token ratio", "time / token"]
    rows = [_row(cell) for cell in result.cells]
    parts = [
        f"# {_TITLE[result.kind]} against others: {name}",
        f"    {result.command}",
        listed(result.machine) + "\n" + listed(result.work),
        grid(header, rows, words=3),
        "Times are medians over the repetitions (smallest to largest), both sides taking turns in processes of their own. *time ratio*: the peer's "
        "time over ours, the median over the repetitions (smallest to largest). *token ratio*: the peer's tokens over our nodes in the same "
        "repetitions, padding left out. *time / token*: the first over the second, what engineering adds to sharing. Memory: largest resident "
        "memory of the process" + ("; on the device after loading" if any(_on_device(cell) for cell in result.cells) else "") + ".",
        "## Equality, asserted before timing",
        grid(
            (
                "method",
                _VARIANT[result.kind],
                "peer",
                "float32: largest deviation",
                "at",
                "from float64: ours",
                "the peer's",
                "narrow: our error",
                "the peer's",
            ),
            [_equal(cell) for cell in result.cells if cell.equality],
            words=3,
        ),
        share_page(result.shares),
        "## Peers",
        "\n".join(_described(result.cells)),
    ]
    if not result.cells:  # our own steps alone
        parts = [*parts[:3], share_page(result.shares)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(cell: Cell) -> tuple[str, ...]:
    place = (cell.method, cell.variant, cell.peer)
    if cell.ours is None or cell.theirs is None:
        return (*place, cell.state, *[""] * 8)
    ours, theirs = cell.ours, cell.theirs
    return (
        *place,
        spread(theirs.seconds),
        spread(ours.seconds),
        f"{theirs.per_second:.3g}",
        f"{ours.per_second:.3g}",
        gigabytes(theirs.resident, theirs.device),
        gigabytes(ours.resident, ours.device),
        spread(cell.time_ratios),
        f"{cell.token_ratio:.2f}",
        f"**{cell.engineering:.2f}**",
    )


def _equal(cell: Cell) -> tuple[str, ...]:
    found = cell.equality
    narrow = ("", "") if found["ours"] is None else (f"{found['ours']:.2e}", f"{found['theirs']:.2e}")
    exact = ("", "") if found["exact"] is None else tuple(f"{value:.1e}" for value in found["exact"])
    return (cell.method, cell.variant, cell.peer, f"{found['float32']:.1e}", str(found["where"]), *exact, *narrow)


def _on_device(cell: Cell) -> bool:
    return cell.ours is not None and cell.ours.device is not None


def _described(cells: Iterable[Cell]) -> list[str]:
    """Each peer in a sentence, with the set-ups that were fastest."""
    lines = []
    for name in dict.fromkeys(cell.peer for cell in cells):
        taken = dict.fromkeys(
            f"{cell.method}, {cell.variant}: {', '.join(f'{key} {value}' for key, value in cell.options.items())}"
            for cell in cells
            if cell.peer == name and cell.options
        )
        chosen = f" Fastest: {'; '.join(taken)}." if taken else ""
        lines.append(f"* `{name}`: {sides.get(name).what}.{chosen}")
    return lines
