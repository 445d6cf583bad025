"""A frozen transformers model with a PEFT adapter at the work's start: what every peer trains or tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from affinage import backbone
from affinage.backbone.catalogue import resolve
from affinage.bench.sides.start import read_configuration, read_start
from affinage.bench.work import Question, Work
from affinage.records import UserError
from affinage.store import cores

__all__ = ["IGNORED", "adapted", "base_model", "device_of", "padded", "place_of", "tokenizer_of", "unpadded", "virtual_tokens"]


IGNORED = -100
"""A label that cross-entropy leaves out."""


def base_model(work: Work, attention: str | None = None) -> Any:
    """The model as transformers loads it, on the work's device in the work's type, with the threads that our side takes.

    Args:
        work: which model.
        attention: an attention of transformers. Default: its own choice.
    """
    torch.set_num_threads(work.model.threads or cores())
    chosen = {} if attention is None else {"attn_implementation": attention}
    dtype = getattr(torch, work.model.dtype)
    model = AutoModelForCausalLM.from_pretrained(
        str(place_of(work)), revision=work.model.revision or "main", dtype=dtype, use_safetensors=True, **chosen
    )
    return model.to(device_of(work))


def tokenizer_of(work: Work) -> Any:
    """The model's tokenizer, which trainers want for padding; one without a padding token pads with its end of text."""
    tokenizer = AutoTokenizer.from_pretrained(str(place_of(work)), revision=work.model.revision or "main")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def device_of(work: Work) -> str:
    """Where the model computes.

    Raises:
        UserError: no such device on this machine.
    """
    return str(backbone.device_of(work.model.device))


def place_of(work: Work) -> Path | str:
    """The model's folder or hub id.

    Raises:
        UserError: it is a GGUF file.
    """
    place = resolve(work.model.id)
    if isinstance(place, Path) and place.suffix == ".gguf":
        raise UserError(f"model {work.model.id}", "a GGUF file", "a folder with safetensors, which every peer loads", "Convert it first.")
    return place


def adapted(work: Work, model: Any) -> tuple[Any, dict[str, Tensor]]:
    """PEFT's model with its adapter at the start, and the trained tensors by name.

    Raises:
        ValueError: PEFT trains other tensors than the start holds.
    """
    wrapped = peft.get_peft_model(model, peft.get_peft_config(read_configuration(work)))
    start = read_start(work)
    if work.method == "prefix-tuning" and work.settings["projection"] is not None:
        _widen(wrapped.prompt_encoder["default"], start)
    trained = {name: value for name, value in wrapped.named_parameters() if value.requires_grad}
    shapes = {name: tuple(value.shape) for name, value in start.items()}
    if {name: tuple(value.shape) for name, value in trained.items()} != shapes:
        strange = sorted(set(trained) ^ set(shapes)) or [name for name in shapes if tuple(trained[name].shape) != shapes[name]]
        raise ValueError(f"PEFT's trained tensors are not the start's: {', '.join(strange[:3])}")
    with torch.no_grad():
        for name, value in trained.items():
            value.copy_(start[name])
    return wrapped, trained


def _widen(encoder: Any, start: dict[str, Tensor]) -> None:
    """Gives PEFT's projection the embedding width of the start's: under grouped queries PEFT takes a narrower one, the work is nearly the same."""
    embedding, inner = start["prompt_encoder.default.embedding.weight"], start["prompt_encoder.default.transform.0.weight"]
    device = encoder.embedding.weight.device
    encoder.embedding = nn.Embedding(embedding.shape[0], embedding.shape[1], device=device)
    encoder.transform[0] = nn.Linear(inner.shape[1], inner.shape[0], device=device)


def virtual_tokens(work: Work) -> int:
    """Rows that PEFT puts before each sequence and sends through the decoder; a prefix has none there."""
    return int(work.settings["length"]) if work.method == "prompt-tuning" else 0


def padded(batch: tuple[Question, ...], device: str) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask` and `labels` [B, T] of the right answers, padded on the right to the longest."""
    longest = max(len(question.trained) for question in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), longest), IGNORED)
    for row, question in enumerate(batch):
        length = len(question.trained)
        ids[row, :length] = torch.tensor(question.trained)
        mask[row, :length] = 1
        labels[row, len(question.context) : length] = ids[row, len(question.context) : length]
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}


def unpadded(ids: Tensor, mask: Tensor) -> list[list[int]]:
    """The sequences of a padded batch."""
    return [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)]
