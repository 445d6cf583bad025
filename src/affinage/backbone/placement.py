"""Where a model's layers are: on one device, or spread over several GPUs by accelerate.

A layer on another device than the embeddings gets its inputs moved by accelerate's hooks, and what an adapter puts there (prefix slots, terms,
updates, the tree itself) moved once per device and pass (`attention.Tree.on`).

Two ways to hold a large model are refused. Layers that wait in main memory or on disk: each pass would read them anew, while an adapter's step
makes one forward and one backward pass. And tensor parallelism: attention would see one GPU's share of the heads, while prefix slots, gates, terms
and updates are made for all of them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from affinage.config import ModelConfig
from affinage.records import UserError

__all__ = ["placement", "require_resident"]


def placement(config: ModelConfig, device: torch.device) -> dict[str, Any]:
    """What `from_pretrained` is told; nothing where the model is put onto one device afterwards.

    Args:
        config: of the model.
        device: where everything goes that no map says otherwise of.

    Raises:
        UserError: accelerate is missing, or a map names the disk.
    """
    if config.device_map is None:
        # Quantised weights are made on the device that they stay on.
        return {"device_map": {"": str(device)}} if config.quantisation != "none" else {}
    if config.device_map == "tensor-parallel":
        raise UserError(
            "model.device_map",
            "tensor parallelism",
            "a map of whole layers: attention would see one GPU's share of the heads, an adapter is made for all",
            "Set it to auto.",
        )
    if find_spec("accelerate") is None:
        raise UserError("model.device_map", "no accelerate, which spreads the layers", "it installed", "Run `pip install accelerate`.")
    if isinstance(config.device_map, dict):
        _require_resident(set(map(str, config.device_map.values())))
    return {"device_map": config.device_map}


def require_resident(model: Any) -> None:
    """Refuses a model some of whose layers are not where they compute.

    Raises:
        UserError: naming where they are.
    """
    _require_resident({str(device) for device in (getattr(model, "hf_device_map", None) or {}).values()})


def _require_resident(devices: set[str]) -> None:
    away = {"disk"} & devices or ({"cpu"} & devices if devices - {"cpu"} else set())
    if away:
        raise UserError(
            "model.device_map",
            f"layers that are kept on {', '.join(away)}",
            "every layer on a GPU (or all on the CPU): they would be moved in each pass",
            "Use more or larger GPUs, a smaller model, or `model.quantisation`.",
        )
