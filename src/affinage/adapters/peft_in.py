"""Adapters that were trained elsewhere with PEFT, as adapters of Affinage.

Read are the layouts of PEFT since its first releases: tensor names with and without the adapter's name in them, configurations with few keys and with
many. A configuration is read against a closed list: a key that is not on it must be off (null, false, empty), since a switch that we do not know
changes what the adapter computes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from affinage.adapters.disk import CONFIG, AdapterCard, read_tensors, save
from affinage.adapters.place import new_folder, public
from affinage.backbone import Identity
from affinage.config import PromptConfig
from affinage.methods import registry
from affinage.records import BackboneShape, UserError
from affinage.registry import suggest
from affinage.store import read_json

__all__ = ["PeftFolder", "Told", "import_peft", "read_peft_folder"]

_ABOUT = {
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "num_virtual_tokens",
    "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers", "runtime_config",
}  # fmt: skip
"""Keys that say what it is; what must hold of them is checked."""

_INERT = {
    "PROMPT_TUNING": {"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"},
    "P_TUNING": {"encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout"},
    "PREFIX_TUNING": {"init_weights", "encoder_hidden_size", "prefix_projection"},
    "LORA": {
        "r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
        "megatron_core", "qalora_group_size",
    },
}  # fmt: skip
"""PEFT's name of a method -> keys that change nothing of what the trained adapter computes, or are read. How vectors began and what made them is
over; which modules a LoRA updates is said by its tensors."""

_INERT_VALUES: Mapping[str, tuple[Any, ...]] = {"bias": ("none",), "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal")}
"""Keys with values that change nothing; other ways to begin a LoRA (pissa, olora, loftq, ...) change the base model's weights."""

_METHODS = {"PROMPT_TUNING": "prompt-tuning", "P_TUNING": "p-tuning", "PREFIX_TUNING": "prefix-tuning", "LORA": "lora"}
_TASK = "CAUSAL_LM"
_LORA = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<part>[AB])(?:\.(?!weight$)[^.]+)?\.weight")


@dataclass(frozen=True, slots=True)
class PeftFolder:
    """What stands in a PEFT folder, checked but not yet held against a model."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def kind(self) -> str:
        """PEFT's name of the method."""
        return str(self.config["peft_type"])

    @property
    def base(self) -> str:
        """The base model's name, as it stands there; empty where none does."""
        return str(self.config.get("base_model_name_or_path") or "")

    @property
    def revision(self) -> str | None:
        """The base model's revision, where it stands there."""
        return self.config.get("revision") or None


@dataclass(frozen=True, slots=True)
class Told:
    """What only the user knows of an adapter that was trained elsewhere."""

    culture: str
    seen: frozenset[str] | None
    """Template ids that it was trained or chosen on; None: unknown."""
    sources: tuple[str, ...]
    """Names of its data sets; empty: unknown."""
    prompt: PromptConfig
    """How questions shall be put to it."""


def read_peft_folder(folder: Path) -> PeftFolder:
    """A folder that PEFT wrote.

    Raises:
        UserError: files are missing or damaged, a pickle stands in the tensors' place, or the configuration has what is not supported (all of it).
    """
    config = read_json(folder / CONFIG)
    where = str(folder / CONFIG)
    kind = str(config.get("peft_type"))
    if kind not in _METHODS:
        todo = suggest(kind, _METHODS)
        raise UserError(f"{where}: peft_type", repr(config.get("peft_type")), f"one of {', '.join(_METHODS)}", todo)
    if config.get("task_type") not in (None, _TASK):
        raise UserError(f"{where}: task_type", repr(config["task_type"]), _TASK, "Only adapters of decoder-only language models can be read.")
    faults = [
        UserError(f"{where}: {name}", repr(value), "it off or left out", "What it does to the model is not supported.")
        for name, value in config.items()
        if not _harmless(kind, name, value)
    ]
    if faults:
        raise UserError.join(faults)
    return PeftFolder(folder, config, read_tensors(folder))


