"""Whitening, discriminants and the two-covariance model: against hand-worked cases, scikit-learn and densities."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from downstream.tasks.verification import closed_form
from downstream.tasks.verification.closed_form import (
    TwoCovariances,
    discriminants,
    speaker_means,
    whitening,
    within_speakers,
)

SPEAKERS = torch.tensor([0, 1, 0, 2, 1, 0])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spoken(speakers: int, each: int, dim: int) -> tuple[Tensor, Tensor]:
    """Vectors of speakers who differ more than their utterances do, in directions of unequal size."""
    numbers = torch.arange(speakers).repeat_interleave(each)
    return (2 * noise(speakers, dim)[numbers] + noise(len(numbers), dim, seed=1)) @ noise(dim, dim, seed=2), numbers


def test_means_and_differences_of_speakers() -> None:
    vectors = torch.tensor([[1.0], [10.0], [2.0], [7.0], [20.0], [6.0]], dtype=torch.float64)
    means, counts = speaker_means(vectors, SPEAKERS)
    assert means.flatten().tolist() == [3.0, 15.0, 7.0]
    assert counts.tolist() == [3, 2, 1]
    # The third speaker has one utterance, which tells nothing of how a speaker's utterances differ.
    assert within_speakers(vectors, SPEAKERS).flatten().tolist() == [-2.0, -5.0, -1.0, 5.0, 3.0]


@pytest.mark.parametrize("count", [7, 12, 40])
@pytest.mark.parametrize("shrinkage", [0.3, 1.0, "auto"])
def test_whitening_is_the_inverse_root_of_the_shrunk_covariance(count: int, shrinkage: float | str) -> None:
    """With more dimensions than vectors as with fewer."""
    differences = noise(count, 12) @ noise(12, 12, seed=1)
    covariance = differences.T @ differences / count
    if shrinkage == "auto":
        shrunk = torch.from_numpy(ledoit_wolf(differences.numpy(), assume_centered=True)[0])
    else:
        size = covariance.diagonal().mean() * torch.eye(12)
        shrunk = (1 - float(shrinkage)) * covariance + float(shrinkage) * size
    found = whitening(differences, shrinkage)  # type: ignore[arg-type]
    torch.testing.assert_close(found, found.T)
    torch.testing.assert_close(found @ shrunk @ found, torch.eye(12, dtype=torch.float64))


@pytest.mark.parametrize(("count", "dim"), [(60, 12), (12, 60), (2, 5), (9, 1)])
def test_ledoit_and_wolfs_shrinkage_is_scikit_learns(count: int, dim: int) -> None:
    differences = noise(count, dim) @ noise(dim, dim, seed=1)
    variances = torch.linalg.svdvals(differences).square() / count
    expected = ledoit_wolf_shrinkage(differences.numpy(), assume_centered=True)
    assert closed_form.ledoit_wolf(differences, variances) == pytest.approx(expected, rel=1e-12)
    if dim > 1:
        assert 0.0 < expected < 1.0


def test_two_utterances_of_one_speaker_do_not_take_all_other_directions_away() -> None:
    one = noise(1, 6)
    found = whitening(torch.cat([one, -one]), "auto")
    torch.testing.assert_close(found, torch.eye(6).double() / one.square().mean().sqrt())


def test_whitening_without_shrinkage_removes_directions_without_variance() -> None:
    differences = torch.tensor([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]).double()
    found = whitening(differences, 0.0)
    torch.testing.assert_close(found, torch.diag(torch.tensor([0.5, 1.0, 0.0]).double() * 2**0.5))
    again = whitening(differences[:2], 0.0)  # fewer than dimensions
    torch.testing.assert_close(again, torch.diag(torch.tensor([0.5, 0.0, 0.0]).double()))


def test_vectors_without_any_variance_stay_as_they_are() -> None:
    for differences in (torch.zeros(5, 3).double(), torch.zeros(0, 3).double()):
        assert torch.equal(whitening(differences, "auto"), torch.eye(3, dtype=torch.float64))


def test_discriminants_are_scikit_learns() -> None:
    vectors, speakers = spoken(5, 9, 6)
    vectors, speakers = vectors[:-3], speakers[:-3]  # not as many of each
    found = discriminants(vectors, speakers, 0.0, 4)
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(vectors.numpy(), speakers.numpy())
    expected = torch.from_numpy(theirs.transform((vectors - vectors.mean(dim=0)).numpy()))
    own = (vectors - vectors.mean(dim=0)) @ found
    signs = (own * expected).sum(dim=0).sign()
    torch.testing.assert_close(own * signs, expected, rtol=1e-6, atol=1e-8)
    within = within_speakers(vectors, speakers) @ found
    torch.testing.assert_close(within.T @ within / len(vectors), torch.eye(4, dtype=torch.float64))


def test_two_covariances_worked_by_hand() -> None:
    """Two speakers of two utterances each: 1 and 3, -1 and -3.

    Within: (1 + 1 + 1 + 1) / (4 - 2) = 2. Between: means 2 and -2, variance 8, less 2 / 2: 7. Divided by 2: 3.5.
    """
    vectors = torch.tensor([[1.0], [3.0], [-1.0], [-3.0]], dtype=torch.float64)
    model = TwoCovariances.of(vectors, torch.tensor([0, 0, 1, 1]), 0.0)
    assert model.centre.tolist() == [0.0]
    torch.testing.assert_close(model.map.abs(), torch.tensor([[2**-0.5]]).double())
    torch.testing.assert_close(model.between, torch.tensor([3.5]).double())


def test_the_ratio_is_that_of_normal_densities() -> None:
    vectors, speakers = spoken(30, 6, 3)
    model = TwoCovariances.of(vectors, speakers, 0.0)
    product, square, constant = model.weights()
    inverse = torch.linalg.inv(model.map)
    within = inverse.T @ inverse
    between = inverse.T @ torch.diag(model.between) @ inverse
    one, other = vectors[0] - model.centre, vectors[7] - model.centre
    both = torch.cat([one, other]).numpy()
    whole = between + within
    zeros = torch.zeros_like(between)
    same = torch.cat([torch.cat([whole, between], dim=1), torch.cat([between, whole], dim=1)])
    different = torch.cat([torch.cat([whole, zeros], dim=1), torch.cat([zeros, whole], dim=1)])
    expected = multivariate_normal(cov=same.numpy()).logpdf(both) - multivariate_normal(cov=different.numpy()).logpdf(
        both
    )
    x, y = one @ model.map, other @ model.map
    found = (product.square() * x * y - square * (x * x + y * y) / 2).sum() + constant
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_two_covariances_of_much_data_are_those_it_was_drawn_from() -> None:
    numbers = torch.arange(3000).repeat_interleave(3)[:-4]
    vectors = noise(3000, 2)[numbers] * torch.tensor([3.0, 0.5]) + noise(len(numbers), 2, seed=1)
    model = TwoCovariances.of(vectors, numbers, "auto")
    torch.testing.assert_close(model.between, torch.tensor([0.25, 9.0]).double(), rtol=0.1, atol=0.05)


def test_variances_between_speakers_are_never_negative() -> None:
    model = TwoCovariances.of(noise(40, 5), torch.arange(40) % 10, 0.5)
    assert bool((model.between >= 0).all())
    assert all(bool(torch.isfinite(part).all()) for part in model.weights())
