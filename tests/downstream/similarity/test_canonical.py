"""Correlation with labels is the textbook's CCA where examples are many, and is honest where they are few."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from downstream.similarity import CanonicalDirections, held_out_correlation
from downstream.similarity.canonical import covariance

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def labelled(count: int, dim: int, classes: int, signal: float, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Return normal states with class means so far apart, and their classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=count)
    return generator.normal(size=(count, dim)) + signal * generator.normal(size=(classes, dim))[labels], labels


def test_without_shrinkage_it_is_the_closed_form() -> None:
    """Canonical correlations are the singular values of the product of two orthonormal bases (Bjorck & Golub 1973)."""
    states, labels = labelled(300, 10, 4, 0.7)
    found = CanonicalDirections.fitted(states, labels, 4, shrinkage=0.0)
    one_hot = np.eye(4)[labels][:, :3]
    bases = [np.linalg.qr(values - values.mean(axis=0))[0] for values in (states, one_hot)]
    expected = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    np.testing.assert_allclose(found.correlations, expected, rtol=1e-9)
    along, label_along = found.of_states(states), found.of_classes(labels)
    np.testing.assert_allclose(along.T @ label_along / 300, np.diag(expected), atol=1e-9)
    np.testing.assert_allclose(along.T @ along / 300, np.eye(3), atol=1e-9)


def test_without_shrinkage_it_is_the_cca_of_scikit_learn() -> None:
    from sklearn.cross_decomposition import CCA

    states, labels = labelled(300, 6, 4, 0.7)
    found = CanonicalDirections.fitted(states, labels, 4, shrinkage=0.0).correlations
    one, other = CCA(3, max_iter=20000, tol=1e-12).fit_transform(states, np.eye(4)[labels])
    expected = [np.corrcoef(one[:, column], other[:, column])[0, 1] for column in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("count", "dim"), [(40, 60), (300, 6)])
def test_the_covariance_is_shrunk_as_scikit_learn_shrinks_it(count: int, dim: int) -> None:
    from sklearn.covariance import ledoit_wolf

    states = labelled(count, dim, 2, 1.0)[0] * np.linspace(1, 3, dim)
    states -= states.mean(axis=0)
    np.testing.assert_allclose(covariance(states, "auto"), ledoit_wolf(states, assume_centered=True)[0], rtol=1e-9)


def test_wide_noise_correlates_with_nothing_though_all_of_it_could_be_fitted() -> None:
    states, labels = labelled(300, 600, 6, 0.0)
    fitted = CanonicalDirections.fitted(states, labels, 6, shrinkage=1e-6)
    assert fitted.correlations.min() > 0.999
    assert abs(held_out_correlation(states, labels.astype(str))) < 0.06  # standard error 0.026


def test_many_examples_give_the_correlation_of_the_population() -> None:
    states, labels = labelled(6000, 8, 3, 0.6)
    known = CanonicalDirections.fitted(*labelled(200_000, 8, 3, 0.6), 3, shrinkage=0.0).correlations.mean()
    assert held_out_correlation(states, labels.astype(str)) == pytest.approx(known, abs=0.1)
    means = np.stack([states[labels == one].mean(axis=0) for one in range(3)])
    assert held_out_correlation(means[labels] + 1e-3 * states, labels.astype(str)) > 0.999


def test_what_a_speaker_gives_away_does_not_count_as_the_label() -> None:
    """Every speaker has one label and a voice of their own: without groups the voice is taken for the label."""
    generator = np.random.default_rng(0)
    speakers = np.repeat(np.arange(30), 10)
    labels = generator.permutation(30)[speakers] % 2
    states = generator.normal(size=(30, 40))[speakers] + 0.1 * generator.normal(size=(300, 40))
    assert held_out_correlation(states, labels.astype(str)) > 0.9
    assert abs(held_out_correlation(states, labels.astype(str), groups=speakers.astype(str))) < 0.45
    assert held_out_correlation(states, labels.astype(str), groups=speakers.astype(str)) < 0.45


def test_directions_that_a_narrow_layer_lacks_count_as_none() -> None:
    states, labels = labelled(500, 2, 5, 100.0)
    assert held_out_correlation(states, labels.astype(str)) == pytest.approx(0.5, abs=0.01)  # 2 of 4


def test_constant_dimensions_and_scales_change_nothing() -> None:
    states, labels = labelled(200, 5, 3, 1.0)
    plain = held_out_correlation(states, labels.astype(str))
    scaled = np.hstack([states * [1e-4, 1, 50, 1e6, 1] + 3, np.full((200, 1), 0.1)])
    assert held_out_correlation(scaled, labels.astype(str)) == pytest.approx(plain, abs=0.02)
    assert held_out_correlation(0 * states + 1, labels.astype(str)) == 0


def test_classes_that_only_the_held_out_part_has_are_left_out_of_it() -> None:
    states, labels = labelled(100, 4, 3, 2.0)
    names = [f"rare {row}" if row < 4 else str(label) for row, label in enumerate(labels)]
    assert 0 < held_out_correlation(states, names) < 1


@pytest.mark.parametrize(("labels", "groups"), [("aaaa", None), ("abcd", None), ("aabb", "xxxx")])
def test_nothing_to_hold_out_is_said(labels: str, groups: str | None) -> None:
    with pytest.raises(ValueError, match="labels of one class|nothing can be held out"):
        held_out_correlation(np.eye(4), list(labels), groups and list(groups))
