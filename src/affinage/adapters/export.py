"""An adapter in a form that other tools take, its logits compared before the folder appears."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, final

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from affinage.adapters.disk import CONFIG, AdapterCard, load, read_card, read_tensors, save, settings_of
from affinage.adapters.facts import facts
from affinage.adapters.logits import (
    ATTENTIONS,
    OF_ALL,
    Comparison,
    apart,
    flipped,
    has_peft,
    norm_apart,
    read,
    read_embeddings,
    read_peft,
    sequences,
)
from affinage.adapters.modelcard import PAGE, Form, model_card
from affinage.adapters.place import new_folder
from affinage.backbone import Backbone, Doors, LowRank
from affinage.backbone.quantised import require_full_weights
from affinage.methods import Adapter, registry
from affinage.pack import Branch
from affinage.records import UserError
from affinage.store import read_json, write_atomically, write_json

__all__ = ["EMBEDDINGS", "MERGED", "Dtype", "Exported", "Format", "FormatError", "export_embeddings", "export_merged", "export_peft", "formats"]

Format = Literal["peft", "merged", "embeddings"]
Dtype = Literal["bfloat16", "float32"]

EMBEDDINGS = "prompt_embeddings.safetensors"
MERGED_SPREAD = 1.5
"""Merging rounds the weights themselves, and whether that adds to the error of the activations or takes away from it is chance: over random updates
of three sizes the merged bfloat16 model was 0.6 to 1.2 times as far from float32 as the unmerged one, on a tiny model and on SmolLM2 alike."""
_MERGED = 16
"""Sequences that a merged model is compared on."""
MERGED = "affinage-merged.json"
"""Says what was merged into a model; the model is no adapter any more, so it has no card of one."""


@final
class FormatError(UserError):
    """A format cannot hold an adapter; of several adapters the others can be exported all the same."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    folder: Path
    checked: str
    """What was compared with what, and how far apart they were."""


def formats(adapter: Adapter, card: AdapterCard, folder: Path) -> tuple[Format, ...]:
    """The formats that can hold an adapter.

    `peft`: where PEFT knows the method; `merged`: where it adds to the model's weights, alike for every token, and does nothing else, and they are
    not quantised; `embeddings`: where it puts vectors before everything else, and does nothing else.

    Args:
        adapter: as it was loaded.
        card: what it says of itself.
        folder: where it was loaded from.

    Raises:
        UserError: settings that its method does not take.
    """
    found: list[Format] = ["peft"] if registry.get(card.method).in_peft(settings_of(card, folder)) else []
    doors = adapter.doors()
    opened = {door.name for door in fields(Doors) if _open(getattr(doors, door.name))}
    whole = card.backbone.quantisation == "none"
    if whole and opened and opened <= {"updates", "shifts"} and all(isinstance(update, LowRank) for update in doors.updates.values()):
        found.append("merged")
    if opened == {"vectors"} and _before_everything(adapter):
        found.append("embeddings")
    return tuple(found)


def _open(door: Any) -> bool:
    return bool(door) if isinstance(door, (Mapping, list)) else door is not None


def _before_everything(adapter: Adapter) -> bool:
    """Whether all its vectors stand at the root, in their order."""
    vectors = adapter.doors().vectors
    text = (7, 8, 9, 10)
    return vectors is not None and adapter.place(Branch(text, 2)).ids == (*range(-1, -1 - len(vectors), -1), *text)


def _refuse(adapter: Adapter, card: AdapterCard, folder: Path, wanted: Format) -> None:
    """Refuses what a format cannot hold.

    Raises:
        FormatError: naming the method and the formats that can.
    """
    able = formats(adapter, card, folder)
    if wanted not in able:
        todo = f"Use --format {' or '.join(able)}." if able else "Use it with Affinage itself."
        raise FormatError(f"method {card.method}", f"an adapter that the format {wanted} cannot hold", "one that it can", todo)


