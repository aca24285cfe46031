"""SpecAugment is s3prl's, draw by draw, and its masks have the stated distribution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from downstream.tasks.recognition.spec_augment import SpecAugment, masked, resized

SUPERB = {
    "time_warp_window": 5,
    "freq_mask_width_range": (0, 50),
    "num_freq_mask": 4,
    "time_mask_width_range": (0, 40),
    "num_time_mask": 2,
}


def batch(lengths: list[int], dim: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    features = torch.zeros(len(lengths), max(lengths), dim)
    for utterance, length in zip(features, lengths, strict=True):
        utterance[:length] = torch.randn(length, dim, generator=generator)
    return features, torch.tensor(lengths)


def drawn_from(seed: int, module: SpecAugment, features: Tensor, lengths: Tensor) -> Tensor:
    """The module's output with the global generator at `seed`, which is then put back."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        out: Tensor = module(features, lengths)
    return out


@pytest.mark.parametrize("lengths", [[90, 41, 11, 10, 3], [30, 30], [1], [7, 400]])
@pytest.mark.parametrize("dim", [240, 24])
def test_the_same_draws_give_s3prls_features_and_gradients(lengths: list[int], dim: int) -> None:
    s3prl = pytest.importorskip("s3prl.downstream.specaug")
    theirs, ours = s3prl.SpecAug(**SUPERB), SpecAugment()
    features, valid = batch(lengths, dim)
    slope = torch.randn(features.shape, generator=torch.Generator().manual_seed(8))
    for seed in range(8):
        one, other = features.clone().requires_grad_(), features.clone().requires_grad_()
        result = drawn_from(seed, ours, one, valid)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            utterances, _ = theirs([utterance[:length] for utterance, length in zip(other, lengths, strict=True)])
        expected = torch.nn.utils.rnn.pad_sequence(utterances, batch_first=True)
        assert torch.equal(result, expected)
        (result * slope).sum().backward()
        (expected * slope).sum().backward()
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_evaluation_leaves_features_alone_and_draws_nothing() -> None:
    module = SpecAugment().eval()
    features, lengths = batch([40, 20])
    before = torch.get_rng_state()
    assert module(features, lengths) is features
    assert torch.equal(torch.get_rng_state(), before)


def test_padding_comes_back_as_zeros_and_does_not_matter() -> None:
    """However far a batch is padded, and with whatever."""
    features, lengths = batch([60, 25])
    longer = torch.full((2, 75, features.shape[2]), 1e6)
    for index, length in enumerate(lengths):
        longer[index, :length] = features[index, :length]
    short, long = (drawn_from(3, SpecAugment(), padded, lengths) for padded in (features, longer))
    assert torch.equal(long[:, :60], short)
    assert not long[:, 60:].any()
    assert not long[1, 25:].any()


def test_widths_and_starts_of_masks_are_uniform() -> None:
    """One mask an utterance in a batch of one: the start is uniform over what that width leaves."""
    size, width = 100, 11
    widths, starts = torch.zeros(width), torch.zeros(9)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for _ in range(6000):
            positions = masked(1, size, 1, width)[0].nonzero().flatten()
            widths[len(positions)] += 1
            if len(positions) == 10:
                starts[positions[0] // 10] += 1  # of 0 … 89, ten to a bin; a start beyond has no bin
    # Counts are binomial, with n = 6000 and p = 1/11: 545 ± 22, then with n = 545 and p = 1/9: 61 ± 7.3.
    assert (widths - 6000 / 11).abs().max() < 5 * 22.3
    assert (starts - float(widths[10]) / 9).abs().max() < 5 * 7.3


def test_starts_leave_room_for_the_widest_mask_of_the_batch() -> None:
    """No mask of a batch begins at or after size - widest, narrow ones included: s3prl's rule."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        for _ in range(50):
            inside = masked(200, 60, 1, 40)
            widest = int(inside.sum(dim=1).max())
            first = inside.int().argmax(dim=1)[inside.any(dim=1)]
            assert widest > 30, "of 200 widths up to 39"
            assert int(first.max()) < 60 - widest


def test_masks_wider_than_the_features_begin_at_the_first() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(2)
        inside = masked(50, 8, 1, 40)
    assert inside[inside.any(dim=1)][:, 0].all()


def test_what_is_not_masked_is_only_warped() -> None:
    """Without a warp every value is either its own or zero, whole rows and whole columns."""
    features, lengths = batch([80, 80])
    out = drawn_from(4, SpecAugment(time_warp_window=0), features, lengths)
    changed = out != features
    assert changed.any()
    assert not out[changed].any()
    for utterance in changed:
        dims, frames = utterance.all(dim=0), utterance.all(dim=1)
        assert torch.equal(utterance, frames[:, None] | dims[None, :])


def test_a_warp_alone_stretches_one_side_and_squeezes_the_other() -> None:
    """A ramp stays a ramp of two slopes that meet at the moved point, at most a window away."""
    module = SpecAugment(frequency_masks=0, time_masks=0)
    ramp = torch.arange(50.0)[None, :, None].expand(1, 50, 4).contiguous()
    for seed in range(20):
        out = drawn_from(seed, module, ramp, torch.tensor([50]))[0, :, 0]
        assert out[0] == pytest.approx(0, abs=1.0)
        assert out[-1] == pytest.approx(49, abs=1.0)
        assert (out - ramp[0, :, 0]).abs().max() <= 6


def test_resizing_to_the_same_length_changes_nothing() -> None:
    frames = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resized(frames, 9), frames)
