"""What is fitted to training speakers in closed form: whitening, discriminants, and the two-covariance model (PLDA).

Everything is computed in float64 from vectors (U, D), one an utterance, and the numbers of their speakers (U,), 0 to
S - 1, all of which occur.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Shrinkage = Literal["auto"] | float

NEGLIGIBLE = 1e-12  # share of the largest variance below which a direction counts as one without any


def speaker_means(vectors: Tensor, speakers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean vector of each speaker, (S, D), and the number of their utterances, (S,)."""
    counts = speakers.bincount().to(vectors)
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add_(0, speakers, vectors)
    return sums / counts[:, None], counts


def within_speakers(vectors: Tensor, speakers: Tensor) -> Tensor:
    """Return the differences of vectors from their speakers' means, for speakers with two or more, (U', D)."""
    means, counts = speaker_means(vectors, speakers)
    return (vectors - means[speakers])[counts[speakers] > 1]


def whitening(differences: Tensor, shrinkage: Shrinkage) -> Tensor:
    """Return the inverse square root of the covariance of vectors with mean zero, (U, D) -> (D, D), symmetric.

    The covariance C is replaced by (1 - s) C + s m I, with m the mean of its diagonal; s: `shrinkage`, or with "auto"
    the one of least expected squared error (Ledoit & Wolf, Journal of Multivariate Analysis 88(2), 2004). Directions
    without variance are removed where nothing is added to them. Vectors that are all zero are left as they are.

    The decomposition is of the smaller of the two sides, so many dimensions of few utterances take no longer.
    """
    count, dim = differences.shape
    if count == 0 or not bool(differences.any()):
        return torch.eye(dim, dtype=differences.dtype)
    if count < dim:
        _, singular, directions = torch.linalg.svd(differences, full_matrices=False)
        variances = singular.square() / count
    else:
        variances, columns = torch.linalg.eigh(differences.T @ differences / count)
        directions = columns.T
    share = ledoit_wolf(differences, variances) if shrinkage == "auto" else shrinkage
    added = share * variances.sum() / dim
    variances = (1.0 - share) * variances.clamp(min=0.0) + added
    least = NEGLIGIBLE * variances.max()
    found, others = (torch.where(each > least, each, torch.inf).rsqrt() for each in (variances, added))
    whitened: Tensor = (directions.T * (found - others)) @ directions + others * torch.eye(dim, dtype=differences.dtype)
    return whitened


def ledoit_wolf(differences: Tensor, variances: Tensor) -> float:
    """Return Ledoit and Wolf's shrinkage for the covariance of vectors with mean zero, (U, D).

    variances: eigenvalues of their covariance; those that are zero may be missing. It is scikit-learn's number, whose
    import takes longer than a whole run of closed forms, but for one: vectors that are a single one but for signs, as
    the two utterances of one speaker give, scatter in no estimate and would not be shrunk. They tell of one direction
    alone, and their covariance becomes a multiple of the identity.
    """
    count, dim = differences.shape
    squares = variances.square().sum()
    scatter = differences.square().sum(dim=1).square().mean() - squares
    distance = squares - variances.sum().square() / dim
    if distance <= NEGLIGIBLE * squares:
        return 0.0
    return float((scatter / count / distance).clamp(0.0, 1.0)) if scatter > NEGLIGIBLE * squares else 1.0


def discriminants(vectors: Tensor, speakers: Tensor, shrinkage: Shrinkage, width: int) -> Tensor:
    """Return the map (D, width) of linear discriminant analysis; the covariance within speakers becomes the identity.

    Whitening by the shrunk covariance within speakers, then the directions in which the speakers' means differ most
    (Fukunaga, "Introduction to Statistical Pattern Recognition", 1990, chapter 10). Without shrinkage it is
    scikit-learn's LinearDiscriminantAnalysis; with it, that one also shrinks the covariance of the means, which here
    is taken as it is.
    """
    white = whitening(within_speakers(vectors, speakers), shrinkage)
    means, counts = speaker_means(vectors, speakers)
    between = (counts / counts.sum()).sqrt()[:, None] * (means - vectors.mean(dim=0)) @ white
    _, _, directions = torch.linalg.svd(between, full_matrices=False)
    discriminating: Tensor = white @ directions[:width].T
    return discriminating


@dataclass(frozen=True)
class TwoCovariances:
    """A vector is a speaker's own point and a deviation from it, both normal (Brümmer & de Villiers, Odyssey 2010).

    centre: (D,), their mean. map: (D, D), to where the deviations have covariance I and speakers have covariances
    `between` (D,), independent of each other.
    """

    centre: Tensor
    map: Tensor
    between: Tensor

    @classmethod
    def of(cls, vectors: Tensor, speakers: Tensor, shrinkage: Shrinkage) -> TwoCovariances:
        """Estimate both covariances by their moments.

        The covariance of the speakers' means is that of the speakers and, on average, that within divided by the number
        of utterances, which is subtracted; what becomes negative is zero.
        """
        means, counts = speaker_means(vectors, speakers)
        differences = within_speakers(vectors, speakers)
        repeated = int((counts > 1).sum())
        lost = len(differences) / max(1, len(differences) - repeated)  # a degree of freedom for each speaker's mean
        white = whitening(differences * lost**0.5, shrinkage)
        centre = means.mean(dim=0)
        around = (means - centre) @ white
        between = around.T @ around / max(1, len(means) - 1)
        variances, columns = torch.linalg.eigh(between)
        return cls(centre, white @ columns, (variances - counts.reciprocal().mean()).clamp(min=0.0))

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return a (D,), b (D,) and c () of the log likelihood ratio of two mapped vectors x and y.

        The ratio, of one speaker to two, is the sum over dimensions of a² x y - b (x² + y²) / 2, plus c: of normal
        densities with covariance [[1 + v, v], [v, 1 + v]] and with its diagonal alone, v the variance between speakers.
        """
        own, all_of_it = 1.0 + 2.0 * self.between, 1.0 + self.between  # eigenvalue of the sum, variance of a vector
        product = (self.between / own).sqrt()
        square = self.between.square() / (own * all_of_it)
        return product, square, (all_of_it.log() - own.log() / 2).sum()