def _harmless(kind: str, name: str, value: Any) -> bool:
    """Whether a key of the configuration is read, inert or off."""
    if name in _ABOUT or name in _INERT[kind]:
        return name != "num_transformer_submodules" or value in (None, 1)
    return value in _INERT_VALUES.get(name, ()) or value in (None, False, 0, "") or value in ({}, [])


def import_peft(source: PeftFolder, shape: BackboneShape, identity: Identity, told: Told, to: Path) -> AdapterCard:
    """Writes the adapter as one of Affinage's own.

    Args:
        source: what PEFT wrote.
        shape: of the model that it shall belong to.
        identity: of that model.
        told: what the user says of it.
        to: a new folder.

    Raises:
        UserError: the tensors do not fit the model, or the folder cannot be written.
    """
    settings, tensors = _lora(source, shape) if source.kind == "LORA" else _soft(source)
    method = registry.get(_METHODS[source.kind])
    values = method.settings.model_validate(settings)
    adapter = method.restore(values, shape, method.from_peft(values, shape, tensors))
    card = AdapterCard(
        method=method.name,
        settings=values.model_dump(mode="json"),
        culture=told.culture,
        split="",
        seen=told.seen or frozenset(),
        seen_known=told.seen is not None,
        start=("imported", source.folder.name),
        prompt=told.prompt,
        backbone=identity,
        data="",
        sources=told.sources,
        imported=_unverified(source, identity),
    )
    with new_folder(to) as work:
        save(adapter, work, card)
    return card


def _unverified(source: PeftFolder, identity: Identity) -> str:
    """What the import rests on, in words that may be handed on: without the folders of this machine."""
    version = source.config.get("peft_version")
    named = "names no base model"
    if source.base:
        named = f"names its base model {public(source.base)!r} {f'at revision {source.revision}' if source.revision else 'without a revision'}"
    bound = f"{public(identity.id)}{'' if source.base == identity.id else ' (another name)'}, digest {identity.digest[:12]}"
    return (
        f"Imported from files of PEFT{f' {version}' if version else ''}, whose configuration {named}. It was bound to {bound}, because the user said "
        "so: that its tensors fit that model was checked; that it was trained on these very weights, and on what data, could not be."
    )


def _soft(source: PeftFolder) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Settings of a soft prompt or prefix.

    Raises:
        UserError: the configuration does not tell its length.
    """
    length = source.config.get("num_virtual_tokens")
    if not isinstance(length, int) or length < 1:
        where = f"{source.folder / CONFIG}: num_virtual_tokens"
        raise UserError(where, repr(length), "how many virtual tokens there are", "Is the file whole?")
    if source.kind == "P_TUNING":
        return {"root": (length,)}, source.tensors
    return {"length": length, "start": "random"}, source.tensors


def _lora(source: PeftFolder, shape: BackboneShape) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Settings of a LoRA, and its tensors by PEFT's present names.

    Raises:
        UserError: tensors that are no A or B of a plain linear module of the model.
    """
    known = {name for name, _, _ in shape.linears}
    tensors: dict[str, Tensor] = {}
    modules: dict[str, None] = {}
    for name, value in source.tensors.items():
        found = _LORA.fullmatch(name)
        module = found["module"] if found else ""
        if found is None or module not in known:
            endings = sorted({each.rsplit(".", 1)[-1] for each in known})
            raise UserError(
                f"{source.folder}: tensor {name}",
                "no A or B of a plain linear module of the decoder layers",
                f"updates of {', '.join(endings)} alone, under the names that the model has here",
                "Is it made for this model? Embeddings, output layers and experts cannot be updated here.",
            )
        modules[module] = None
        tensors[f"base_model.model.{module}.lora_{found['part']}.weight"] = value
    rank, alpha = source.config.get("r"), source.config.get("lora_alpha")
    if not (isinstance(rank, int) and isinstance(alpha, (int, float))):
        raise UserError(f"{source.folder / CONFIG}: r, lora_alpha", f"{rank!r}, {alpha!r}", "two numbers", "Is the file whole?")
    targets = tuple(name for name, _, _ in shape.linears if name in modules)
    values = {"rank": rank, "alpha": float(alpha), "rank_stabilised": bool(source.config.get("use_rslora")), "targets": targets}
    return values, tensors
