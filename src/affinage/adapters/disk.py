"""An adapter's folder: PEFT loads it too, and a card says what the adapter is and what it has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from affinage import __version__
from affinage.backbone import Backbone, Identity
from affinage.config import PromptConfig, validated
from affinage.methods import Adapter, Settings, registry
from affinage.records import UserError
from affinage.store import write_atomically, write_json

__all__ = ["CARD", "CONFIG", "PICKLE", "TENSORS", "AdapterCard", "load", "read_card", "read_tensors", "refuse_unknown_seen", "save", "settings_of"]

CARD, CONFIG, TENSORS, PICKLE = "affinage.json", "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """What an adapter says of itself; its `affinage.json`."""

    method: str
    settings: Mapping[str, Any]
    culture: str
    """The culture that it was trained on; empty for an untrained start."""
    split: str
    """Name of the split whose training side it was trained on."""
    seen: frozenset[str]
    """Template ids that it was trained or chosen on; empty where `seen_known` is False."""
    start: tuple[str | int | float, ...]
    """Key of the start's random stream; adapters with the same key began with the same tensor."""
    prompt: PromptConfig
    """How questions were put in training."""
    backbone: Identity
    """The frozen model that it belongs to."""
    data: str
    """Digest of the data set."""
    template_arguments: Mapping[str, str | int | bool] = field(default_factory=dict)
    """Arguments of the chat template that the user set."""
    sources: tuple[str, ...] = ()
    """Names of the data sets that it was trained or chosen on; empty for an untrained start."""
    seen_known: bool = True
    """Whether anybody has said which templates it has seen; one that does not tell is tested on nothing."""
    imported: str = ""
    """Where an adapter that was trained elsewhere comes from, and what of it could not be verified; empty for one of Affinage's own."""
    version: str = field(default=__version__)
    """Version of Affinage."""


def save(adapter: Adapter, folder: Path, card: AdapterCard) -> None:
    """Writes an adapter's folder: tensors and PEFT configuration, the card last, so that a folder with a card is whole.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    method = registry.get(card.method)
    tensors = adapter.final_tensors()
    settings = settings_of(card, folder)
    peft = method.to_peft(settings, adapter.shape, tensors) if method.in_peft(settings) else None
    kept: Mapping[str, Tensor] = tensors if peft is None else peft.tensors
    config: dict[str, Any] = {"peft_type": None} if peft is None else {**peft.config, "base_model_name_or_path": card.backbone.id}
    write_atomically(folder / TENSORS, save_tensors({name: value.cpu().contiguous() for name, value in kept.items()}, {"format": "pt"}))
    write_json(folder / CONFIG, config)
    write_json(
        folder / CARD,
        {
            "method": card.method,
            "settings": dict(card.settings),
            "culture": card.culture,
            "split": card.split,
            "seen_templates": sorted(card.seen) if card.seen_known else None,
            "start": list(card.start),
            "prompt": card.prompt.model_dump(mode="json"),
            "backbone": card.backbone.as_dict(),
            "data": card.data,
            "sources": list(card.sources),
            "template_arguments": dict(card.template_arguments),
            "imported": card.imported,
            "version": card.version,
        },
    )


def read_card(folder: Path) -> AdapterCard:
    """The card of an adapter's folder.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    path = folder / CARD
    todo = "Give the folder `adapter/` of a finished run."
    if (folder / CONFIG).is_file() and not path.exists():
        todo = "For one that PEFT wrote: `affinage adapters import`."
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return AdapterCard(
            method=values["method"],
            settings=values["settings"],
            culture=values["culture"],
            split=values["split"],
            seen=frozenset(values["seen_templates"] or ()),
            start=tuple(values["start"]),
            prompt=validated(PromptConfig, values["prompt"], str(path)),
            backbone=Identity(**values["backbone"]),
            data=values["data"],
            sources=tuple(values.get("sources", ())),
            template_arguments=values["template_arguments"],
            seen_known=values["seen_templates"] is not None,
            imported=values.get("imported", ""),
            version=values["version"],
        )
    except OSError:
        raise UserError(str(folder), f"no readable {CARD}", "an adapter's folder", todo) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(str(path), f"{type(error).__name__}: {error}", "an adapter's card", todo) from None


def settings_of(card: AdapterCard, folder: Path) -> Settings:
    """The settings in a card, as its method has them.

    Args:
        card: of an adapter.
        folder: the adapter's, for the message.

    Raises:
        UserError: an unknown method, or values that it does not take.
    """
    return validated(registry.get(card.method).settings, dict(card.settings), str(folder / CARD))


def load(folder: Path, backbone: Backbone, *, seen_may_be_unknown: bool = False) -> Adapter:
    """The adapter in a folder, ready for the model that it was made for.

    Args:
        folder: the adapter's.
        backbone: the model.
        seen_may_be_unknown: whether an adapter will do that does not tell which templates it has seen. Whoever tests or trains with it says no;
            to talk to it, look at it or hand it on does no harm.

    Raises:
        UserError: no adapter there, one of another backbone, one that does not tell what it has seen, a pickle, or tensors that do not fit.
    """
    card = read_card(folder)
    if card.backbone.digest != backbone.identity.digest:
        raise UserError(
            f"adapter {folder}",
            f"one made for {card.backbone.id} (digest {card.backbone.digest[:12]})",
            f"one made for {backbone.identity.id} (digest {backbone.identity.digest[:12]})",
            "Load the model that it was made for, or train it anew.",
        )
    if not seen_may_be_unknown:
        refuse_unknown_seen(folder, card)
    tensors = read_tensors(folder)
    method = registry.get(card.method)
    settings = settings_of(card, folder)
    if method.in_peft(settings):
        tensors = method.from_peft(settings, backbone.shape, tensors)
    adapter = method.restore(settings, backbone.shape, tensors).to(backbone.device)
    adapter.origin, adapter.seen = str(folder), card.seen
    return adapter


def refuse_unknown_seen(folder: Path, card: AdapterCard) -> None:
    """No test and no training may rest on an adapter that does not tell which templates it has seen.

    Raises:
        UserError: it does not.
    """
    if not card.seen_known:
        raise UserError(
            f"adapter {folder}",
            "one that does not tell which templates it has seen in training (seen: unknown)",
            "one that does: no table may rest on templates that were seen",
            "Import it again with --seen FILE, or with --seen none where you know that it has seen none.",
        )


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors in an adapter's folder, under the names that stand in the file.

    Raises:
        UserError: there are none, they are cut short, or a pickle stands in their place.
    """
    path = folder / TENSORS
    if not path.exists() and (folder / PICKLE).exists():
        raise UserError(
            str(folder / PICKLE),
            "a pickle, which can run code when it is loaded",
            TENSORS,
            "Convert it where you trust it: load it with PEFT and call `save_pretrained` there; PEFT writes safetensors since 2023.",
        )
    try:
        return load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise UserError(str(path), str(error), "a whole safetensors file", "Train the adapter again, or copy it again.") from None
