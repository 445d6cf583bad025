"""Frozen backbones whose linear modules are kept in 8 or 4 bits, by bitsandbytes through transformers.

Adapters enter a quantised model as any other: at its embeddings, in its attention, by what is added to a module's output. Its answers are those of
another model than the unquantised one, so quantisation is part of a model's identity, and equality with other tools is not claimed for it: they
choose other settings of the same library.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from affinage.config import ModelConfig
from affinage.records import UserError

__all__ = ["quantisation", "require_full_weights", "row_by_row"]


def quantisation(config: ModelConfig) -> dict[str, Any]:
    """What `from_pretrained` is told; nothing where the weights stay as they are.

    8 bits go without the library's split of outlying columns (threshold 0): which columns those are depends on all rows of a batch, so that one
    branch of a tree would change another. 4 bits are NF4 in blocks of 64, multiplied in the backbone's type.

    Raises:
        UserError: a library is missing.
    """
    if config.quantisation == "none":
        return {}
    missing = [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]
    if missing:
        raise UserError(
            "model.quantisation", f"no {' and no '.join(missing)}", "both bitsandbytes and accelerate", "Run `pip install affinage[quantise]`."
        )
    if config.quantisation == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)}
    chosen = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, config.dtype))
    return {"quantization_config": chosen}


def row_by_row(model: nn.Module) -> None:
    """Keeps 4-bit modules from repacking their weights on a CPU: the packed product has no gradient, and the weights would not stay as they are."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def require_full_weights(model: Any, what: str) -> None:
    """Refuses what writes into the weights themselves.

    Args:
        model: as transformers loaded it.
        what: what is wanted, for the message.

    Raises:
        UserError: the weights are quantised.
    """
    if getattr(model, "is_quantized", False):
        raise UserError(what, "quantised weights", "weights as they are, which it changes", "Set `model.quantisation` to none.")
