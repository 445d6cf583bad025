"""The parts of a result's page: tables, lists, medians with their spread; and the two files of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from affinage.store import write_atomically, write_json

__all__ = ["gigabytes", "grid", "listed", "spread", "write_files"]


def write_files(folder: Path, name: str, record: Mapping[str, Any], page: str) -> tuple[Path, Path]:
    """Writes `NAME.json` and `NAME.md`; returns their paths.

    Raises:
        UserError: the place cannot be written.
    """
    files = folder / f"{name}.json", folder / f"{name}.md"
    write_json(files[0], dict(record))
    write_atomically(files[1], page.encode())
    return files


def spread(values: Sequence[float]) -> str:
    """Median (smallest to largest)."""
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def gigabytes(resident: int, device: int | None) -> str:
    """Memory of a process, and on the device where there is one."""
    text = f"{resident / 1e9:.2f} GB"
    return text if device is None else f"{text}; {device / 1e9:.2f} GB"


def listed(values: Mapping[str, Any]) -> str:
    """`* key: value` per line; a mapping's entries stand on its line."""
    lines = []
    for key, value in values.items():
        text = ", ".join(f"{name} {version}" for name, version in value.items()) if isinstance(value, Mapping) else str(value)
        lines.append(f"* {key}: {text}")
    return "\n".join(lines)


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int) -> str:
    """A Markdown table, numbers to the right.

    Args:
        header: names of the columns.
        rows: cells as text.
        words: how many columns, from the left, hold words.
    """
    rule = [":--" if place < words else "--:" for place in range(len(header))]
    return "\n".join(f"| {' | '.join(text.replace('|', '/') for text in row)} |" for row in (header, rule, *rows))
