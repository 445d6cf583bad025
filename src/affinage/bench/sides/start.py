"""The start that every side copies: our adapter's tensors under PEFT's names, and the PEFT configuration of the same method.

No tensor stands at zero: LoRA's B at zero would leave A without a gradient, and the comparison blind to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from affinage.backbone import Backbone
from affinage.bench.work import Work
from affinage.methods import Adapter, registry
from affinage.methods.base import normal
from affinage.records import UserError
from affinage.store import read_json, write_atomically

__all__ = ["by_peft_name", "read_configuration", "read_start", "start_adapter"]

_TENSORS, _CONFIGURATION = "start.safetensors", "peft.json"
_MOVED = 0.02
"""Standard deviation of what stands in a tensor that would start at zero."""
_PROJECTION = {
    "embedding": "embedding.weight",
    "inner_weight": "transform.0.weight",
    "inner_bias": "transform.0.bias",
    "outer_weight": "transform.2.weight",
    "outer_bias": "transform.2.bias",
}
"""Our names of a projected prefix's tensors -> PEFT's."""


def by_peft_name(adapter: Adapter) -> dict[str, Tensor]:
    """The trained tensors under PEFT's names.

    Raises:
        UserError: the bench does not know where the method's tensors are in PEFT.
    """
    own = dict(adapter.named_parameters())
    encoder = "prompt_encoder.default"
    if adapter.method == "prompt-tuning":
        return {f"{encoder}.embedding.weight": own["vectors"]}
    if adapter.method == "prefix-tuning":
        names = {"flat": "embedding.weight"} if "flat" in own else _PROJECTION
        return {f"{encoder}.{theirs}": own[ours] for ours, theirs in names.items()}
    if adapter.method == "lora":
        modules = [name.removesuffix(".a") for name in adapter.final_tensors() if name.endswith(".a")]
        return {
            f"base_model.model.{module}.lora_{part.upper()}.default.weight": own[f"{part}.{place}"]
            for place, module in enumerate(modules)
            for part in ("a", "b")
        }
    raise UserError("--method", repr(adapter.method), "prompt-tuning, prefix-tuning or lora", "The bench compares these.")


def start_adapter(work: Work, backbone: Backbone, number: int = 0) -> Adapter:
    """Our adapter at the start; the start is made and written where it is not there yet.

    Args:
        work: method, settings, and the start's folder.
        backbone: the frozen model.
        number: which start, where it is made.
    """
    method = registry.get(work.method)
    settings = method.settings.model_validate(work.settings)
    adapter = method.build(settings, backbone, ("bench", number)).to(backbone.device)
    named = by_peft_name(adapter)
    path = work.start / _TENSORS
    if path.exists():
        with torch.no_grad():
            for name, value in load_file(path).items():
                named[name].copy_(value)
        return adapter
    with torch.no_grad():
        for name, value in named.items():
            if not value.any():
                value.copy_(normal(value.shape, "bench start", name, deviation=_MOVED))
    configuration = _configuration(work, [name for name in adapter.final_tensors() if name.endswith(".a")])
    write_atomically(work.start / _CONFIGURATION, json.dumps(configuration).encode())
    # The tensors last: where they are, the start is whole.
    write_atomically(path, lambda place: save_file({name: value.detach().cpu().contiguous() for name, value in named.items()}, place))
    return adapter


def read_start(work: Work) -> dict[str, Tensor]:
    """The start's tensors by PEFT's names."""
    return load_file(work.start / _TENSORS)


def read_configuration(work: Work) -> dict[str, Any]:
    """What PEFT's configuration of the method is made of; what is left out PEFT takes from the model."""
    return read_json(work.start / _CONFIGURATION)


def _configuration(work: Work, low_rank: list[str]) -> Mapping[str, Any]:
    """PEFT's configuration: the method's type and values.

    Args:
        work: method and settings.
        low_rank: `<module>.a` of each updated module.
    """
    settings = work.settings
    if work.method == "prompt-tuning":
        return {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": settings["length"]}
    if work.method == "prefix-tuning":
        projection = settings["projection"]
        return {
            "peft_type": "PREFIX_TUNING",
            "task_type": "CAUSAL_LM",
            "num_virtual_tokens": settings["length"],
            "prefix_projection": projection is not None,
            "encoder_hidden_size": projection,
        }
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": settings["rank"],
        "lora_alpha": settings["alpha"],
        "use_rslora": settings["rank_stabilised"],
        "lora_dropout": 0.0,
        "target_modules": [name.removesuffix(".a") for name in low_rank],
    }
