"""Name -> thing, with an answer for a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from affinage.records import UserError

__all__ = ["Registry", "suggest"]


def suggest(name: str, known: Iterable[str]) -> str:
    """The sentence that ends an error about an unknown name: the nearest known ones, else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(repr(k) for k in known if k.lower() in near)}?"
    return f"Known: {', '.join(known)}."


T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        kind: what the things are, for messages: "method", "data source".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Registers `thing`; a name can be taken once.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._things:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._things[name] = thing
        return thing

    def get(self, name: str) -> T:
        """The thing of that name.

        Raises:
            UserError: there is none; the message names the nearest.
        """
        if name not in self._things:
            raise UserError(self.kind, repr(name), f"a known {self.kind}", suggest(name, self._things))
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._things))

    def __len__(self) -> int:
        return len(self._things)

    def __contains__(self, name: object) -> bool:
        return name in self._things
