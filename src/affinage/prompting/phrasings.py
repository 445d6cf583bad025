"""Ways of naming a culture where a sentence expects a place: by its name, by its adjective, by its people, by its region."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from affinage.data.place_names import place_names
from affinage.prompting.regions import region_of
from affinage.records import UserError

__all__ = ["PHRASINGS", "Phrasing", "phrased", "usable"]

Phrasing = Literal["name", "adjective", "people", "region"]
"""`name`: "Spain"; `adjective`: "Spanish society"; `people`: "a community of Spaniards"; `region`: "Spain (Southern Europe)"."""

PHRASINGS: tuple[Phrasing, ...] = get_args(Phrasing)


def phrased(phrasing: Phrasing, culture: str, name: str) -> str | None:
    """How a culture reads after "in" or "from"; None where English has no such word for it, as far as is known here.

    Args:
        phrasing: the way of naming it.
        culture: as the source spells it.
        name: its name in text.
    """
    return _WAYS[phrasing](culture, name)


def usable(wanted: Sequence[Phrasing] | None, names: Mapping[str, str]) -> tuple[Phrasing, ...]:
    """The phrasings that can be tried on some cultures.

    Args:
        wanted: those that the user asked for; None for every one that is known for all of the cultures.
        names: culture -> its name in text.

    Raises:
        UserError: one that was asked for is unknown for a culture; all of them together.
    """
    missing = {way: [culture for culture, name in names.items() if phrased(way, culture, name) is None] for way in wanted or PHRASINGS}
    if wanted is None:
        return tuple(way for way in PHRASINGS if not missing[way])
    faults = [
        UserError("phrasings", f"{way!r} for {', '.join(cultures)}, for which none is known", "one that is known", "Leave the phrasing out.")
        for way, cultures in missing.items()
        if cultures
    ]
    if faults:
        raise UserError.join(faults)
    return tuple(dict.fromkeys(wanted))


def _adjective(culture: str, name: str) -> str | None:
    adjectives = place_names(culture, name).adjectives
    return f"{adjectives[0]} society" if adjectives else None


def _people(culture: str, name: str) -> str | None:
    several = [noun for noun in place_names(culture, name).people if noun.endswith(("s", "men"))]
    return f"a community of {several[0]}" if several else None


def _region(culture: str, name: str) -> str | None:
    region = region_of(culture, name)
    return f"{name} ({region})" if region else None


_WAYS: Mapping[Phrasing, Callable[[str, str], str | None]] = {
    "name": lambda culture, name: name,
    "adjective": _adjective,
    "people": _people,
    "region": _region,
}
