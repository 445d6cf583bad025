"""Places between and around finished adapters, each of them an adapter: on the way from one to another, in the middle of several, beside one.

Every such place is a weighted sum of adapters of one method, one start and one split. What is summed is what an adapter does:

* of most methods the final tensors, name by name;
* of low-rank updates the products B A, not their factors: many pairs of factors have one product, and half of one adapter's B with half of another's
  A is nobody's update. The sum of products is exact at any rank: w_1 B_1 A_1 + w_2 B_2 A_2 = [w_1 B_1, w_2 B_2] [A_1; A_2], of the added ranks;
* updates behind a router are refused: which expert a token opens is no sum of anything.

Norms and angles are those of the whole adapter as one vector; of low-rank updates of their products, all modules together. A sum has seen what any of
its parts has seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from affinage.adapters import AdapterCard, settings_of
from affinage.backbone import Routed
from affinage.methods import Adapter, Key, Settings, registry
from affinage.methods.base import normal
from affinage.records import UserError

__all__ = ["Place", "angle", "average", "displacement", "noisy", "place_of", "require_alike", "spherical", "straight", "tokens_of", "with_tokens"]

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A finished adapter, with what must be known of it to add it to others."""

    adapter: Adapter
    card: AdapterCard
    """What it says of itself."""
    settings: Settings
    """Of its method."""
    tensors: Tensors
    """Its final tensors."""
    modules: tuple[str, ...]
    """Modules of which it has a low-rank update, `<module>.a` and `<module>.b` among the tensors."""
    scale: float
    """Factor of those updates."""


def place_of(adapter: Adapter, card: AdapterCard) -> Place:
    """The place where a finished adapter is.

    Args:
        adapter: as it was read.
        card: what it says of itself.

    Raises:
        UserError: adapters of its method cannot be added up.
    """
    updates = adapter.doors().updates
    if any(isinstance(update, Routed) for update in updates.values()):
        raise _refused(adapter, card, "updates behind a router: which expert a token opens is no sum of two choices", "a method without a router")
    tensors = adapter.final_tensors()
    if not tensors:
        raise _refused(adapter, card, "no trained tensor", "a method that trains something")
    scale = next((update.scale for update in updates.values()), 1.0)
    return Place(adapter, card, settings_of(card, Path(adapter.origin)), tensors, tuple(updates), scale)


def straight(one: Place, other: Place, at: float) -> Adapter:
    """(1 - t) a + t b: on the line through two adapters; before the one where t < 0, behind the other where t > 1.

    Between them it is the way along which linear mode connectivity is measured (Frankle et al. 2020, arXiv 1912.05671; of prompts and other small
    adapters Qin et al. 2022, arXiv 2210.14102). At 0 and 1 it has the adapters' own tensors, to the bit.

    Args:
        one: where t = 0.
        other: where t = 1.
        at: t.

    Raises:
        UserError: they are not of one method, start and split.
    """
    require_alike([one, other])
    return _sum([(one, 1 - at), (other, at)], f"{at:g} of the straight way")


def spherical(one: Place, other: Place, start: Place, at: float) -> Adapter:
    """Around the start that both began from: directions turn evenly from one displacement to the other, lengths change evenly.

    With the displacements a and b, their angle w and unit vectors u = a/|a|, v = b/|b|, the displacement at t is
    ((1 - t)|a| + t|b|) (sin((1 - t) w) u + sin(t w) v) / sin w (spherical linear interpolation, Shoemake 1985). The straight way between
    adapters that went in different directions comes nearer to the start than either of them; this one does not.

    Args:
        one: where t = 0.
        other: where t = 1.
        start: what both began from.
        at: t, from 0 to 1.

    Raises:
        UserError: they are not of one method, start and split, one has not moved, or they moved in opposite directions, between which there is no
            one way.
    """
    require_alike([one, other, start])
    lengths = displacement(one, start), displacement(other, start)
    turn = angle(one, other, start)
    if math.pi - turn < 1e-6:
        raise UserError(
            _names([one, other]), "displacements in opposite directions", "a single shortest way around the start", "Take the straight way."
        )
    # sin((1-t)w)/sin w as a quotient of sinc, which has its limit at w = 0.
    parts = [(1 - at) * np.sinc((1 - at) * turn / math.pi), at * np.sinc(at * turn / math.pi)]
    length = (1 - at) * lengths[0] + at * lengths[1]
    first, second = (float(part / np.sinc(turn / math.pi)) * (length / own) for part, own in zip(parts, lengths, strict=True))
    return _sum([(one, first), (other, second), (start, 1 - first - second)], f"{at:g} of the spherical way")


