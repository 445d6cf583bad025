"""One thing that the doctor looked at, and what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from affinage.records import UserError

__all__ = ["Check", "State", "tried"]

State = Literal["ok", "wrong", "not checked"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    """What was found; of what was not checked: why."""
    todo: str = ""
    """What to do about it; empty where nothing is to be done."""


def tried(name: str, check: Callable[[], Check], todo: str) -> Check:
    """The check's own finding, or whatever stopped it: that is what the doctor was called for.

    Args:
        name: of the check, where it could not finish.
        check: looks.
        todo: what to do where it was stopped by something that does not say so itself.
    """
    try:
        return check()
    except UserError as error:
        return Check(name, "wrong", f"{error.where}: found {error.found}; expected {error.expected}", error.todo)
    except Exception as error:
        return Check(name, "wrong", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", todo)
