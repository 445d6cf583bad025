"""Presets that a search wrote: values of a method per split, with the templates that each of them has seen.

A search looks at a split's training side, so what it chose on one split has seen templates that another split tests. Each split therefore has its
own values, and a study that would test values on what they have seen is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from affinage.config import MethodConfig, StudyConfig, TunedConfig, validated
from affinage.records import Split, UserError
from affinage.store import write_atomically
from affinage.study.engine import Engine

if TYPE_CHECKING:
    from affinage.methods import ResolvedMethod

__all__ = ["PRESET_FORMAT", "expanded", "is_file", "on_split", "seen_by", "split_key", "write_preset"]

PRESET_FORMAT = 1
"""Version of a preset's file."""

_HEAD = """\
# Written by `affinage tune`. Use it in a study as `methods: [{{name: {method}, preset: THIS FILE}}]`.
# `seen` lists the templates that a split's values were trained or chosen on: a study that tests on them is refused.
"""


def is_file(preset: str) -> bool:
    """Whether a method's `preset` names a file."""
    return preset.endswith((".yaml", ".yml")) or "/" in preset


def split_key(split: Split) -> str:
    """A split's name in a preset: its training side is the same whichever of its other sides is tested."""
    return split.name.removesuffix("-development")


def write_preset(path: Path, method: str, splits: Mapping[str, Mapping[str, Any]], provenance: Mapping[str, Any]) -> None:
    """Writes a preset, atomically.

    Args:
        path: the file.
        method: registered name.
        splits: split's name -> `settings`, `training`, `seen`, and `found`: what the search measured.
        provenance: what was searched, on what, by what.

    Raises:
        UserError: as `write_atomically`.
    """
    values = {"format": PRESET_FORMAT, "method": method, "splits": dict(splits), "provenance": dict(provenance)}
    write_atomically(path, (_HEAD.format(method=method) + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)).encode())


def _read(path: Path, method: str, where: str) -> dict[str, TunedConfig]:
    """A preset's values per split.

    Raises:
        UserError: no such file, no preset, or one of another method.
    """
    todo = "Give a preset as `affinage tune` writes it."
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{where}.preset", f"{path}: {' '.join(str(error).split())}", "a readable YAML file", todo) from None
    if not isinstance(values, dict) or values.get("format") != PRESET_FORMAT or not isinstance(values.get("splits"), dict) or not values["splits"]:
        raise UserError(f"{where}.preset", f"{path}, which is no preset of format {PRESET_FORMAT}", "a preset", todo)
    if values.get("method") != method:
        raise UserError(f"{where}.preset", f"{path}, a preset of {values.get('method')!r}", f"one of {method!r}", "Give the method its own preset.")
    found = {}
    for name, entry in values["splits"].items():
        kept = {key: value for key, value in entry.items() if key != "found"} if isinstance(entry, dict) else entry
        found[str(name)] = validated(TunedConfig, {**kept, "origin": path.name} if isinstance(kept, dict) else kept, f"{path}: splits.{name}")
    return found


def expanded(config: StudyConfig, engine: Engine) -> StudyConfig:
    """The study with the values of presets that are files written down in full, so that it no longer needs the files.

    Raises:
        UserError: files that cannot be used, all of them together.
    """
    methods, faults = [], []
    for method in config.methods:
        try:
            methods.append(_expanded(method, config, engine))
        except UserError as error:
            faults.append(error)
    if faults:
        raise UserError.join(faults)
    return config.model_copy(update={"methods": tuple(methods)})


def _expanded(method: MethodConfig, config: StudyConfig, engine: Engine) -> MethodConfig:
    """One method of `expanded`."""
    tuned = method.tuned
    if is_file(method.preset):
        tuned = _read(Path(method.preset), method.name, f"methods.{method.label or method.name}")
        method = method.model_copy(update={"preset": "default"})
    if tuned is None:
        return method
    filled = {}
    for name, entry in tuned.items():
        found = engine.resolve(_with(method, entry), config.training)
        values = {"settings": found.settings.model_dump(mode="json"), "training": found.training.model_dump(mode="json")}
        filled[name] = entry.model_copy(update=values)
    return method.model_copy(update={"label": method.label or method.name, "tuned": filled})


def _with(method: MethodConfig, entry: TunedConfig) -> MethodConfig:
    """A method with a preset's values under its own."""
    values = {"settings": {**entry.settings, **method.settings}, "training": {**entry.training, **method.training}}
    return method.model_copy(update=values)


def on_split(config: StudyConfig, resolved: tuple[ResolvedMethod, ...], split: Split, engine: Engine) -> tuple[ResolvedMethod, ...]:
    """The study's methods with the values that they have on a split.

    Args:
        config: the study, presets that are files expanded.
        resolved: its methods; those without values of their own on splits stay as they are.
        split: one of its splits.
        engine: resolves.

    Raises:
        UserError: values that have seen what the split tests, or none for this split; all faults together.
    """
    by_label = {method.label or method.name: method for method in config.methods}
    here, faults = [], []
    for method in resolved:
        own = by_label[method.label]
        if own.tuned is None:
            here.append(method)
            continue
        try:
            here.append(engine.resolve(_with(own, _entry(own, split)), config.training))
        except UserError as error:
            faults.append(error)
    if faults:
        raise UserError.join(faults)
    return tuple(here)


def seen_by(config: StudyConfig, split: Split) -> dict[str, frozenset[str]]:
    """Per method with searched values the templates that they have seen, on a split that `on_split` accepted."""
    return {method.label or method.name: frozenset(_entry(method, split).seen) for method in config.methods if method.tuned is not None}


def _entry(method: MethodConfig, split: Split) -> TunedConfig:
    """A preset's values for a split."""
    assert method.tuned
    where = f"methods.{method.label or method.name}.preset"
    names = list(method.tuned)
    entry = method.tuned.get(split_key(split)) or (method.tuned[names[0]] if len(names) == 1 else None)
    if entry is None:
        found = f"{method.tuned[names[0]].origin}, with values for {', '.join(names)} only"
        raise UserError(where, found, f"values for split {split.name}", "Search on the study's own splits with `affinage tune`.")
    seen = sorted(frozenset(entry.seen) & split.test_templates)
    if seen:
        shown = f"{', '.join(seen[:5])}{', ...' if len(seen) > 5 else ''}"
        found = f"{entry.origin}, trained or chosen on {len(seen)} templates that split {split.name} tests: {shown}"
        todo = "Search on this split with `affinage tune`, or study the splits that the preset was searched on."
        raise UserError(where, found, "values that have seen none of them", todo)
    return entry
