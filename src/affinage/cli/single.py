"""`affinage train` and `affinage evaluate`: one adapter, outside a study, by the same road."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    assignments,
    composed,
    without_none,
)
from affinage.cli.say import complain, console, examples, say, table
from affinage.config import StudyConfig
from affinage.records import UserError
from affinage.registry import suggest

if TYPE_CHECKING:
    import polars as pl

    from affinage.adapters import AdapterCard
    from affinage.data import Dataset
    from affinage.records import Split
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
    app.command(
        short_help="Test one adapter, or the untouched model.",
        epilog=examples(
            "affinage evaluate runs/spain/adapter --study runs/spain/study.yaml --culture Mexico",
            "affinage evaluate none --study runs/spain/study.yaml --culture Spain --culture Mexico      the untouched model",
        ),
    )(evaluate)


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
    from affinage.store import RunFolder, StudyFolder, checkout, claim, open_study, read_scores, read_state
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
        except KeyboardInterrupt:
            complain("Stopped; what is done is kept. The same command continues.")
            raise typer.Exit(130) from None
        if reason:
            raise typer.Exit(1)
    _accuracies(read_scores(RunFolder(out).scores(culture)), made.dataset, made.config)
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


def evaluate(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER|none", help="The folder `adapter` of a run, or `none` for the untouched model.")],
    *,
    culture: Annotated[list[str], typer.Option("--culture", help="The culture to test on, spelled as in the source. May be repeated.")],
    model: ModelFlag = None,
    source: SourceFlag = None,
    path: PathFlag = None,
    study: StudyFlag = None,
    split: Annotated[int | None, typer.Option("--split", min=0, help="Which of the splits, from 0. Default: the adapter's own, or 0.")] = None,
    side: Annotated[
        Literal["test", "train", "development"], typer.Option("--side", help="Which templates; those that the adapter has seen are refused.")
    ] = "test",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write one row per question to this Parquet file.")] = None,
    setting: SetFlag = None,
    limit: LimitFlag = None,
) -> None:
    """Test one adapter, or the untouched model, on the unseen templates of some cultures.

    Give the study that the adapter comes from (--study runs/x/study.yaml): splits and prompt are taken from it. An adapter is never tested on
    templates that it has seen in training.
    """
    from affinage import data
    from affinage.adapters import load as load_adapter
    from affinage.adapters import read_card
    from affinage.backbone import load as load_backbone
    from affinage.evaluate import evaluate as score
    from affinage.store import write_scores
    from affinage.store.scores import score_frame
    from affinage.study.sides import tested_frame

    card = None if adapter == "none" else read_card(Path(adapter))
    of_card: dict[str, Any] = {}
    if card is not None:
        of_card = without_none(model__id=card.backbone.id, model__revision=card.backbone.revision or None)
    overrides = {
        **of_card,
        **assignments(setting),
        **without_none(model__id=model, data__source=source, data__path=path, limit=limit),
        "data.cultures": culture,
    }
    config = composed(study, overrides)
    if card is not None:
        arguments = {"template_arguments": dict(card.template_arguments)}
        config = config.model_copy(update={"prompt": card.prompt, "model": config.model.model_copy(update=arguments)})
    dataset = data.load(config.data)
    chosen = _chosen(data.make_splits(dataset, config.splits), card, split)
    templates = {"test": chosen.test_templates, "train": chosen.train_templates, "development": chosen.development_templates}[side]
    asked = [row for name in culture for row in dataset.questions(tested_frame(dataset, replace(chosen, test_templates=templates), name, config))]
    if not asked:
        raise UserError(
            f"split {chosen.name}", f"no question of {', '.join(culture)} on the side {side}", "at least one", "Choose another side or split."
        )
    fetch(config.model.id)
    backbone = load_backbone(config.model)
    tuned = None if card is None else load_adapter(Path(adapter), backbone)
    encoded, refused = backbone.tokens.encode_all(asked, config.prompt, seed=config.seed)
    with _counting(len(encoded)) as progress:
        scores = score(backbone, tuned, encoded, refused, prompt=config.prompt, nodes_per_pack=config.evaluation.nodes_per_pack, on_progress=progress)
    say(f"{adapter} on {side} templates of {chosen.name}:")
    _accuracies(score_frame(scores), dataset, config)
    if out is not None:
        write_scores(out, scores)
        say(f"Scores: {out}")


def _chosen(splits: Sequence[Split], card: AdapterCard | None, number: int | None) -> Split:
    """The split with that number, else the adapter's own, else the first."""
    names = [split.name for split in splits]
    if number is not None:
        if number >= len(splits):
            raise UserError("--split", str(number), f"0 to {len(splits) - 1}", "Raise `splits.count` for more.")
        return splits[number]
    if card is None or not card.split:
        return splits[0]
    if card.split not in names:
        todo = f"Give the study that it was made in (--study DIR/study.yaml). {suggest(card.split, names)}"
        raise UserError("splits", f"{', '.join(names)}", f"{card.split}, on which the adapter was trained", todo)
    return splits[names.index(card.split)]


@contextmanager
def _counting(total: int) -> Iterator[Callable[[int], None]]:
    """A bar of questions on a terminal."""
    from affinage.cli.watch import bars

    screen = console()
    with bars(screen, silent=not screen.is_terminal) as progress:
        task = progress.add_task("questions", total=total)
        yield lambda done: progress.update(task, completed=done)


def _accuracies(scores: pl.DataFrame, dataset: Dataset, config: StudyConfig) -> None:
    """Prints accuracy per culture, by template with its interval and by row."""
    import polars as pl

    from affinage import data
    from affinage.stats import RUN, clustered, per_run, with_credit

    groups = pl.DataFrame(list(data.template_groups(dataset).items()), schema={"template_id": pl.String, "group": pl.String}, orient="row")
    # One run: what names it is the same in each row.
    named = scores.with_columns(pl.lit("").alias(name) for name in RUN).join(groups, on="template_id", how="left")
    rows = with_credit(named, config.prompt.score).with_columns(pl.lit(0).alias("cell"), pl.lit(1.0).alias("weight"))
    numbers = {(row["culture"], row["reading"], row["average"]): row for row in per_run(rows).iter_rows(named=True)}
    lines = []
    for culture in sorted(scores["culture"].unique()):
        headline = numbers.get((culture, "choice", "template"))
        if headline is None:
            lines.append((culture, "nothing could be scored", "", "", "", "", "", ""))
            continue
        interval = clustered(rows.filter(pl.col("culture") == culture))
        bounds = "too few templates" if interval.low is None or interval.high is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
        free = numbers.get((culture, "free", "row"))
        lines.append(
            (
                culture,
                f"{100 * headline['accuracy']:.1f}",
                bounds,
                f"{100 * numbers[culture, 'choice', 'row']['accuracy']:.1f}",
                "" if free is None else f"{100 * free['accuracy']:.1f}",
                f"{100 * headline['chance']:.1f}",
                f"{headline['questions']:,} of {headline['templates']:,} templates",
                f"{headline['unscored']:,}",
            )
        )
    table(("culture", "by template", "95 % interval", "by row", "greedy letter, by row", "chance", "questions", "unscored"), lines)
    for reason, count in sorted(_reasons(scores).items()):
        say(f"Unscored: {count} with {reason}")


def _reasons(scores: pl.DataFrame) -> dict[str, int]:
    """Reason -> how many questions could not be scored for it."""
    counts: dict[str, int] = {}
    for state in scores["state"]:
        if state != "scored":
            counts[state] = counts.get(state, 0) + 1
    return counts
