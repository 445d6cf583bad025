"""Who works on a run: at most one process at a time, on any number of machines that share the folder.

A claim is a file `claim-<generation>` made by exclusive creation. Who takes over a stale or released claim n creates n + 1, which
only one process can do, so nothing has to be deleted and made again (between the two, a third process could slip in). The owner of
generation n removes the ones before it; the highest one is never removed. A slow process that still believes in a generation long
gone may create that name again, but then sees the higher one and gives up.

The file's modification time is the heartbeat. It is compared with the file system's own clock, not with this machine's. Releasing
sets it to zero, which is as stale as can be.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from affinage.records import UserError
from affinage.store.files import write_error

__all__ = ["STALE_AFTER", "Claim", "ClaimLostError", "claim", "claim_owner"]

STALE_AFTER = 120.0
"""Seconds without a heartbeat after which a claim may be taken over."""

_PREFIX = "claim-"


class ClaimLostError(Exception):
    """Another process has taken the run over: this one slept for longer than a claim lives (a suspended machine)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that is ours until the end of the `with` block that `claim` opened."""

    path: Path
    """The claim's file."""
    generation: int
    _stop: threading.Event = field(repr=False, compare=False)

    def check(self) -> None:
        """Makes sure that the claim is still ours; to be called before anything of the run is replaced.

        Raises:
            ClaimLostError: another process has taken it over.
        """
        highest = _highest(self.path.parent)
        if highest != self.generation:
            raise ClaimLostError(f"{self.path.parent}: claim {self.generation} was taken over as claim {highest}")

    def _beat(self, interval: float) -> None:
        """Renews the heartbeat until the claim is released or removed by who took it over."""
        while not self._stop.wait(interval):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                return
            except OSError:
                continue  # a network file system may be away for a moment; `check` tells if it was for too long


@contextlib.contextmanager
def claim(folder: Path, stale_after: float = STALE_AFTER) -> Iterator[Claim | None]:
    """Claims a run's folder for the length of a `with` block, or yields None where a living process holds it.

    After it was granted, read the run's state again: the process before may have finished it.

    Args:
        folder: the run's folder; made where missing.
        stale_after: seconds without a heartbeat after which another's claim is dead; the same for every process of a study. A claim
            of a dead process of this machine is dead at once.

    Raises:
        UserError: the folder cannot be written.
    """
    generation = _take(folder, stale_after)
    if generation is None:
        yield None
        return
    held = Claim(folder / f"{_PREFIX}{generation:06d}", generation, threading.Event())
    heart = threading.Thread(target=held._beat, args=(stale_after / 4,), name=f"heartbeat of {folder.name}", daemon=True)
    heart.start()
    try:
        yield held
    finally:
        held._stop.set()
        heart.join()
        with contextlib.suppress(FileNotFoundError):  # taken over meanwhile: nothing of ours is left to release
            os.utime(held.path, (0, 0))


def claim_owner(folder: Path, stale_after: float = STALE_AFTER) -> str | None:
    """Host and process of who holds the run now; None where nobody does.

    Raises:
        UserError: the folder cannot be read, or holds a claim that is none.
    """
    try:
        generation = _highest(folder)
        path = folder / f"{_PREFIX}{generation:06d}"
        if generation == 0 or _dead(path, stale_after):
            return None
        owner = _owner(path)
    except OSError as error:
        raise write_error(folder, error) or error from error
    return f"{owner.get('host', 'a host')}, process {owner.get('pid', 'unknown')}"


def _take(folder: Path, stale_after: float) -> int | None:
    """The generation that this process now holds, or None where another process does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        standing = _highest(folder)
        if standing and not _dead(folder / f"{_PREFIX}{standing:06d}", stale_after):
            return None
        generation = standing + 1
        path = folder / f"{_PREFIX}{generation:06d}"
        try:
            _create(path)
        except FileExistsError:
            return None
        if _highest(folder) != generation:
            path.unlink(missing_ok=True)
            return None
        for older in _generations(folder):
            if older < generation:
                (folder / f"{_PREFIX}{older:06d}").unlink(missing_ok=True)
    except OSError as error:
        raise write_error(folder, error) or error from error
    return generation


def _create(path: Path) -> None:
    """The claim's file with its owner in it, or nothing."""
    owner = {"host": socket.gethostname(), "namespace": _namespace(), "pid": os.getpid(), "token": secrets.token_hex(8)}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.write(descriptor, json.dumps(owner).encode())
    except BaseException:  # an interrupt between the two calls would otherwise hold the run until the claim is stale
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _generations(folder: Path) -> list[int]:
    """Generations whose claims stand in the folder."""
    return [int(file.name.removeprefix(_PREFIX)) for file in folder.glob(f"{_PREFIX}[0-9]*")]


def _highest(folder: Path) -> int:
    """The generation that counts; 0 where the run was never claimed."""
    return max(_generations(folder), default=0)


def _dead(path: Path, stale_after: float) -> bool:
    """Whether nobody stands behind a claim any more."""
    try:
        beat = path.stat().st_mtime
    except FileNotFoundError:
        # Only the owner of a higher generation removes a claim: the run is held, by that one.
        return False
    owner = _owner(path)
    here = owner.get("host") == socket.gethostname() and owner.get("namespace") == _namespace()
    if here and not _running(int(owner["pid"])):
        return True
    return beat == 0 or _file_system_time(path.parent) - beat > stale_after


def _owner(path: Path) -> dict[str, str]:
    """Who wrote the claim; empty while the owner is still writing it, and for a claim that a crash left empty."""
    try:
        owner = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(owner, dict):
        raise UserError(str(path), type(owner).__name__, "a claim as written by affinage", "Remove the file if no process works on the run.")
    return {str(key): str(value) for key, value in owner.items()}


def _file_system_time(folder: Path) -> float:
    """Now, by the clock that stamps files in `folder` (another machine's, on a network file system), in seconds."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_mtime


def _namespace() -> str:
    """The system's name for the space in which a process id means something: containers can share a host's name, not this."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _running(pid: int) -> bool:
    """Whether a process of this machine lives; a killed one that its parent has not yet collected does not."""
    if os.name != "posix":
        return True  # signal 0 would end the process there; the heartbeat alone decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True  # a system without /proc
    return state not in {"Z", "X"}
