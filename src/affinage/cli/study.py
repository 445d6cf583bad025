"""`affinage study run` and `affinage study plan`."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affinage.cli.estimated import MemoryFlag, RateFlag, compared, machine_of, said, said_gain
from affinage.cli.fetch import fetch
from affinage.cli.flags import DataFlag, LimitFlag, ModelFlag, SetFlag, announce, announce_compilations, assignments, composed, without_none
from affinage.cli.say import complain, counted, duration, examples, say, table
from affinage.cli.terms import show_terms
from affinage.config import StudyConfig

if TYPE_CHECKING:
    from pydantic import BaseModel

    from affinage.study import Plan, Progress

__all__ = ["add_to", "execute", "located"]

group = typer.Typer(
    no_args_is_help=True,
    short_help="Run a study, or see how far it is.",
    help="Run a study (every method on every culture, tested on every culture), or see what it would run.",
    rich_markup_mode=None,
    epilog=examples("affinage study plan my-study.yaml", "affinage study run my-study.yaml --out runs/mine"),
)

SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A YAML file, a preset (paper, demo, demo-strong), or the folder of a study that was begun.")
]
OutFlag = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The study's folder. Default: runs/NAME of the source.")]


def add_to(app: typer.Typer) -> None:
    """Puts the group into the command."""
    app.add_typer(group, name="study")


@group.command(
    epilog=examples(
        "affinage study run demo                                                  a shipped preset, into runs/demo",
        "affinage study run paper --model allenai/OLMo-7B-Instruct-hf --data hub  the reference study, on a GPU machine",
        "affinage study run my-study.yaml --set training.rate=1e-4 --limit 20     a trial with few questions",
        "affinage study run runs/mine                                             continue a study by its folder",
    )
)
def run(
    source: SourceArgument,
    *,
    out: OutFlag = None,
    model: ModelFlag = None,
    data: DataFlag = None,
    setting: SetFlag = None,
    limit: LimitFlag = None,
) -> None:
    """Run a study, or what is missing of it: after any crash the same command continues.

    A study is a YAML file; `affinage study plan` prints what it would run. Several processes may work on one folder at the same time.
    """
    place, out = located(source, out)
    overrides = {**assignments(setting), **without_none(model__id=model, data__path=data, limit=limit)}
    execute(composed(place, overrides), out, place, overrides)
    say(f"Next: affinage report {out}")


def located(source: str, out: Path | None) -> tuple[str, Path]:
    """The study's file or preset, and its folder.

    A study's folder stands for the `study.yaml` in it, and that file for a study in its own folder.
    """
    path = Path(source)
    if (path / "study.yaml").is_file():
        path = path / "study.yaml"
    if path.name == "study.yaml" and (path.parent / "plan").is_dir():
        return str(path), out or path.parent
    return str(path) if path.exists() else source, out or Path("runs") / (path.stem if path.suffix in {".yaml", ".yml"} else path.name)


def execute(config: StudyConfig, out: Path, source: str, overrides: Mapping[str, Any]) -> None:
    """Runs a study and says how it went.

    Raises:
        typer.Exit: 1 when a run failed, 130 when it was interrupted.
    """
    import time

    from affinage.cli.watch import Tally, watching
    from affinage.study import Estimate
    from affinage.study import run as run_study

    show_terms(config.data.source)
    fetch(config.model.id)
    announce(config, source, overrides)
    tally, began, estimates = Tally(), time.monotonic(), list[Estimate]()

    def on_estimate(found: Estimate) -> None:
        estimates.append(found)
        say(said(found))
        say(said_gain(found.groups))

    try:
        with watching(tally) as watch:
            outcome = run_study(config, out, watch=watch, on_estimate=on_estimate)
    except KeyboardInterrupt:
        complain(f"Stopped after {counted(tally.made, 'run')}; nothing that is done is lost. Continue with: {_continue(out)}")
        raise typer.Exit(130) from None
    announce_compilations(config.model)
    if not outcome.complete:
        left = outcome.runs - outcome.finished
        complain(f"{left} of {counted(outcome.runs, 'run')} failed, each with its reason above. After mending, continue with: {_continue(out)}")
        raise typer.Exit(1)
    if tally.made:
        seconds = time.monotonic() - began
        beside = f" ({compared(estimates[0], seconds)})" if estimates else ""
        say(f"All {counted(outcome.runs, 'run')} are finished in {out}; {tally.made} of them now, in {duration(seconds)}{beside}.")
    else:
        say(f"Nothing was missing: all {counted(outcome.runs, 'run')} are finished in {out}.")


def _continue(out: Path) -> str:
    """What to type to go on; a study that was stopped before its plan was written has no folder to name yet."""
    return f"affinage study run {shlex.quote(str(out))}" if (out / "plan").is_dir() else "the same command"


@group.command(
    epilog=examples(
        "affinage study plan demo            what a shipped preset would run",
        "affinage study plan runs/mine       how far a study is",
        "affinage study plan paper --rate 395 --memory 139   what it would take on another machine, rates given by hand",
        "affinage study plan my-study.yaml --set splits.kind=folds --set splits.folds=2 --set splits.count=2",
    )
)
def plan(
    source: SourceArgument,
    *,
    out: OutFlag = None,
    model: ModelFlag = None,
    data: DataFlag = None,
    setting: SetFlag = None,
    limit: LimitFlag = None,
    rate: RateFlag = None,
    memory: MemoryFlag = None,
) -> None:
    """Print what a study would run, what is already done, and how long the rest takes; weights are not loaded, nothing is written.

    \b
    A study file, every key optional:
      model: {id: smollm2}
      data: {source: starter, cultures: [Spain, Algeria]}
      prompt: {style: text}
      splits: {kind: folds, folds: 2, count: 2}
      methods: [{name: prompt-tuning}, {name: lora, settings: {rank: 8}}]
      controls: [{name: format-control}, {name: letter-bias}]
      training: {loss: choice, steps: 80}
      starts: 1
    """  # noqa: D301  (the backspace keeps the lines of the help as they are)
    from affinage.store import StudyFolder
    from affinage.study import engine, progress
    from affinage.study import plan as plan_study
    from affinage.study.costs.estimate import estimate, known_machine

    place, out = located(source, out)
    overrides = {**assignments(setting), **without_none(model__id=model, data__path=data, limit=limit)}
    begun = (out / "study.yaml").exists()
    config = composed(place, overrides)
    show_terms(config.data.source)
    fetch(config.model.id)
    computes = engine()
    made = plan_study(config, out, engine=computes, machine=machine_of(rate, memory))
    lines = progress(made, StudyFolder(out))
    _table(made, lines)
    for row in made.record.sets:
        for reason, count in row["dropped"].items():
            say(f"{row['set']} on {row['split']}, not in it: {count:,} x {reason}.")
    for line in lines:
        if line.status == "failed":
            complain(f"failed: {line.run.path}: {line.reason}")
    for reason in made.provisional:
        say(f"Provisional, stays out of the main tables: {reason}.")
    computing = made.config.model
    if computing.cohort is not None and computing.cohort > 1:
        say(f"Trained in lockstep: up to {computing.cohort} adapters at a time, packs of at most {computing.nodes_per_pack:,} nodes.")
    finished = sum(line.status == "finished" for line in lines)
    say(f"{counted(len(lines), 'run')}, {finished} finished, {len(lines) - finished} to run{f' in {out}' if begun else ''}.")
    if finished < len(lines):
        far = {line.run.path: line.status for line in lines}
        machine = machine_of(rate, memory) or known_machine(made, StudyFolder(out), computes)
        found = estimate(made, lambda run: far[run.path], computes, machine)
        say(said(found))
        say(said_gain(found.groups))
    again = shlex.quote(str(out)) if begun else _again(source, out, overrides)
    say(f"Next: affinage {f'report {shlex.quote(str(out))}' if finished == len(lines) else f'study run {again}'}")


@group.command(name="controls", epilog=examples("affinage study controls"))
def list_controls() -> None:
    """List the controls that a study can have beside its methods (`controls: [{name: format-control}]`), each with its own values."""
    from affinage.controls import registered

    for name in registered:
        _say_settings(name, registered.get(name).what, registered.get(name).settings)


@group.command(name="baselines", epilog=examples("affinage study baselines"))
def list_baselines() -> None:
    """List the baselines without training that a study can have (`prompting: [{name: few-shot}]`), each with its own values."""
    from affinage.prompting import registered

    for name in registered:
        _say_settings(name, registered.get(name).what, registered.get(name).settings)


def _say_settings(name: str, what: str, settings: type[BaseModel]) -> None:
    """A registered thing with its own values."""
    say(f"{name}: {what}")
    for setting, field in settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        told = "" if default is None else f" Default: {json.dumps(default)}."
        say(f"  {setting}: {' '.join((field.description or '').split())}{told}")
    say()


def _again(source: str, out: Path, overrides: Mapping[str, Any]) -> str:
    """The arguments that say the same."""
    settings = [part for name, value in overrides.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    return shlex.join([source, "--out", str(out), *settings])


def _table(made: Plan, lines: tuple[Progress, ...]) -> None:
    """One line per method, culture and split; its starts together."""
    from affinage.store import UNTOUCHED
    from affinage.train import total_steps

    groups: dict[tuple[str, str, str], list[Progress]] = {}
    for line in lines:
        culture = "untouched" if line.run.trained_culture == UNTOUCHED else line.run.trained_culture
        groups.setdefault((line.run.label, culture, line.run.split.name), []).append(line)
    rows = []
    for key, starts in groups.items():
        first = starts[0]
        trained = first.run.trains and first.run.method is not None
        side = first.questions[0] // max(1, len(first.run.taught))  # a step of a joint training reads a batch of every culture
        steps = total_steps(first.run.method.training, side) if trained and first.run.method else 0
        counts = (f"{first.questions[0]:,}", f"{steps:,}") if trained else ("", "")
        rows.append((*key, _status(starts), *counts, f"{first.questions[1]:,}"))
    table(("method", "trained on", "split", "runs", "training questions", "steps", "tested questions"), rows, words=4)


def _status(starts: list[Progress]) -> str:
    """`2 finished`, or `1 finished, 1 running (host, process 12)`."""
    parts = []
    for status in dict.fromkeys(line.status for line in starts):
        same = [line for line in starts if line.status == status]
        owners = [line.claimed_by for line in same if line.claimed_by]
        parts.append(f"{len(same)} {status}{f' ({owners[0]})' if owners else ''}")
    return ", ".join(parts)
