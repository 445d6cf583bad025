"""Flags that several commands share, and how flags, a file and defaults become one validated study tree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from pydantic import BaseModel

from affinage.cli.say import complain, counted, say
from affinage.config import DataConfig, MethodConfig, ModelConfig, StudyConfig, load_study, validated
from affinage.records import UserError

if TYPE_CHECKING:
    from affinage.adapters import AdapterCard

__all__ = [
    "CultureFlag", "DataFlag", "LimitFlag", "MethodFlag", "ModelFlag", "PathFlag", "PresetFlag", "SetFlag", "SourceFlag", "StudyFlag",
    "announce", "announce_compilations", "announce_model", "assignments", "composed", "help_of", "model_of", "setting_names", "without_none",
]  # fmt: skip


def help_of(section: type[BaseModel], field: str) -> str:
    """The help of a flag that mirrors a field: the field's docstring."""
    return " ".join((section.model_fields[field].description or "").split())


SetFlag = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Any other value of the study tree, in YAML: --set training.rate=1e-4. May be repeated."),
]
StudyFlag = Annotated[
    str | None,
    typer.Option("--study", metavar="SOURCE", help="A YAML file, a study's folder or a preset, whose values hold where no flag says otherwise."),
]
ModelFlag = Annotated[str | None, typer.Option("--model", help=help_of(ModelConfig, "id"))]
SourceFlag = Annotated[str | None, typer.Option("--source", help=help_of(DataConfig, "source"))]
PathFlag = Annotated[str | None, typer.Option("--path", help=help_of(DataConfig, "path"))]
DataFlag = Annotated[str | None, typer.Option("--data", metavar="PATH|hub", help="File or folder of the questions, or `hub`.")]
LimitFlag = Annotated[int | None, typer.Option("--limit", help=help_of(StudyConfig, "limit"))]
CultureFlag = Annotated[str | None, typer.Option("--culture", help="A culture, spelled as in the source.")]
MethodFlag = Annotated[str, typer.Option("--method", help=help_of(MethodConfig, "name"))]
PresetFlag = Annotated[str, typer.Option("--preset", help=help_of(MethodConfig, "preset"))]


def assignments(given: Sequence[str] | None) -> dict[str, Any]:
    """What `--set` says: dotted path -> value, parsed as YAML.

    Raises:
        UserError: entries that are no assignments; all of them together.
    """
    values: dict[str, Any] = {}
    faults = []
    for text in given or ():
        key, sign, value = text.partition("=")
        if not (key.strip() and sign):
            faults.append(UserError("--set", repr(text), "KEY.PATH=VALUE", "For instance --set training.rate=1e-4."))
            continue
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            faults.append(UserError(f"--set {key}", " ".join(str(error).split()), "a value in YAML", "Quote the whole for the shell."))
    if faults:
        raise UserError.join(faults)
    return values


def without_none(**flags: Any) -> dict[str, Any]:
    """The flags that were given, by dotted path with `__` for the dot."""
    return {name.replace("__", "."): value for name, value in flags.items() if value is not None}


def model_of(card: AdapterCard) -> dict[str, Any]:
    """What an adapter's card says of its model, as values of a configuration by dotted path."""
    told = card.backbone
    quantised = None if told.quantisation == "none" else told.quantisation
    return without_none(model__id=told.id, model__revision=told.revision or None, model__quantisation=quantised)


def composed(source: str | None, overrides: Mapping[str, Any]) -> StudyConfig:
    """The study of a file, a study's folder or a preset, or of nothing but defaults, with flags over it.

    Raises:
        UserError: no such file or preset, or faults in the values (all together).
    """
    if source is not None:
        folder = Path(source)
        return load_study(folder / "study.yaml" if folder.is_dir() else source, dict(overrides))
    tree: dict[str, Any] = {}
    for dotted, value in overrides.items():
        *way, last = dotted.split(".")
        place = tree
        for part in way:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UserError(f"flag {dotted}", f"{part}, which another flag sets as a whole", "one of the two", "Leave one of the flags out.")
        place[last] = value
    return validated(StudyConfig, tree, "flags")


def setting_names(section: BaseModel, path: str = "") -> Iterator[str]:
    """Dotted paths of the values that a file, preset or flag has set; a part that is set as a whole is named as a whole."""
    for name in type(section).model_fields:
        if name in section.model_fields_set:
            value = getattr(section, name)
            if isinstance(value, BaseModel) and not _complete(value):
                yield from setting_names(value, f"{path}{name}.")
            else:
                yield f"{path}{name}"


def _complete(section: BaseModel) -> bool:
    """Whether every value of a part is set."""
    values = (getattr(section, name) for name in section.model_fields_set)
    return section.model_fields_set == set(type(section).model_fields) and all(_complete(v) for v in values if isinstance(v, BaseModel))


def announce(config: StudyConfig, source: str | None, overrides: Mapping[str, Any]) -> None:
    """Says where the values of a study come from, and on what it computes."""
    written = [name for name in setting_names(config) if name not in overrides]
    if source is not None and written:
        everything = "every value" if _complete(config) else ", ".join(written)
        say(f"Set by {'file' if Path(source).exists() else 'preset'} {source}: {everything}.")
    if overrides:
        say(f"Set by flags: {', '.join(f'{name} = {value}' for name, value in overrides.items())}.")
    say("What is not set has its default, or its method's preset.")
    announce_model(config.model)


def announce_model(model: ModelConfig) -> None:
    """Says on what and how a model computes, in one line, and warns where the machine has no core to spare."""
    from affinage.backbone import device_of  # noqa: PLC0415  (takes seconds, and only a command that computes asks)
    from affinage.store import cores  # noqa: PLC0415

    form = model.dtype if model.quantisation == "none" else f"{model.dtype} over {model.quantisation} weights"
    spread = "" if model.device_map is None else ", spread by model.device_map"
    kernel = "strips" if model.attention == "auto" else model.attention
    policy = os.environ.get("OMP_WAIT_POLICY", "not set")
    how = f"Attention by {kernel}{', layers compiled' if model.compile else ''}; OMP_WAIT_POLICY {policy}."
    say(f"Model {model.id} in {form} on {device_of(model.device)}{spread} with {counted(model.threads or cores(), 'thread')}. {how}")
    if hasattr(os, "getloadavg") and (busy := os.getloadavg()[0]) > (there := os.cpu_count() or 1):
        complain(f"This machine is busy already: {busy:.1f} processes on average over the last minute for {counted(there, 'core')}.")


def announce_compilations(model: ModelConfig) -> None:
    """Says how many graphs this process has compiled, where a value of `model` has something compiled."""
    if not (model.compile or model.attention == "flex"):
        return
    from affinage.backbone import compilations  # noqa: PLC0415  (torch; see above)

    made = ", ".join(f"{counted(number, 'graph')} of {what}" for what, number in compilations().items())
    say(f"Compiled: {made or 'nothing'}.")
