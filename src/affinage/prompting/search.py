"""The search of a baseline: which candidates are tried, what each reached, which one is taken.

A plain enumeration, or a draw from it: candidates do not depend on how earlier ones did, so the search is the same whoever makes it, and can be
taken up after any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, product, zip_longest
from pathlib import Path
from typing import Any

from affinage import seeds
from affinage.prompting.base import Candidate, Ground, Prompting, PromptingSettings
from affinage.prompting.phrasings import phrased, usable
from affinage.records import UserError
from affinage.store import read_json, write_json

__all__ = ["Found", "Tried", "candidates", "chosen", "read_found", "refuse_seen", "write_found"]

FORMAT = 1
"""Version of `search.json`."""


def candidates(baseline: Prompting, settings: PromptingSettings, ground: Ground) -> tuple[Candidate, ...]:
    """The candidates of a search, in the order in which they are tried.

    Every wording with every phrasing and every count, equal prompts once. Each wording's combinations are shuffled by (seed, baseline, wording) and
    the wordings take turns, so a budget below the number of combinations gives each wording as many tries as any other.

    Raises:
        UserError: a phrasing that is unknown for a culture.
    """
    studied = {culture: ground.names[culture] for culture in ground.cultures}
    ways = usable(settings.phrasings, studied)
    by_wording = []
    for wording in settings.wordings:
        rest = list(product(ways, baseline.counts(settings)))
        order = seeds.permutation(len(rest), "prompting", ground.seed, baseline.name, wording)
        by_wording.append([(wording, *rest[place]) for place in order])
    found: dict[tuple[str, int, int], Candidate] = {}
    for wording, way, (count, draw) in filter(None, chain.from_iterable(zip_longest(*by_wording))):
        names = tuple((culture, phrased(way, culture, name) or name) for culture, name in studied.items())
        named = "{culture}" in wording
        prompt = baseline.put(ground.prompt, wording).model_copy(update={"names": names if named else ground.prompt.names})
        found.setdefault((prompt.model_dump_json(), count, draw), Candidate(wording, way, count, draw, prompt))
    return tuple(found.values())[: settings.candidates]


@dataclass(frozen=True, slots=True)
class Tried:
    """What a candidate reached."""

    wording: str
    phrasing: str
    count: int
    draw: int
    accuracy: float
    """Mean over cultures of the accuracy by template."""
    cultures: Mapping[str, float]
    """Culture -> accuracy by template."""
    unscored: int
    """Questions that could not be put; in no mean."""
    seconds: float
    """Of computing."""


@dataclass(frozen=True, slots=True)
class Found:
    """The content of `search.json`."""

    baseline: str
    """Registered name."""
    side: str
    """`development` or `validation`."""
    key: str
    """Digest of the candidates, of the questions that compared them and of what was quoted: equal keys give equal results."""
    budget: int
    """Candidates to try."""
    questions: int
    """That compared the candidates, over all cultures."""
    seen: frozenset[str]
    """Template ids that were quoted from or compared the candidates: it is tested on none of them."""
    tried: tuple[Tried, ...] = ()
    """In the order of the search; all of them once it is through."""
    terms: Mapping[str, str] = field(default_factory=dict)
    """Terms of a further source that is quoted."""

    @property
    def through(self) -> bool:
        """Whether every candidate was tried."""
        return len(self.tried) == self.budget

    def with_tried(self, tried: Tried) -> Found:
        """The same with one more candidate."""
        return replace(self, tried=(*self.tried, tried))

    def by_wording(self) -> Iterator[tuple[str, tuple[Tried, ...]]]:
        """Each wording with its candidates."""
        for wording in dict.fromkeys(tried.wording for tried in self.tried):
            yield wording, tuple(tried for tried in self.tried if tried.wording == wording)


def chosen(tried: Iterable[Tried]) -> int:
    """Which candidate is taken: the most accurate, of equals the first.

    Raises:
        ValueError: there is none.
    """
    accuracies = [each.accuracy for each in tried]
    return accuracies.index(max(accuracies))


def refuse_seen(found: Found, templates: Iterable[str]) -> None:
    """A baseline is never tested on a template that it quotes or was chosen on.

    Raises:
        UserError: it has seen some of them.
    """
    seen = sorted(set(templates) & found.seen)
    if seen:
        listed = f"{', '.join(seen[:5])}{', ...' if len(seen) > 5 else ''}"
        todo = "Test it on the test side of its own split."
        raise UserError(f"baseline {found.baseline}", f"{len(seen)} templates that it has seen: {listed}", "questions of unseen templates only", todo)


def write_found(path: Path, found: Found) -> None:
    """Puts a search on disk, atomically.

    Raises:
        UserError: as `store.write_json`.
    """
    write_json(path, {"format": FORMAT, **asdict(found), "seen": sorted(found.seen)})


def read_found(path: Path) -> Found:
    """A search as `write_found` wrote it.

    Raises:
        UserError: it is missing or damaged.
    """
    value: dict[str, Any] = read_json(path)
    todo = "Remove the run's folder and run the same command again."
    if value.pop("format", None) != FORMAT:
        raise UserError(str(path), "another format", f"format {FORMAT}", todo)
    try:
        tried = tuple(Tried(**each) for each in value.pop("tried"))
        return Found(**{**value, "seen": frozenset(value["seen"])}, tried=tried)
    except (KeyError, TypeError) as error:
        raise UserError(str(path), f"a damaged search ({error})", "a search as affinage writes it", todo) from None
