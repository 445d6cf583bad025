"""Trackers: where a study's training can be watched beside its own folder. One file each, found by looking into this folder.

A new tracker is one new file that adds its `Kind` to `trackers`, and its name in `config.StudyConfig.tracking`. None of them is needed: a study's
folder holds everything that they are told. None of them reaches the network.
"""

from __future__ import annotations

import importlib
import pkgutil

from affinage.tracking.base import Facts, Kind, Tracker, open_tracker, trackers

__all__ = ["Facts", "Kind", "Tracker", "open_tracker", "trackers"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
