"""`affinage train`: one adapter, outside a study, by the same road."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.fetch import fetch
from affinage.cli.flags import (
    LimitFlag,
    MethodFlag,
    ModelFlag,
    PathFlag,
    PresetFlag,
    SetFlag,
    SourceFlag,
    StudyFlag,
    announce,
    announce_compilations,
    assignments,
    composed,
    without_none,
)
from affinage.cli.results import accuracies
from affinage.cli.say import complain, examples, say
from affinage.cli.terms import show_terms
from affinage.records import UserError

if TYPE_CHECKING:
    from affinage.study import Plan, PlannedRun

__all__ = ["add_to"]

SplitFlag = Annotated[int, typer.Option("--split", min=0, help="Which of the splits, from 0.")]


def add_to(app: typer.Typer) -> None:
    """Puts the commands into the whole."""
    app.command(
        short_help="Train one adapter.",
        epilog=examples(
            "affinage train --method lora --culture Spain --out runs/spain --set training.steps=80 --set prompt.style=text",
            "affinage train --method prompt-tuning --culture Iran --source blend --path BLEnD --out runs/iran --set settings.length=32",
            "affinage train --method lora --culture Mexico --study my-study.yaml --split 1 --out runs/mexico",
        ),
    )(train)


def train(
    *,
    method: MethodFlag,
    culture: Annotated[str, typer.Option("--culture", help="The culture to learn, spelled as in the source.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The run's folder; the adapter is in DIR/adapter.")],
    model: ModelFlag = None,
    preset: PresetFlag = "default",
    source: SourceFlag = None,
    path: PathFlag = None,
    study: StudyFlag = None,
    split: SplitFlag = 0,
    setting: SetFlag = None,
    limit: LimitFlag = None,
) -> None:
    """Train one adapter and test it on its own culture's unseen templates; after any crash the same command continues.

    --set settings.NAME=VALUE sets the method's own values (`affinage params`), --set training.steps=80 and the like those of the study tree.
    """
    from affinage.cli.watch import Tally, watching
    from affinage.store import ClaimLostError, RunFolder, StudyFolder, checkout, claim, open_study, read_scores, read_state
    from affinage.study import engine, plan
    from affinage.study.work import Session, load

    given = assignments(setting)
    own = {name.removeprefix("settings."): value for name, value in given.items() if name.startswith("settings.")}
    overrides = {
        **{name: value for name, value in given.items() if not name.startswith("settings.")},
        **without_none(model__id=model, data__source=source, data__path=path, limit=limit),
        "data.cultures": [culture],
        "methods": [{"name": method, "preset": preset, "settings": own}],
        "starts": 1,
    }
    config = composed(study, overrides)
    show_terms(config.data.source)
    fetch(config.model.id)
    standing, computing = checkout(), engine()
    made = plan(config, out, engine=computing, standing=standing)
    made, planned = _alone(made, culture, split)
    open_study(StudyFolder(out), made.config, write=True)
    announce(config, study, overrides)
    state = read_state(RunFolder(out))
    if state is not None and state.status == "finished":
        say(f"Nothing was missing: {out} is finished.")
    else:
        try:
            backbone = load(made, computing)
            with claim(out) as held, watching(Tally()) as watch:
                if held is None:
                    raise UserError(str(out), "a run that another process works on", "one that nobody works on", "Wait, or give another --out.")
                reason = Session(made, StudyFolder(out), computing, backbone, standing, watch).work(planned, 1, held)
        except ClaimLostError:  # this process slept for longer than a claim is held for
            found = "a run that another process has taken over meanwhile"
            raise UserError(str(out), found, "one that nobody else works on", "Wait until it is through, or give another --out.") from None
        except KeyboardInterrupt:
            complain("Stopped; what is done is kept. The same command continues.")
            raise typer.Exit(130) from None
        announce_compilations(made.config.model)
        if reason:
            raise typer.Exit(1)
    accuracies(read_scores(RunFolder(out).scores(culture)), made.dataset, made.config)
    say(f"Adapter: {out / 'adapter'}")
    say(f"Next: affinage evaluate {out / 'adapter'} --study {out / 'study.yaml'} --culture {shlex.quote(culture)}")
    say(f'      affinage ask {out / "adapter"} "What do people eat for breakfast?"')


def _alone(made: Plan, culture: str, number: int) -> tuple[Plan, PlannedRun]:
    """The plan of nothing but the culture's adapter on one split; the run's folder is the study's."""
    splits = made.record.splits
    if number >= len(splits):
        raise UserError("--split", str(number), f"0 to {len(splits) - 1}", "Raise `splits.count` for more.")
    wanted = [run for run in made.runs if run.trained_culture == culture and run.split == splits[number]]
    if not wanted:
        raise UserError("--method", "'none'", "a method that trains", "Test the untouched model with `affinage evaluate none`.")
    run = replace(wanted[0], path=".")
    return replace(made, runs=(run,)), run
