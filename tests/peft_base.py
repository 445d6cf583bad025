"""The base model of the adapters in `peft_files`: a tiny Llama with weights that every version of every library draws alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["CONFIG", "IDS", "weights"]

CONFIG = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}

IDS = (5, 17, 40, 3, 77, 21, 60, 8)
"""The text of the expected logits."""


def weights() -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Name and value of each weight."""
    h, i, v, kv = 32, 48, 96, 16
    sizes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (v, h), "model.norm.weight": (h,)}
    for layer in range(2):
        before = f"model.layers.{layer}."
        sizes |= {f"{before}{name}.weight": (h,) for name in ("input_layernorm", "post_attention_layernorm")}
        attention = {"q_proj": (h, h), "k_proj": (kv, h), "v_proj": (kv, h), "o_proj": (h, h)}
        perceptron = {"gate_proj": (i, h), "up_proj": (i, h), "down_proj": (h, i)}
        sizes |= {f"{before}self_attn.{name}.weight": size for name, size in attention.items()}
        sizes |= {f"{before}mlp.{name}.weight": size for name, size in perceptron.items()}
    rng = np.random.Generator(np.random.PCG64(20))
    for name, shape in sizes.items():
        value = rng.normal(0.0, 0.25, shape).astype(np.float32)
        yield name, value + 1 if len(shape) == 1 else value
