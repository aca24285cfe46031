"""Linear CKA is the published unbiased estimate, whatever the minibatches, and knows no rotation or scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from downstream.similarity import hsic, linear_cka


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hsic_1(one: Tensor, other: Tensor) -> float:
    """Return HSIC_1 as Nguyen, Raghu & Kornblith print it (2021, equation 3), of states (n, D) and (n, D')."""
    n = len(one)
    ones = torch.ones(n, dtype=torch.float64)
    first, second = (states @ states.T * (1 - torch.eye(n, dtype=torch.float64)) for states in (one, other))
    third = ones @ first @ ones * (ones @ second @ ones) / ((n - 1) * (n - 2))
    total = torch.trace(first @ second) + third - 2 / (n - 2) * (ones @ first @ second @ ones)
    return float(total / (n * (n - 3)))


def biased_cka(one: Tensor, other: Tensor) -> float:
    """Return linear CKA as Kornblith et al. print it (2019), of states (n, D) and (n, D')."""
    one, other = one - one.mean(dim=0), other - other.mean(dim=0)
    return float((one.T @ other).norm() ** 2 / ((one.T @ one).norm() * (other.T @ other).norm()))


def test_hsic_is_the_printed_formula() -> None:
    one, other = drawn(2, 9, 5) + 3.0, drawn(3, 9, 4, seed=1)
    other[1, :, :2] += one[0, :, :2]
    expected = [[hsic_1(mine, theirs) for theirs in other] for mine in one]
    np.testing.assert_allclose(hsic(one, other), expected, rtol=1e-10)


def test_hsic_is_that_of_another_library() -> None:
    library = pytest.importorskip("cka.hsic")  # PyPI's pytorch-cka
    one, other = drawn(2, 30, 8) - 1.0, drawn(3, 30, 5, seed=1)
    cross, alone, _ = library.hsic(one @ one.mT, other @ other.mT)
    np.testing.assert_allclose(hsic(one, other), cross, rtol=1e-9)
    np.testing.assert_allclose(np.diag(hsic(one, one)), alone, rtol=1e-9)


def test_numerator_and_denominator_are_averaged_over_minibatches_before_their_ratio() -> None:
    one, other = drawn(1, 60, 6), drawn(1, 60, 6, seed=1) + drawn(1, 60, 6)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(5)).tensor_split(3)
    sums = [
        sum(hsic_1(left[0, rows], right[0, rows]) for rows in order)
        for left, right in ((one, other), (one, one), (other, other))
    ]
    expected = sums[0] / np.sqrt(sums[1] * sums[2])
    assert linear_cka(one, other, batch=20, seed=5).item() == pytest.approx(expected, rel=1e-9)
    assert linear_cka(one, other, batch=20, seed=6).item() != pytest.approx(expected, rel=1e-6)


def test_a_layer_is_itself_whatever_its_rotation_scale_and_place() -> None:
    states = drawn(2, 100, 6) * torch.tensor([9.0, 3, 1, 1, 1, 1])
    rotation, _ = torch.linalg.qr(drawn(6, 6, seed=1))
    moved = 40.0 * states @ rotation + 7.0
    plain = linear_cka(states, states, batch=30)
    assert np.diag(plain) == pytest.approx([1, 1], abs=1e-12)
    np.testing.assert_allclose(linear_cka(states, moved, batch=30), plain, atol=1e-9)
    stretched = states * torch.tensor([0.1, 1, 1, 1, 1, 9])
    assert np.diag(linear_cka(states, stretched, batch=30)).max() < 0.9  # no other linear map is invisible


def test_independent_layers_have_none_where_the_biased_estimate_is_far_from_it() -> None:
    one, other = drawn(4, 200, 500), drawn(4, 200, 500, seed=1)
    assert biased_cka(one[0], other[0]) > 0.6
    assert np.abs(linear_cka(one, other, batch=50)).max() < 0.03


def test_small_minibatches_find_what_all_examples_do() -> None:
    shared = drawn(1, 2000, 4)
    one = torch.cat([shared, drawn(1, 2000, 12)], dim=2)
    other = torch.cat([shared, drawn(1, 2000, 12, seed=1)], dim=2)
    whole = linear_cka(one, other, batch=2000).item()
    assert whole == pytest.approx(0.25, abs=0.01)  # 4 of 16 equal variances are shared
    assert linear_cka(one, other, batch=25).item() == pytest.approx(whole, abs=0.02)
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(3))
    assert linear_cka(one[:, order], other[:, order], batch=2000).item() == pytest.approx(whole, abs=1e-9)


def test_a_seed_draws_the_same_minibatches() -> None:
    one, other = drawn(2, 50, 5), drawn(1, 50, 7, seed=1)
    assert linear_cka(one, other, batch=10, seed=4).tolist() == linear_cka(one, other, batch=10, seed=4).tolist()
    np.testing.assert_allclose(linear_cka(other, one, batch=10, seed=4), linear_cka(one, other, batch=10, seed=4).T)


def test_a_layer_that_never_changes_has_no_alignment() -> None:
    states = drawn(2, 20, 5)
    states[1] = 0.3 + 1e-9 * states[1]  # rounding of what was stored
    found = linear_cka(states, states)
    assert found[0, 0] == pytest.approx(1.0)
    assert np.isnan([found[0, 1], found[1, 0], found[1, 1]]).all()


def test_few_examples_and_small_batches_still_make_minibatches_of_four() -> None:
    states = drawn(1, 7, 3)
    assert linear_cka(states, states, batch=4).item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="4 examples at least"):
        linear_cka(states[:, :3], states[:, :3])
