"""Analyses of a study's adapters: one file each, found by looking into this folder."""

from importlib import import_module
from pkgutil import iter_modules

from affinage.analysis.base import Analysis, Progress, Told, analyses
from affinage.analysis.make import Made, make
from affinage.analysis.settings import AnalysisSettings
from affinage.analysis.subject import Subject

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Analysis", "AnalysisSettings", "Made", "Progress", "Subject", "Told", "analyses", "make"]
