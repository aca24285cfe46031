"""SpecAugment on a recogniser's input, by SUPERB's rule."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpecAugment(nn.Module):
    """Time warp, feature masks, time masks, in this order, in training only (Park et al. 2019).

    SUPERB's numbers and ranges: s3prl 0.4.18, downstream/specaug.py and the recipe of downstream/asr, not adaptive.
    All draws come from PyTorch's global CPU generator, in s3prl's order, whatever the device of the features.
    """

    def __init__(
        self,
        time_warp_window: int = 5,
        frequency_masks: int = 4,
        frequency_width: int = 50,
        time_masks: int = 2,
        time_width: int = 40,
    ) -> None:
        """time_warp_window: frames that a point may be moved by; 0 warps nothing.

        frequency_masks, time_masks: masks per utterance; frequency_width, time_width: the width of a mask is uniform in
        0 … width - 1 (feature dimensions, frames).
        """
        super().__init__()
        self.time_warp_window = time_warp_window
        self.frequency_masks, self.frequency_width = frequency_masks, frequency_width
        self.time_masks, self.time_width = time_masks, time_width

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) with valid frames (B,) -> (B, T, D); frames beyond an utterance's length come back as zeros.

        In evaluation mode returns the features as they are.
        """
        if not self.training:
            return features
        valid = [int(length) for length in lengths]
        warped = torch.stack([self.warp(utterance, own) for utterance, own in zip(features, valid, strict=True)])
        dims = masked(len(valid), features.shape[2], self.frequency_masks, self.frequency_width)
        frames = masked(len(valid), max(valid), self.time_masks, self.time_width)
        frames = F.pad(frames, (0, features.shape[1] - max(valid)))
        mask = (frames[:, :, None] | dims[:, None, :]).to(features.device)
        return warped.masked_fill(mask, 0.0)

    def warp(self, utterance: Tensor, length: int) -> Tensor:
        """Warp time by moving one point among the valid frames, (T, D) -> (T, D), zeros beyond `length`.

        Utterances of twice the window or less are unchanged, as in s3prl.
        """
        own, window = utterance[:length], self.time_warp_window
        if window and length > 2 * window:
            centre = int(torch.randint(window, length - window, ()))
            moved = int(torch.randint(centre - window, centre + window, ())) + 1
            own = torch.cat([resized(own[:centre], moved), resized(own[centre:], length - moved)])
        return F.pad(own, (0, 0, 0, len(utterance) - length))


def resized(frames: Tensor, length: int) -> Tensor:
    """Return frames stretched or compressed in time by cubic interpolation, (T, D) -> (length, D)."""
    size = (length, frames.shape[1])
    image = F.interpolate(frames[None, None], size, mode="bicubic", align_corners=False)
    return image[0, 0]


def masked(utterances: int, size: int, masks: int, width: int) -> Tensor:
    """Return a mask over `size` positions of each utterance, (B, size) bool, on the CPU.

    Widths are uniform in 0 … width - 1. Starts are uniform in 0 … size - widest - 1, `widest` being the widest
    mask of the whole batch (s3prl's rule), or 0 where nothing is left.
    """
    if masks == 0:
        return torch.zeros(utterances, size, dtype=torch.bool)
    widths = torch.randint(0, width, (utterances, masks))
    starts = torch.randint(0, max(1, size - int(widths.max())), (utterances, masks))
    positions = torch.arange(size)
    inside = (starts[:, :, None] <= positions) & (positions < (starts + widths)[:, :, None])
    return inside.any(dim=1)
