"""The frozen model: the only importer of transformers' models. `load` gives one that computes over token trees."""

from affinage.backbone.compiled import compilations
from affinage.backbone.device import device_name, device_of
from affinage.backbone.doors import Doors, LowRank, Routed, Router
from affinage.backbone.load import configuration, describe, load, tokens
from affinage.backbone.memory import free_memory
from affinage.backbone.model import Backbone, Identity
from affinage.backbone.probe import Probe, probe_configuration
from affinage.backbone.quantised import require_full_weights

__all__ = [
    "Backbone",
    "Doors",
    "Identity",
    "LowRank",
    "Probe",
    "Routed",
    "Router",
    "compilations",
    "configuration",
    "describe",
    "device_name",
    "device_of",
    "free_memory",
    "load",
    "probe_configuration",
    "require_full_weights",
    "tokens",
]
