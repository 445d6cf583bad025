"""`affinage demo`: the main job on embedded defaults."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from affinage.cli.flags import composed
from affinage.cli.report import write
from affinage.cli.say import examples, say
from affinage.cli.study import execute

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Puts the command into the whole."""
    app.command(
        short_help="The main job on a small model.",
        epilog=examples(
            "affinage demo                        SmolLM2-135M, a quarter of an hour on two cores",
            "affinage demo --strong --out runs/s  Qwen2.5-Coder-1.5B, about an hour",
        ),
    )(demo)


def demo(
    strong: Annotated[bool, typer.Option("--strong", help="The larger model, with letters as answers; takes about an hour.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The study's folder. Default: runs/demo or runs/demo-strong.")] = None,
) -> None:
    """Teach a small model some cultures, test every adapter on every culture, and say what can be said. Again = continue."""
    name = "demo-strong" if strong else "demo"
    out = out or Path("runs") / name
    config = composed(name, {})
    execute(config, out, name, {})
    write(out)
    adapters = _adapters(out)
    for culture, adapter in adapters.items():
        say(f"Adapter:  {adapter} ({culture})")
    say()
    say("Next:")
    beside = list(adapters.values())
    if beside:
        two = f" --beside {beside[1]}" if len(beside) > 1 else ""
        say(f'  affinage ask {beside[0]} "What do people eat for breakfast?"{two}')
    say(f"  affinage study plan {out}")
    say("  affinage study run my-study.yaml    (`affinage study plan --help` shows how to write one)")


def _adapters(out: Path) -> dict[str, Path]:
    """Up to two adapters of the last method, of different cultures."""
    from affinage.store import UNTOUCHED, UNTRAINED, StudyFolder, read_study

    found: dict[str, Path] = {}
    for run in reversed(read_study(out).runs):
        if run.status == "finished" and run.trained_culture not in {UNTOUCHED, UNTRAINED}:
            found.setdefault(run.trained_culture, StudyFolder(out).run(run.run).adapter)
    return dict(list(found.items())[:2])
