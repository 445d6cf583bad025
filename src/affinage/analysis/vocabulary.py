"""The tokens of the vocabulary that lie nearest to a prompt's vectors.

They are shown because people ask, and explain nothing: for any text there is a continuous prompt that lies nearest to that text, token by token,
and solves a task that the text does not name about as well (Khashabi et al. 2022, "Prompt waywardness", NAACL). Beside each stand the token that
the vector began as, and the cosine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from affinage.backbone import Backbone

__all__ = ["nearest"]

_ROWS = 8192
"""Embeddings in memory at a time."""


def nearest(backbone: Backbone, vectors: npt.NDArray[np.float64], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The nearest tokens of each vector by cosine.

    Args:
        backbone: whose vocabulary.
        vectors: [P, H].
        count: k, how many.

    Returns:
        Ids and cosines, each [P, k], the nearest first; equal ones by id.
    """
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-30)
    ids, values = np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0))
    for first in range(0, backbone.shape.vocabulary, _ROWS):
        block = range(first, min(first + _ROWS, backbone.shape.vocabulary))
        known = backbone.embed(block).numpy().astype(np.float64)
        cosine = rows @ (known / np.linalg.norm(known, axis=1, keepdims=True).clip(1e-30)).T
        ids = np.concatenate([ids, np.tile(np.asarray(block), (len(rows), 1))], axis=1)
        values = np.concatenate([values, cosine], axis=1)
        best = np.argsort(-values, axis=1, kind="stable")[:, :count]
        ids, values = np.take_along_axis(ids, best, axis=1), np.take_along_axis(values, best, axis=1)
    return ids, values
