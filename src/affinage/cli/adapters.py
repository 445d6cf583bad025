"""`affinage adapters`: look at adapters, hand them on to other tools, take them from PEFT, put them on the hub."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from affinage.cli import exchange
from affinage.cli.exchange import AdapterArgument, BaseFlag, adapter_folder
from affinage.cli.fetch import fetch
from affinage.cli.flags import composed, model_of, without_none
from affinage.cli.say import complain, counted, examples, say, table
from affinage.config import ModelConfig
from affinage.records import UserError

if TYPE_CHECKING:
    from affinage.adapters import AdapterCard
    from affinage.adapters.export import Dtype, Exported, Format
    from affinage.backbone import Backbone

__all__ = ["add_to", "config_of"]

group = typer.Typer(
    no_args_is_help=True,
    short_help="List, export, import and upload adapters.",
    help="Look at adapters, hand them on to other tools, take them from PEFT, put them on the hub.",
    rich_markup_mode=None,
    epilog=examples(
        "affinage adapters ls runs/demo", "affinage adapters export runs/demo --to exported", "affinage adapters import DIR --culture Spain --to mine"
    ),
)

ModelOption = Annotated[
    str | None, typer.Option("--model", help="Where the adapter's model is, when it is not where it was: a name, hub id or folder.")
]
DtypeFlag = Annotated[
    Literal["bfloat16", "float32"], typer.Option("--dtype", help="Type in which logits are compared; of `merged` also the weights'.")
]


def add_to(app: typer.Typer) -> None:
    """Puts the commands into the whole."""
    exchange.add_to(group)
    app.add_typer(group, name="adapters")


def config_of(card: AdapterCard, **flags: str | None) -> ModelConfig:
    """The configuration of an adapter's model, with flags over it."""
    return composed(None, {**model_of(card), **without_none(**{f"model__{name}": value for name, value in flags.items()})}).model


@group.command("ls", epilog=examples("affinage adapters ls runs/demo"))
def list_adapters(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look, at any depth: a study, a run, a folder of exports.")] = Path("runs"),
) -> None:
    """List the adapters below a folder, with what each says of itself."""
    from affinage.adapters import CARD, TENSORS, read_card

    rows, faults = [], []
    for path in sorted(folder.rglob(CARD)):
        try:
            card = read_card(path.parent)
        except UserError as error:
            faults.append(str(error))
            continue
        tensors = path.parent / TENSORS
        size = f"{tensors.stat().st_size / 1e3:,.0f} kB" if tensors.is_file() else "no tensors"
        rows.append((str(path.parent.relative_to(folder)), card.method, card.culture or "untrained", card.split, card.backbone.id, _seen(card), size))
    if not (rows or faults):
        raise UserError(str(folder), "no adapter", "at least one below it", "Give the folder of a study or a run.")
    table(("adapter", "method", "culture", "split", "backbone", "seen templates", "size"), rows, words=5)
    for fault in faults:
        complain(fault)


def _seen(card: AdapterCard) -> str:
    return f"{len(card.seen):,}" if card.seen_known else "unknown"


@group.command(epilog=examples("affinage adapters show runs/demo/runs/lora/Spain/RUN/adapter"))
def show(adapter: AdapterArgument) -> None:
    """Print what an adapter says of itself, its tensors, and which formats can hold its method; no model is loaded."""
    from affinage.adapters import read_card, read_tensors, settings_of
    from affinage.adapters.facts import facts
    from affinage.methods import registry

    folder = adapter_folder(adapter)
    card, tensors = read_card(folder), read_tensors(folder)
    in_peft = registry.get(card.method).in_peft(settings_of(card, folder))
    say(f"{folder}: {card.method} for {card.culture or 'no culture (untrained)'}, made by Affinage {card.version}")
    quantised = "" if card.backbone.quantisation == "none" else f", {card.backbone.quantisation} weights"
    say(f"  settings    {', '.join(f'{name} {value}' for name, value in card.settings.items())}")
    say(f"  backbone    {card.backbone.id} {card.backbone.revision or '(no revision)'}, digest {card.backbone.digest[:16]}{quantised}")
    say(f"  split       {card.split or 'none'}; seen templates: {_seen(card)}")
    say(f"  data        {', '.join(card.sources) or 'not told'} {card.data[:16]}".rstrip())
    say(f"  prompt      style {card.prompt.style}, score {card.prompt.score}, chat template {'yes' if card.prompt.chat else 'no'}")
    say(f"  PEFT format {'yes' if in_peft else 'no: Affinage alone reads it'}")
    if card.imported:
        say(f"  {card.imported}")
    for terms in facts(folder, card).terms:
        say(f"  terms of {terms.name}: {terms.licence}{'' if terms.may_pass_on else '; files derived from it may not be passed on'}")
    values = sum(value.numel() for value in tensors.values())
    say(f"  {counted(len(tensors), 'tensor')}, {values:,} values:")
    for name, value in list(tensors.items())[:8]:
        say(f"    {name} {list(value.shape)} {str(value.dtype).removeprefix('torch.')}")
    if len(tensors) > 8:
        say(f"    ... and {len(tensors) - 8:,} more")


