"""Canonical correlation of states with labels, measured on examples that the directions were not fitted to.

Canonical correlation analysis of states (N, D) and one-hot labels (N, K) is linear discriminant analysis: it has K - 1
correlations, of the directions of the states along which classes differ most. As many dimensions as examples correlate
with any labels perfectly, so a correlation of the examples that were fitted says nothing: directions are fitted on one
part of the examples, with a shrunk covariance, and correlated on the other.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Shrinkage = Literal["auto"] | float

FOLDS = 5
NEGLIGIBLE = 1e-12  # share of a dimension's mean square, or of the largest variance, that counts as no variance
LEAST_SHRINKAGE = 1e-6  # keeps a covariance invertible where "auto" finds that next to nothing need be added


@dataclass(frozen=True)
class CanonicalDirections:
    """Directions of states and of labels that correlate most, in falling order; at most K - 1.

    correlations: of the examples they were fitted to, (C,); with a shrunk covariance less than what these show.
    centre, scale: of states, (D,); directions: of standardised states, (D, C).
    label_centre: share of each class, (K,); label_directions: of one-hot labels about it, (K, C).
    """

    correlations: FloatArray
    centre: FloatArray
    scale: FloatArray
    directions: FloatArray
    label_centre: FloatArray
    label_directions: FloatArray

    @classmethod
    def fitted(
        cls, states: FloatArray, classes: IntArray, number: int, shrinkage: Shrinkage = "auto"
    ) -> CanonicalDirections:
        """Fit to states (N, D) and the classes of the examples, (N,) of 0 to number - 1; some may not occur.

        The covariance C of the standardised states becomes (1 - s) C + s m I, with m the mean of its diagonal; s:
        `shrinkage`, or with "auto" the one of least expected squared error (Ledoit & Wolf, 2004), which looks at no
        labels. Without shrinkage it is the textbook's CCA, which needs more examples than dimensions.
        """
        from scipy.linalg import cholesky, solve_triangular

        labels = np.eye(number)[classes]
        label_centre = labels.mean(axis=0)
        white_labels = whitening_of_labels(labels - label_centre)
        centre, scale = states.mean(axis=0), states.std(axis=0)
        varies = np.square(scale) > NEGLIGIBLE * np.square(states).mean(axis=0)
        if not varies.any():  # a layer that is the same for all examples has no directions
            nothing = np.zeros(0), centre, np.ones_like(scale), np.zeros((len(scale), 0))
            return cls(*nothing, label_centre, np.zeros((number, 0)))
        scale[~varies] = np.inf  # removes these dimensions
        standardised = ((states - centre) / scale)[:, varies]
        lower = cholesky(covariance(standardised, shrinkage), lower=True)
        shared = standardised.T @ ((labels - label_centre) @ white_labels) / len(states)
        left, correlations, right = np.linalg.svd(solve_triangular(lower, shared, lower=True), full_matrices=False)
        directions = np.zeros((len(scale), len(correlations)))
        directions[varies] = solve_triangular(lower, left, lower=True, trans=1)
        return cls(correlations, centre, scale, directions, label_centre, white_labels @ right.T)

    def of_states(self, states: FloatArray) -> FloatArray:
        """Return states (N, D) along the directions, (N, C)."""
        projected: FloatArray = ((states - self.centre) / self.scale) @ self.directions
        return projected

    def of_classes(self, classes: IntArray) -> FloatArray:
        """Return labels (N,) along the directions, (N, C)."""
        return self.label_directions[classes] - self.label_centre @ self.label_directions


def whitening_of_labels(labels: FloatArray) -> FloatArray:
    """Return directions of centred one-hot labels that have variance 1 and do not correlate, (K, C), C < K."""
    variances, columns = np.linalg.eigh(labels.T @ labels / len(labels))
    is_there = variances > NEGLIGIBLE * max(variances.max(), NEGLIGIBLE)
    whitening: FloatArray = columns[:, is_there] / np.sqrt(variances[is_there])
    return whitening


def covariance(centred: FloatArray, shrinkage: Shrinkage) -> FloatArray:
    """Return the shrunk covariance of centred states, (N, D) -> (D, D)."""
    count, dim = centred.shape
    found = centred.T @ centred / count
    mean = np.trace(found) / dim
    if shrinkage == "auto":
        away = np.square(found).sum() - dim * np.square(mean)  # squared distance from a multiple of the identity
        error = (np.square(np.square(centred).sum(axis=1)).mean() - np.square(found).sum()) / count
        share = max(float(min(error, away) / away) if away > 0 else 1.0, LEAST_SHRINKAGE)
    else:
        share = shrinkage
    shrunk: FloatArray = (1.0 - share) * found + share * mean * np.eye(dim)
    return shrunk


def held_out_correlation(
    states: FloatArray, labels: Sequence[str], groups: Sequence[str] | None = None, seed: int = 0
) -> float:
    """Return the mean of the K - 1 canonical correlations of states (N, D) with labels (N,), on held-out examples.

    groups: what examples share with others that depend on them, as a speaker; a group is never on both sides. None
        where each example stands for itself. seed: of the division into five parts, each held out in turn.

    A correlation is that of all held-out examples along the directions of their part, about the means that these were
    fitted with. Directions that a layer of fewer than K - 1 dimensions lacks count as 0. About 0, by chance a little
    less, for states that know nothing of the labels; 1 for states that the labels follow from linearly.

    Raises ValueError where there are fewer than two classes, or nothing can be held out.
    """
    names, classes = np.unique(np.asarray(labels), return_inverse=True)
    if len(names) < 2:
        raise ValueError("labels of one class correlate with nothing")
    products, squares, label_squares = np.zeros((3, len(names) - 1))
    for fitted, held_out in divided(classes, groups, seed):
        directions = CanonicalDirections.fitted(states[fitted], classes[fitted], len(names))
        known = held_out[np.isin(classes[held_out], classes[fitted])]  # of other classes no direction is known
        along, label_along = directions.of_states(states[known]), directions.of_classes(classes[known])
        count = along.shape[1]
        products[:count] += (along * label_along).sum(axis=0)
        squares[:count] += np.square(along).sum(axis=0)
        label_squares[:count] += np.square(label_along).sum(axis=0)
    scale = np.sqrt(squares * label_squares)
    return float(np.divide(products, scale, out=np.zeros_like(scale), where=scale > 0).mean())


def divided(classes: IntArray, groups: Sequence[str] | None, seed: int) -> list[tuple[IntArray, IntArray]]:
    """Return fitted and held-out examples of each part: groups whole, classes in equal shares as far as they allow."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    count = min(FOLDS, int(np.bincount(classes).max()), FOLDS if groups is None else len(set(groups)))
    if count < 2:
        raise ValueError("nothing can be held out: one group has all examples, or no class has two")
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    parts = kind(count, shuffle=True, random_state=seed).split(classes, classes, groups)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is not in every part, which is no matter
        return list(parts)
