"""What part of our training step its matrix products are, and what part of this machine's peak the needed ones come to: record and table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from affinage.bench.page import grid, spread

__all__ = ["Share", "share_page"]


@dataclass(frozen=True, slots=True)
class Share:
    """One method with one way of drawing batches."""

    method: str
    variant: str
    """Questions per template."""
    state: str
    """`measured`, or `failed: REASON`."""
    batches: Sequence[Mapping[str, Any]] = ()
    """Per batch, of `products.timed_products`: `step` and `alone` (seconds of each round), `performed`, `needed`, `operations`, `uncounted`."""
    peak: Sequence[float] = ()
    """Multiplications per second of the fastest square product in each round, same type and threads."""

    @property
    def step(self) -> tuple[float, ...]:
        """Per batch the median seconds of the whole step."""
        return tuple(median(batch["step"]) for batch in self.batches)

    @property
    def alone(self) -> tuple[float, ...]:
        """Per batch the median seconds of its products by themselves."""
        return tuple(median(batch["alone"]) for batch in self.batches)

    @property
    def shares(self) -> tuple[float, ...]:
        """Per batch the products' part of the step."""
        return tuple(alone / step for alone, step in zip(self.alone, self.step, strict=True))

    @property
    def best(self) -> float:
        """This machine's peak: the fastest of all rounds."""
        return max(self.peak)

    @property
    def use(self) -> tuple[float, ...]:
        """Per batch the needed multiplications over the step's time, as a part of the peak."""
        return tuple(batch["needed"]["total"] / step / self.best for batch, step in zip(self.batches, self.step, strict=True))

    @property
    def performed(self) -> float:
        """Multiplications that all batches' steps performed over those that they needed; below 1 something was not seen, or was saved."""
        done = sum(batch["performed"]["linear"] + batch["performed"]["batched"] for batch in self.batches)
        return float(done / sum(batch["needed"]["total"] for batch in self.batches))

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Operations that were timed, though nobody knows how many multiplications they do."""
        return tuple(sorted({name for batch in self.batches for name in batch["uncounted"]}))

    def as_dict(self) -> dict[str, Any]:
        """For JSON, the parts beside what they are made of."""
        values = {"method": self.method, "variant": self.variant, "state": self.state, "batches": list(self.batches), "peak": list(self.peak)}
        if not self.batches:
            return values
        return {**values, "share": median(self.shares), "use_of_peak": median(self.use), "performed_over_needed": self.performed}


def share_page(shares: Sequence[Share]) -> str:
    """The section of the page; empty without shares."""
    if not shares:
        return ""
    header = ["method", "questions per template", "affinage, s a step", "products alone, s", "share of the step", "needed, 10^9"]
    header += ["performed / needed", "needed / s, part of the peak", "peak, 10^9 / s"]
    parts = [
        "## How much of our step is matrix products",
        grid(header, [_row(share) for share in shares], words=2),
        "Medians over the batches (smallest to largest), of each batch's own medians; whole steps and products alone in turns, without a peer "
        "beside them. *products alone*: every matrix product that the step performs, forward and backward, again with the same operation, shapes, "
        "strides, type and threads. *needed*: multiplications counted from the tree: linear layers at every node, forward and as far back as "
        "trained tensors lie, attention over visible pairs, output layer at predicting nodes; nothing that is masked, padded or computed twice. "
        "*peak*: the fastest square product of the same run, same type and threads.",
    ]
    uncounted = sorted({name for share in shares for name in share.uncounted})
    if uncounted:
        parts.append(f"Timed, but of unknown multiplications: {', '.join(uncounted)}; *performed* lacks theirs.")
    return "\n\n".join(parts)


def _row(share: Share) -> tuple[str, ...]:
    if not share.batches:
        return (share.method, share.variant, share.state, *[""] * 6)
    return (
        share.method,
        share.variant,
        spread(share.step),
        spread(share.alone),
        f"**{spread(share.shares)}**",
        spread([batch["needed"]["total"] / 1e9 for batch in share.batches]),
        f"{share.performed:.2f}",
        spread(share.use),
        f"{share.best / 1e9:.0f}",
    )
