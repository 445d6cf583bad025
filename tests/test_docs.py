"""Pages that fail the build when they lie."""

from __future__ import annotations

import ast
import re
import shlex
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

import affinage
from affinage.cli import app
from affinage.config import StudyConfig, load_study, presets, validated

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Each `affinage ...` line of the README, of the pages in docs/ and bench/, and of the shipped studies' comments."""
    folder = resources.files("affinage") / "presets"
    pages = (*(ROOT / "docs").glob("*.md"), ROOT / "bench" / "README.md")
    texts = [
        README,
        *(page.read_text(encoding="utf-8") for page in pages),
        *((folder / f"{name}.yaml").read_text(encoding="utf-8") for name in presets()),
    ]
    return sorted({match for text in texts for match in re.findall(r"(?:^    |`)(affinage [^`\n#]+?)(?:`|  |\n| +#)", text, re.M)})


def test_the_readme_shows_commands() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("line", commands())
def test_a_shown_command_exists_with_its_flags(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line.split(" && ", maxsplit=1)[0])[1:]
    path = []
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words[0]]
        path.append(words.pop(0))
    assert path or words == ["--help"], line
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=200)
    assert shown.exit_code == 0
    for flag in (word for word in words if word.startswith("--")):
        assert flag in shown.output, f"{line}: no {flag}"


def test_the_readme_s_study_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    study = validated(StudyConfig, yaml.safe_load(block), "README.md")
    assert study.data.source == "blend"


def test_the_readme_s_python_uses_public_names() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len([line for line in block.splitlines() if line]) <= 5
    names = [
        alias.name for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom) and node.module == "affinage" for alias in node.names
    ]
    assert names
    assert set(names) <= set(affinage.__all__)


def test_the_readme_s_file_tree_is_the_tree() -> None:
    package = ROOT / "src" / "affinage"
    there = {f"{entry.name}/" if entry.is_dir() else entry.name for entry in package.iterdir() if entry.name[0] not in "_."} - {"py.typed"}
    named = set(re.findall(r"^        (\S+) ", README, re.M))
    assert named == there


def test_the_readme_s_pictures_and_pages_are_there() -> None:
    for path in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", presets())
def test_a_shipped_study_is_valid(name: str) -> None:
    assert load_study(name).methods