def export_peft(folder: Path, backbone: Backbone, to: Path, *, base: str | None = None) -> Exported:
    """A PEFT folder with a model card; PEFT itself, where it is installed, must compute the same logits.

    P-tuning is written as prompt-tuning: its encoder has done its work, and more tools take the plain form.

    Args:
        folder: the adapter's.
        backbone: the model that it was made for.
        to: a new folder.
        base: hub id of the backbone, for PEFT's configuration and the card. Default: as the adapter names it.

    Raises:
        UserError: PEFT cannot hold the method, the logits differ, or the folder cannot be written.
    """
    card, adapter = read_card(folder), load(folder, backbone, seen_may_be_unknown=True)
    _refuse(adapter, card, folder, "peft")
    named = card if base is None else replace(card, backbone=replace(card.backbone, id=base))
    with new_folder(to) as work:
        save(adapter, work, named)
        write_json(work / CONFIG, _plain(read_json(work / CONFIG)))
        checked = _compare_peft(adapter, card, backbone, work)
        _write_page(work, model_card(named, facts(folder, card), Form("peft", checked), base=base))
    return Exported(to, checked)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """PEFT's P_TUNING without its encoder is PROMPT_TUNING; every other configuration stays as it is."""
    if config["peft_type"] != "P_TUNING":
        return config
    kept = {name: value for name, value in config.items() if not name.startswith("encoder_")}
    return {**kept, "peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM"}


def _compare_peft(adapter: Adapter, card: AdapterCard, backbone: Backbone, folder: Path) -> str:
    """What was compared, in words.

    Raises:
        UserError: the logits differ.
    """
    branches = sequences(backbone.shape.vocabulary)
    ours = _read(backbone, branches, adapter)
    if has_peft():
        theirs = [read_peft(backbone, folder, branches, name) for name in _attentions(backbone)]
        reader = "PEFT itself loads this folder and computes the same logits"
    else:
        method = registry.get(card.method)
        settings = settings_of(card, folder)
        again = method.restore(settings, backbone.shape, method.from_peft(settings, backbone.shape, read_tensors(folder)))
        theirs = [_read(backbone, branches, again.to(backbone.device))]
        reader = "Affinage's own reading of these files gives the same logits; this is no check by PEFT, which was not installed"
    return f"{reader} ({_held(apart(ours, theirs, backbone.dtype), 'PEFT folder')}, {_type(backbone)})."


def export_embeddings(folder: Path, backbone: Backbone, to: Path, *, base: str | None = None) -> Exported:
    """The vectors of a soft prompt, [P, H] float32 in one safetensors file, for servers that take prompt embeddings.

    No pickle is written: the card shows how a client makes a request of it.

    Args:
        folder: the adapter's.
        backbone: the model that it was made for.
        to: a new folder.
        base: hub id of the backbone, for the card.

    Raises:
        UserError: the adapter is more than vectors before everything else, the logits differ, or the folder cannot be written.
    """
    card, adapter = read_card(folder), load(folder, backbone, seen_may_be_unknown=True)
    _refuse(adapter, card, folder, "embeddings")
    vectors = torch.cat(list(adapter.final_tensors().values()))
    branches = sequences(backbone.shape.vocabulary)
    theirs = [read_embeddings(backbone, vectors, branches, name) for name in _attentions(backbone)]
    held = _held(apart(_read(backbone, branches, adapter), theirs, backbone.dtype), "prompt embeddings")
    checked = f"Put before a text's embeddings they give the logits that the adapter gives ({held}, {_type(backbone)})."
    with new_folder(to) as work:
        write_atomically(work / EMBEDDINGS, save_tensors({"prompt_embeds": vectors.detach().cpu().float().contiguous()}, {"format": "pt"}))
        _write_page(work, model_card(card, facts(folder, card), Form("embeddings", checked), base=base))
    return Exported(to, checked)