def average(places: Sequence[Place]) -> Adapter:
    """The mean of several adapters, each with the same weight.

    Raises:
        UserError: they are not of one method, start and split.
    """
    require_alike(places)
    return _sum([(place, 1 / len(places)) for place in places], "the mean")


def noisy(place: Place, start: Place, share: float, draw: int) -> Adapter:
    """An adapter with a random step from where it is, so many times as long as its displacement from its start.

    The step is normal in every value that training has moved, brought to its length. Of low-rank updates it is an update of the same rank with normal
    factors in every module, its product brought to its length. The same draw is the same direction for every adapter of a start.

    Args:
        place: the adapter.
        start: what it began from.
        share: length of the step as a share of the displacement's.
        draw: which of the directions.

    Raises:
        UserError: they are not of one method, start and split, or the adapter has not moved.
    """
    require_alike([place, start])
    length = displacement(place, start)
    key: Key = ("adapter noise", *place.card.start, draw)
    low = _low_rank(place)
    step = {name: normal(value.shape, *key, name).to(value.device) for name, value in place.tensors.items()}
    step = {name: value if name in low else value * (place.tensors[name] != start.tensors[name]) for name, value in step.items()}
    weight = share * length / math.sqrt(_inner(place, step, step))
    return _sum([(place, 1.0), (step, weight)], f"noise of {share:g} of its displacement, draw {draw}")


def tokens_of(place: Place) -> int:
    """How many virtual tokens can be taken out of an adapter one by one; 0 where its method has none."""
    rows = registry.get(place.adapter.method).rows
    return 0 if rows is None else len(place.tensors[rows])


def with_tokens(place: Place, kept: Sequence[int]) -> Adapter:
    """An adapter with some of its virtual tokens, in their order; without any it is the untouched model.

    Args:
        place: the adapter.
        kept: numbers of the tokens that stay, from 0.

    Raises:
        UserError: its method has no virtual tokens.
    """
    rows = registry.get(place.adapter.method).rows
    if rows is None:
        raise _refused(place.adapter, place.card, "no virtual tokens that could be dropped", "a method that trains a prompt")
    tensor = place.tensors[rows]
    own = tensor.index_select(0, torch.tensor(sorted(kept), dtype=torch.int64, device=tensor.device))
    return _restored(place, {rows: own}, {"length": len(own)}, place.adapter.seen, f"{len(own)} of its virtual tokens")


def displacement(place: Place, start: Place) -> float:
    """How far training has moved an adapter, |a - s|.

    Raises:
        UserError: it has not moved.
    """
    length = math.sqrt(max(0.0, _between(place, place, start)))
    if not length:
        raise _refused(place.adapter, place.card, "an adapter that is where it began", "one that was trained")
    return length


def angle(one: Place, other: Place, start: Place) -> float:
    """Between two adapters' displacements from their start, in radians.

    Raises:
        UserError: one has not moved.
    """
    cosine = _between(one, other, start) / (displacement(one, start) * displacement(other, start))
    return math.acos(min(1.0, max(-1.0, cosine)))


def _between(one: Place, other: Place, start: Place) -> float:
    """Inner product of two displacements, <a - s, b - s>."""
    if not one.modules:
        moved = [{name: value - start.tensors[name] for name, value in each.tensors.items()} for each in (one, other)]
        return _inner(one, moved[0], moved[1])
    a, b, s = one.tensors, other.tensors, start.tensors
    return _inner(one, a, b) - _inner(one, a, s) - _inner(one, b, s) + _inner(one, s, s)