@group.command(
    epilog=examples(
        "affinage adapters export runs/demo/runs/lora/Spain/RUN --to exported/spain --base-model HuggingFaceTB/SmolLM2-135M-Instruct",
        "affinage adapters export runs/demo --to exported                       every adapter of a study, as PEFT folders",
        "affinage adapters export ADAPTER --to merged --format merged --dtype bfloat16",
        "affinage adapters export ADAPTER --to prompt --format embeddings       for servers that take prompt embeddings",
    )
)
def export(
    adapter: Annotated[
        Path, typer.Argument(metavar="ADAPTER|RUN|STUDY", help="An adapter, a run, or a study, of which every finished run is exported.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new folder; of a study one for each run below it.")],
    form: Annotated[
        Literal["peft", "merged", "embeddings"],
        typer.Option(
            "--format", help="`peft`: a PEFT folder; `merged`: the whole model with the update in it; `embeddings`: a soft prompt's vectors."
        ),
    ] = "peft",
    *,
    model: ModelOption = None,
    base: BaseFlag = None,
    dtype: DtypeFlag = "float32",
) -> None:
    """Write adapters in a form that other tools take, each with a model card; its logits are compared before the folder appears.

    A PEFT folder is loaded by PEFT itself where PEFT is installed; without it by Affinage's own reading of the files, and the message says so.
    A format that cannot hold a method refuses it by name; of a study such runs are left out and named.
    """
    from affinage.adapters import CARD, read_card
    from affinage.adapters.export import FormatError
    from affinage.adapters.place import refuse_taken

    refuse_taken(to)
    folder = adapter_folder(adapter)
    if (folder / CARD).is_file() or not (adapter / "study.yaml").is_file():
        done = _exporter(read_card(folder), form, model, base, dtype)(folder, to)
        say(done.checked)
        say(f"{form}: {done.folder}")
        return
    runs = _trained_runs(adapter)
    write = _exporter(read_card(next(iter(runs.values()))), form, model, base, dtype)
    left_out = {}
    for name, each in runs.items():
        try:
            done = write(each, to / name)
        except FormatError as error:
            left_out[name] = error
        else:
            say(f"{done.folder}: {done.checked}")
    if len(left_out) == len(runs):
        raise UserError.join(left_out.values())
    for name, why in left_out.items():
        say(f"Left out: {name}: {why}")
    say(f"{counted(len(runs) - len(left_out), 'adapter')} in {to}.")


def _exporter(card: AdapterCard, form: Format, model: str | None, base: str | None, dtype: Dtype) -> Callable[[Path, Path], Exported]:
    """What writes an adapter's folder to a place; adapters of one study share the model."""
    from affinage.adapters.export import export_embeddings, export_merged, export_peft
    from affinage.backbone import load

    config = config_of(card, id=model)
    fetch(config.id)

    def backbone_in(kind: Dtype) -> Backbone:
        return load(config.model_copy(update={"dtype": kind}))

    if form == "merged":  # which changes the model: each adapter gets a fresh one
        return lambda folder, to: export_merged(folder, backbone_in, to, dtype=dtype, base=base)
    backbone = backbone_in(dtype)
    write = export_peft if form == "peft" else export_embeddings
    return lambda folder, to: write(folder, backbone, to, base=base)


def _trained_runs(study: Path) -> dict[str, Path]:
    """Each finished run with an adapter: its name below an export -> where the adapter is.

    Raises:
        UserError: there is none.
    """
    from affinage.adapters import CARD
    from affinage.store import read_study

    record = read_study(study)
    places = {run.run.removeprefix("runs/"): record.folder.run(run.run).adapter for run in record.runs if run.status == "finished"}
    found = {name: place for name, place in places.items() if (place / CARD).is_file()}
    if not found:
        raise UserError(str(study), "no finished run with an adapter", "at least one", "Run `affinage study run` on it.")
    return found
