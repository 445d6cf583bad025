"""Adapters on disk, and on their way to and from other tools: PEFT folders, merged models, prompt embeddings, the hub."""

from affinage.adapters.disk import CARD, CONFIG, PICKLE, TENSORS, AdapterCard, load, read_card, read_tensors, refuse_unknown_seen, save, settings_of

__all__ = ["CARD", "CONFIG", "PICKLE", "TENSORS", "AdapterCard", "load", "read_card", "read_tensors", "refuse_unknown_seen", "save", "settings_of"]
