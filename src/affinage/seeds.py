"""Named seed streams: every random number of the project is a function of (seed, key), never of what was drawn before.

So filtering or adding data changes no other item's order, side or shuffle, and a resumed run needs no saved generator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["generator", "permutation", "seed_of", "uniform", "uniforms"]

_SEPARATOR = b"\x1f"
_TWO_53 = float(1 << 53)


def seed_of(*key: str | int | float) -> int:
    """A 63-bit seed that depends on every part of `key`, on the order of the parts, and on nothing else."""
    digest = hashlib.blake2b(_SEPARATOR.join(str(part).encode() for part in key), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def uniform(*key: str | int | float) -> float:
    """u(key) in [0, 1) with 53 random bits."""
    return (seed_of(*key) >> 10) / _TWO_53


def uniforms(prefix: Sequence[str | int | float], keys: Iterable[str]) -> npt.NDArray[np.float64]:
    """`uniform(*prefix, key)` for each key; shape [len(keys)]."""
    return np.fromiter((uniform(*prefix, key) for key in keys), dtype=np.float64)


def permutation(count: int, *key: str | int | float) -> tuple[int, ...]:
    """A permutation of range(count) drawn from the stream `key`."""
    return tuple(int(i) for i in generator(*key).permutation(count))


def generator(*key: str | int | float) -> np.random.Generator:
    """A numpy generator of the stream `key`."""
    return np.random.default_rng(seed_of(*key))
