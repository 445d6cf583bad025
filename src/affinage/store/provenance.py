"""What produced a result: versions, commit, machine. Nothing is imported for it that is not needed to run."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["Checkout", "Provenance", "checkout", "cores", "provenance"]

_PACKAGES = ("torch", "transformers", "polars", "numpy", "safetensors")


@dataclass(frozen=True, slots=True)
class Checkout:
    """The git checkout that affinage runs from."""

    commit: str | None
    """None: installed from a package, or git could not be asked."""
    dirty: bool
    """Whether a file of the package differs from the commit or is not in it: what ran cannot be found again."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What worked on a run, from one start of the command to its end."""

    affinage: str
    """Version of the package."""
    commit: str | None
    dirty: bool
    python: str
    packages: Mapping[str, str]
    """Versions of the libraries that decide a rounding."""
    platform: str
    device: str
    """Where the backbone computed, in words."""
    threads: int
    """CPU threads."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def provenance(device: str, threads: int, standing: Checkout) -> Provenance:
    """The record of this process.

    Args:
        device: where the backbone computes, in words.
        threads: CPU threads.
        standing: the checkout as it was when the package was imported (`checkout`).
    """
    return Provenance(
        affinage=metadata.version("affinage"),
        commit=standing.commit,
        dirty=standing.dirty,
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in _PACKAGES},
        platform=f"{platform.system()} {platform.machine()}",
        device=device,
        threads=threads,
    )


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checkout(package: Path | None = None) -> Checkout:
    """The commit of the checkout that holds the package, and whether the package differs from it.

    A package that merely lies inside somebody's repository (a virtual environment in a project's folder) is not that project's.

    Args:
        package: the package's folder; this package's own by default.
    """
    package = package or Path(__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or _git(git, package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return Checkout(None, False)
    commit = _git(git, package, "rev-parse", "HEAD")
    changes = _git(git, package, "status", "--porcelain", "--", ".")
    return Checkout(commit.strip() if commit else None, changes is None or bool(changes.strip()))


def _git(git: str, folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it refuses."""
    command = [git, "--no-optional-locks", "-C", str(folder), *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout if answer.returncode == 0 else None