def export_merged(folder: Path, load_backbone: Callable[[Dtype], Backbone], to: Path, *, dtype: Dtype, base: str | None = None) -> Exported:
    """The whole model with the update merged into its weights, and its tokenizer, as transformers loads them.

    The update is added in float32. There the merged model must equal the unmerged one but for rounding; in bfloat16 it may be `MERGED_SPREAD` times
    as far from float32 as the unmerged one is.

    Args:
        folder: the adapter's.
        load_backbone: gives the model that it was made for, in a type; asked once or twice, for one at a time.
        to: a new folder.
        dtype: in which the weights are written.
        base: hub id of the backbone, for the card.

    Raises:
        UserError: the adapter is more than updates of linear modules, its model is quantised, the logits differ, or the folder cannot be written.
    """
    card = read_card(folder)
    if card.backbone.quantisation != "none":
        weights = f"one of a model in {card.backbone.quantisation} weights, which cannot take the update"
        raise FormatError(f"adapter {folder}", weights, "one of a model with weights as they are", "Hand it on in another --format.")
    narrow = None if dtype == "float32" else _unmerged(folder, card, load_backbone(dtype))
    backbone = load_backbone("float32")
    exact = _unmerged(folder, card, backbone)
    _merge(load(folder, backbone, seen_may_be_unknown=True), backbone)
    branches = sequences(backbone.shape.vocabulary, _MERGED)
    merged = _read(backbone, branches, None)
    said = f"float32: {_held(apart(merged, [exact], backbone.dtype), 'merged model')}"
    if narrow is not None:
        _weights_to(backbone.model, getattr(torch, dtype))
        rounded = _read(backbone, branches, None)
        found = Comparison(norm_apart(rounded, exact), MERGED_SPREAD * norm_apart(narrow, exact), OF_ALL)
        said += f"; {dtype} against that float32: {_held(found, 'merged model')}"
        said += f", {100 * flipped(rounded, exact):.0f} % of the most probable tokens differ, {100 * flipped(narrow, exact):.0f} % unmerged"
    checked = f"The merged model gives the logits of the model with the adapter ({said})."
    with new_folder(to) as work:
        backbone.model.save_pretrained(work)
        backbone.tokens.save(work)
        write_json(work / MERGED, {"method": card.method, "culture": card.culture, "backbone": card.backbone.as_dict()})
        _write_page(work, model_card(card, facts(folder, card), Form("merged", checked), base=base))
    return Exported(to, checked)


def _unmerged(folder: Path, card: AdapterCard, backbone: Backbone) -> list[Tensor]:
    """The logits of the model with the adapter beside it."""
    adapter = load(folder, backbone, seen_may_be_unknown=True)
    _refuse(adapter, card, folder, "merged")
    return _read(backbone, sequences(backbone.shape.vocabulary, _MERGED), adapter)


def _merge(adapter: Adapter, backbone: Backbone) -> None:
    """W += scale * B A, or what else is added to W; in the type of W.

    Raises:
        UserError: the weights came quantised.
    """
    require_full_weights(backbone.model, "merging")
    with torch.no_grad():
        doors = adapter.doors()
        for name, update in doors.updates.items():
            if isinstance(update, LowRank):
                weight = backbone.model.get_submodule(name).weight
                weight += (update.scale * (update.b @ update.a)).to(weight)
        for name, shift in doors.shifts.items():
            weight = backbone.model.get_parameter(name)
            weight += shift.to(weight)


def _weights_to(model: nn.Module, dtype: torch.dtype) -> None:
    """Brings the weights into a type. Buffers stay as they are: whoever loads the files makes them anew, in float32."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _read(backbone: Backbone, branches: list[Branch], adapter: Adapter | None) -> list[Tensor]:
    with torch.no_grad():
        return read(backbone, branches, [adapter])


def _attentions(backbone: Backbone) -> tuple[str, ...]:
    """One of the model's own attention functions in float32; in a narrower type all, whose distance tells how much is rounding."""
    return ATTENTIONS[:1] if backbone.dtype == torch.float32 or not backbone.model._supports_sdpa else ATTENTIONS


def _type(backbone: Backbone) -> str:
    return str(backbone.dtype).removeprefix("torch.")


def _held(found: Comparison, what: str) -> str:
    """The comparison in words.

    Raises:
        UserError: the two are not equal.
    """
    if not found.equal:
        raise UserError(what, f"logits {found}", "those of the adapter here", "Run `affinage doctor` on the adapter; nothing was written.")
    return str(found)


def _write_page(folder: Path, text: str) -> None:
    write_atomically(folder / PAGE, text.encode())
