"""The direction of imports: a module imports only from rows above its own, and torch stays where tensors are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "affinage"

ROWS = (
    {"records"},
    {"seeds", "registry", "config"},
    {"data", "prompts", "pack", "store", "stats", "matching", "distributions", "calibration", "tracking"},
    {"scoring", "encode", "backbone", "controls", "prompting", "submission"},
    {"methods"},
    {"train", "evaluate", "adapters", "generate"},
    {"study", "free_answers", "doctor"},
    {"analysis"},
    {"report", "audit", "bench"},
    {"tune"},
    {"cli"},
)
INSIDE_ONE_ROW = {("config", "registry"), ("backbone", "encode")}
"""Allowed pairs of one row: an unknown key is answered by the registry's suggestions; a backbone carries its tokenizer."""
WITHOUT_TORCH = {
    *("records", "seeds", "registry", "config", "data", "prompts", "pack", "store", "stats", "report", "controls", "prompting", "audit"),
    *("submission", "matching", "distributions", "calibration"),
}


def row_of(part: str) -> int:
    return next(i for i, row in enumerate(ROWS) if part in row)


def imports(file: Path) -> set[str]:
    """Top-level modules that a file imports, wherever in it, those for type checking left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "affinage" else {node.module}
    return names


def parts() -> list[tuple[str, Path]]:
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if file.relative_to(PACKAGE).parts[0] not in {"__init__.py", "__main__.py"}]
    return [(file.relative_to(PACKAGE).parts[0].removesuffix(".py"), file) for file in files]


@pytest.mark.parametrize(("part", "file"), [pytest.param(part, file, id=str(file.relative_to(PACKAGE))) for part, file in parts()])
def test_a_module_imports_only_from_rows_above_it(part: str, file: Path) -> None:
    for name in imports(file):
        if name.startswith("affinage.") and name != "affinage.__version__":
            other = name.split(".")[1]
            if other != part and (part, other) not in INSIDE_ONE_ROW:
                assert row_of(other) < row_of(part), f"{file.name} of {part} imports {name}"
        if part in WITHOUT_TORCH:
            assert name.split(".")[0] not in {"torch", "transformers"}, f"{file.name} of {part} imports {name}"


def test_only_the_backbone_imports_the_models_of_transformers() -> None:
    importers = {part for part, file in parts() if any(name.split(".")[0] == "transformers" for name in imports(file))}
    assert "backbone" in importers
    assert importers <= {"backbone", "bench", "cli"}


def test_data_statistics_and_report_run_without_torch() -> None:
    parts = ", ".join(f"affinage.{part}" for part in ("data", "store", "stats", "report", "audit", "controls", "prompting"))
    code = f"import sys, {parts}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
