"""Distances between cultures as a tree and as a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

__all__ = ["Map", "Tree", "classical_map", "tree"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tree:
    """A hierarchy of n cultures."""

    steps: Floats
    """[n - 1, 4] as scipy writes them: the two joined, the height, how many cultures they hold; n + k is what step k has joined."""
    cophenetic: float
    """Correlation of the heights at which pairs are joined with their distances (Sokal and Rohlf 1962): how much of the table the tree tells."""


@dataclass(frozen=True, slots=True)
class Map:
    """n cultures on a plane."""

    places: Floats
    """[n, 2]"""
    share: float
    """Share of the sum of the absolute eigenvalues that the two axes hold: how much of the table the map tells."""


def tree(distances: Floats) -> Tree:
    """Clusters by average linkage: the distance of two clusters is the mean over their pairs (Sokal and Michener 1958).

    Args:
        distances: [n, n] symmetric with a zero diagonal, n at least 3.
    """
    pairs = squareform(distances, checks=False)
    steps = linkage(pairs, "average")
    heights = cophenet(steps)
    level = np.ptp(heights) == 0 or np.ptp(pairs) == 0
    return Tree(steps, float("nan") if level else float(np.corrcoef(heights, pairs)[0, 1]))


def classical_map(distances: Floats) -> Map:
    """The plane that keeps the distances best in the sense of classical scaling.

    The eigenvectors of -J D^2 J / 2, J the centring matrix, each times the root of its eigenvalue (Torgerson 1952, "Multidimensional scaling: I.
    Theory and method"; Gower 1966). Axes have no meaning of their own, nor have their signs; each axis is turned so that its largest entry is
    positive.

    Args:
        distances: [n, n] symmetric with a zero diagonal.
    """
    n = len(distances)
    centring = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centring @ (distances**2) @ centring / 2)
    order = np.argsort(values)[::-1][:2]
    chosen = vectors[:, order] * np.sqrt(values[order].clip(0))
    chosen = chosen * np.where(chosen[np.abs(chosen).argmax(axis=0), range(len(order))] < 0, -1, 1)
    whole = float(np.abs(values).sum())
    places = np.zeros((n, 2))
    places[:, : chosen.shape[1]] = chosen
    return Map(places, float(values[order].clip(0).sum() / whole) if whole > 0 else float("nan"))
