"""The commit and the dirty flag are of the checkout that holds the package, and of no other repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from affinage.store import checkout, cores


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("no git")
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "README").write_text("")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "one")
    return tmp_path


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_a_clean_checkout_has_a_commit(repository: Path) -> None:
    standing = checkout(repository / "src" / "package")
    assert standing.commit == _git(repository, "rev-parse", "HEAD")
    assert not standing.dirty


def test_a_changed_or_added_file_of_the_package_makes_it_dirty(repository: Path) -> None:
    package = repository / "src" / "package"
    (repository / "README").write_text("changed")
    assert not checkout(package).dirty
    (package / "new_method.py").write_text("")
    assert checkout(package).dirty
    (package / "new_method.py").unlink()
    (package / "__init__.py").write_text("changed = True")
    assert checkout(package).dirty


def test_a_package_that_only_lies_in_a_repository_is_not_of_it(repository: Path) -> None:
    installed = repository / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    standing = checkout(installed)
    assert standing.commit is None
    assert not standing.dirty


def test_no_git_is_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert checkout(repository / "src" / "package").commit is None


def test_there_is_a_core() -> None:
    assert cores() >= 1
