"""Baselines without training: the untouched model, its questions put better, with the same search behind them that a method's settings get.

A new baseline is one new file in this folder that adds its `Prompting` to `baselines`; nothing else names it.
"""

from __future__ import annotations

import importlib
import pkgutil

from affinage.prompting.base import Candidate, Ground, Material, Prompting, PromptingSettings
from affinage.prompting.base import baselines as registered
from affinage.prompting.search import Found, Tried, candidates, chosen, refuse_seen

__all__ = [
    "Candidate",
    "Found",
    "Ground",
    "Material",
    "Prompting",
    "PromptingSettings",
    "Tried",
    "candidates",
    "chosen",
    "refuse_seen",
    "registered",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
