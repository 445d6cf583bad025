"""A model card in the hub's form: what the adapter is, what it was tested on, whose terms it stands under, and what a culture means here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
from huggingface_hub import ModelCard, ModelCardData

from affinage.adapters.disk import AdapterCard
from affinage.adapters.facts import Facts
from affinage.records import UserError
from affinage.stats import Estimate

__all__ = ["PAGE", "Form", "model_card"]

PAGE = "README.md"

_FROM_BLEND = {"blend"}
"""Data sets whose questions are BLEnD's: who answered them is known."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class Form:
    """In which form an adapter is handed on."""

    name: str
    """`peft`, `merged`, `embeddings`, or `affinage` where no other tool can hold the method."""
    checked: str
    """What was compared with what, and how far apart they were; empty where nothing was."""


def model_card(card: AdapterCard, known: Facts, form: Form, *, base: str | None = None) -> str:
    """The card's text, front matter included. It fills in no licence.

    Args:
        card: what the adapter says of itself.
        known: what is known beyond that.
        form: in which it is handed on.
        base: hub id of the backbone. Default: the adapter's own where it looks like one.

    Raises:
        UserError: `base` does not look like a hub id.
    """
    if base is not None and not _HUB_ID.fullmatch(base):
        raise UserError("--base-model", repr(base), "a hub id like org/name", "Leave it out where the backbone is not on the hub.")
    own = card.backbone.id
    on_hub = _HUB_ID.fullmatch(own) is not None and not Path(own).exists()
    hub_id = base or (own if on_hub else None)
    data = ModelCardData(
        base_model=hub_id,
        base_model_relation=None if hub_id is None else ("finetune" if form.name == "merged" else "adapter"),
        library_name={"peft": "peft", "merged": "transformers"}.get(form.name, "affinage"),
        pipeline_tag="text-generation",
        tags=["affinage", card.method, "culture"],
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("affinage.adapters"), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "interval": _interval, "points": _points}
    text = environment.get_template("model-card.md.j2").render(
        card=card,
        known=known,
        form=form,
        base=hub_id or Path(own).name,
        settings=sorted(card.settings.items()),
        zero_shot=bool(known.taught) and card.culture not in known.taught,
        blend=bool(card.sources) and set(card.sources) <= _FROM_BLEND,
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}"))


def _percent(estimate: Estimate | None) -> str:
    return "" if estimate is None else "no question" if math.isnan(estimate.value) else f"{100 * estimate.value:.1f}"


def _points(estimate: Estimate | None) -> str:
    return "" if estimate is None or math.isnan(estimate.value) else f"{100 * estimate.value:+.1f}"


def _interval(estimate: Estimate | None) -> str:
    """The bounds in percent; where there are none, why."""
    if estimate is None or math.isnan(estimate.value):
        return ""
    if estimate.low is None or estimate.high is None:
        return "too few templates"
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"