def _inner(place: Place, one: Tensors, other: Tensors) -> float:
    """Inner product of two adapters of a place's form: of low-rank updates tr((B_1 A_1)^T B_2 A_2) = sum of (B_1^T B_2) * (A_1 A_2^T), scaled."""
    low = _low_rank(place)
    found = sum(float((one[name].double() * other[name].double()).sum()) for name in place.tensors if name not in low)
    for module in place.modules:
        b, a = (one[f"{module}.b"].double().T @ other[f"{module}.b"].double(), one[f"{module}.a"].double() @ other[f"{module}.a"].double().T)
        found += place.scale**2 * float((b * a).sum())
    return found


def _low_rank(place: Place) -> frozenset[str]:
    """Names of the tensors that are factors of low-rank updates."""
    return frozenset(f"{module}.{part}" for module in place.modules for part in ("a", "b"))


def _sum(terms: Sequence[tuple[Place | Tensors, float]], note: str) -> Adapter:
    """The weighted sum as an adapter; the first term is a place and gives its form."""
    place = terms[0][0]
    assert isinstance(place, Place)
    read = [(term.tensors if isinstance(term, Place) else term, weight) for term, weight in terms if weight]
    seen = frozenset[str]().union(*(term.adapter.seen for term, _ in terms if isinstance(term, Place)))
    if [weight for _, weight in read] == [1.0]:
        return _restored(place, read[0][0], {}, seen, note)
    low = _low_rank(place)
    tensors = {name: torch.stack([weight * each[name].double() for each, weight in read]).sum(0).float() for name in place.tensors if name not in low}
    for module in place.modules:
        tensors[f"{module}.a"] = torch.cat([each[f"{module}.a"] for each, _ in read])
        tensors[f"{module}.b"] = torch.cat([weight * each[f"{module}.b"] for each, weight in read], dim=1)
    return _restored(place, tensors, _longer(place, len(read)), seen, note)


def _longer(place: Place, times: int) -> dict[str, float]:
    """Settings of a low-rank update of so many times the rank, with the same factor before its product."""
    if not place.modules:
        return {}
    rank, alpha, by_root = (getattr(place.settings, name) for name in ("rank", "alpha", "rank_stabilised"))
    return {"rank": rank * times, "alpha": alpha * (math.sqrt(times) if by_root else times)}


def _restored(place: Place, tensors: Tensors, changed: Mapping[str, float], seen: frozenset[str], note: str) -> Adapter:
    """An adapter of a place's method with other tensors."""
    settings = place.settings.model_copy(update=dict(changed))
    made = registry.get(place.card.method).restore(settings, place.adapter.shape, tensors).to(next(iter(place.tensors.values())).device)
    made.seen, made.origin = seen, f"{note} from {place.adapter.origin}"
    return made


def require_alike(places: Sequence[Place]) -> None:
    """Only adapters of one method, one split and one start are added up.

    Between splits a template would be trained on by the one and tested by the other; between starts the way leads through noise.

    Args:
        places: one at least.

    Raises:
        UserError: naming what differs.
    """
    first = places[0]
    for place in places[1:]:
        kinds = {
            "methods": (first.card.method, place.card.method),
            "splits": (first.card.split, place.card.split),
            "starts": (first.card.start, place.card.start),
            "settings": tuple(each.settings.model_dump(exclude={"held_out"}) for each in (first, place)),
        }
        for what, (one, other) in kinds.items():
            if one != other:
                todo = "Choose adapters of one method, split and start of a study."
                raise UserError(_names([first, place]), f"two {what}: {one} and {other}", f"one of the {what}", todo)


def _refused(adapter: Adapter, card: AdapterCard, found: str, expected: str) -> UserError:
    return UserError(f"adapter {adapter.origin} of method {card.method}", found, expected, "Leave this method out.")


def _names(places: Sequence[Place]) -> str:
    return "adapters " + " and ".join(place.adapter.origin for place in places)
