"""What many tests share: where the real data is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ("tiny",)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is not busy, so that no command warns of it."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests that need it are skipped with this reason where it is absent."""
    folder = Path(os.environ.get("AFFINAGE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set AFFINAGE_DATA")
    return folder


@pytest.fixture(scope="session")
def blend_folder(real_data: Path) -> Path:
    """BLEnD's annotations and questions as published."""
    return real_data / "blend"
