"""How the bench talks to a side's process: one JSON object per line, a request and its reply in turn.

For instance

    {"do": "open", "side": "peft-loop", "work": "work.json", "options": {}}     {"ok": {...}}
    {"do": "step", "index": 0, "gradients": "g.safetensors"}                    {"ok": {"seconds": ..., ...}}
    ...                                                                         {"error": "RuntimeError: ..."}
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol, final

from affinage.records import UserError

__all__ = ["COMMAND", "Process", "SideError", "Talk", "serve", "work_off"]

COMMAND = (sys.executable, "-m", "affinage.bench.worker")
"""Starts a worker."""

_LONGEST = 300
"""Characters of a side's error that a table's cell shows."""


class SideError(Exception):
    """A side could not do what it was asked; its text is the reason."""


class Talk(Protocol):
    """One side of a comparison, wherever it runs."""

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Has the side do something.

        Raises:
            SideError: it could not.
        """
        ...

    def close(self) -> None:
        """Ends the side; what it held in memory is free."""
        ...


@final
class Process:
    """A side in a process of its own, which is ended with it.

    Args:
        command: the worker's command line.
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        # What libraries print while they work goes to a file: it is shown only where a side dies without a reply.
        self._noise: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  (open as long as the process)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._noise, encoding="utf-8")

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Sends a request and waits for the reply, however long it takes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = json.dumps({"do": do, **{name: str(value) if isinstance(value, Path) else value for name, value in values.items()}})
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise SideError(shortened(reply["error"]))
        done: dict[str, Any] = reply["ok"]
        return done

    def close(self) -> None:
        """Ends the process: a worker keeps nothing that is worth an orderly end, and a trainer's thread may wait for ever."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._noise):
            with contextlib.suppress(BrokenPipeError):  # a request that a dead process did not read
                if pipe is not None:
                    pipe.close()

    def _death(self) -> SideError:
        """What is known of a process that ended without a reply."""
        code = self._process.wait()
        self._noise.seek(0)
        lines = [line for line in self._noise.read().splitlines() if line.strip()]
        said = f": {lines[-1].strip()}" if lines else ""
        killed = " (killed, perhaps for want of memory)" if code == -9 else ""
        return SideError(shortened(f"the process ended with code {code}{killed}{said}"))


def shortened(text: str) -> str:
    """One line that fits a table's cell."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def serve(requests: IO[str], replies: IO[str], answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The worker's loop: answers each line until there are no more.

    Args:
        requests: lines of JSON.
        replies: where the replies go.
        answer: does what a request asks; an exception becomes the reply's `error`.
    """
    for line in requests:
        try:
            reply: dict[str, Any] = {"ok": answer(json.loads(line))}
        except UserError as error:
            reply = {"error": str(error)}
        except Exception as error:  # whatever goes wrong in a foreign library is a finding about that side, not the end of the bench
            reply = {"error": f"{type(error).__name__}: {error} (raised in {_raiser(error)})"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def work_off(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> NoReturn:
    """The whole of a worker's process: answers until standard input ends.

    What libraries print goes to standard error, so that it cannot be taken for a reply.

    Args:
        answer: as for `serve`.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, replies, answer)
    replies.flush()
    os._exit(0)  # a training's thread may still wait for its next step


def _raiser(error: Exception) -> str:
    """The module in which an error was raised, so that a table's cell says whose it is."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return str(frames[-1][0].f_globals.get("__name__", "unknown"))
