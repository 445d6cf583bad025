"""Affinage teaches a frozen language model a culture with a few hundred kilobytes, and tests whether it learned the culture or the test.

    from pathlib import Path
    from affinage import build_report, load_study, run_study

    study, folder = load_study("demo", {"limit": 20}), Path("runs/try")
    outcome = run_study(study, folder)
    print(outcome.finished, build_report(folder).page.read_text())

The untouched model on one culture, by hand (an adapter of `load_adapter` in the place of None is tested alike):

    from affinage import StudyConfig, evaluate_adapter, load_backbone, load_data, make_splits

    study = StudyConfig()
    data, backbone = load_data(study.data), load_backbone(study.model)
    test = data.select(cultures=["Spain"], templates=make_splits(data, study.splits)[0].test_templates)
    encoded, refused = backbone.tokens.encode_all(test.questions(), study.prompt, seed=0)
    scores = evaluate_adapter(backbone, None, encoded, refused, prompt=study.prompt)

The names are imported when they are first used (PEP 562): `import affinage` imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from affinage.adapters import load as load_adapter
    from affinage.backbone.load import load as load_backbone
    from affinage.config import StudyConfig, load_study
    from affinage.data import load as load_data
    from affinage.data import make_splits
    from affinage.evaluate import evaluate as evaluate_adapter
    from affinage.generate import answer
    from affinage.records import MCQ, UserError
    from affinage.report import build_report
    from affinage.study.plan import plan as plan_study
    from affinage.study.run import run as run_study
    from affinage.train import train as train_adapter

__version__ = "0.1.0"

_PLACES = {
    "MCQ": ("records", "MCQ"),
    "StudyConfig": ("config", "StudyConfig"),
    "UserError": ("records", "UserError"),
    "answer": ("generate", "answer"),
    "build_report": ("report", "build_report"),
    "evaluate_adapter": ("evaluate", "evaluate"),
    "load_adapter": ("adapters", "load"),
    "load_backbone": ("backbone.load", "load"),
    "load_data": ("data", "load"),
    "load_study": ("config", "load_study"),
    "make_splits": ("data", "make_splits"),
    "plan_study": ("study.plan", "plan"),
    "run_study": ("study.run", "run"),
    "train_adapter": ("train", "train"),
}
"""Public name -> module and name there. None is the name of a module of the package: `affinage.train` is the module, always."""

__all__ = [
    "MCQ",
    "StudyConfig",
    "UserError",
    "answer",
    "build_report",
    "evaluate_adapter",
    "load_adapter",
    "load_backbone",
    "load_data",
    "load_study",
    "make_splits",
    "plan_study",
    "run_study",
    "train_adapter",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _PLACES[name]
    value = getattr(import_module(f"{__name__}.{module}"), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
