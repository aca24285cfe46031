"""Batches of waveforms as callers give them, and frames of packed batches as they get them back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from upstream.errors import UserError

Waveforms = Tensor | Sequence[Tensor]


def utterances(input_values: Waveforms, attention_mask: Tensor | None, shortest: int) -> list[Tensor]:
    """Return the waveforms of a batch, each of its own length.

    input_values: 1-D tensors, or (B, S) padded on the right. attention_mask: (B, S), 1 for samples and 0 for padding;
    None where all rows are full. shortest: samples of one frame.

    Raises UserError for anything else, and for a waveform under one frame.
    """
    rows = [torch.as_tensor(row) for row in input_values]  # NumPy's, too
    if isinstance(input_values, Tensor) and input_values.ndim != 2:
        raise UserError(
            f"The waveforms are one tensor of shape {tuple(input_values.shape)}; expected (batch, samples), or a list "
            "of 1-D waveforms. Of one waveform make a batch: [waveform]."
        )
    if attention_mask is not None:
        rows = _without_padding(rows, [torch.as_tensor(row).bool() for row in attention_mask])
    for index, row in enumerate(rows):
        if row.ndim != 1 or not row.is_floating_point():
            raise UserError(
                f"Waveform {index} of the batch has shape {tuple(row.shape)} and type {row.dtype}; expected one "
                "dimension of floats: 16 kHz, in [-1, 1], standardised where the model needs it (`prepare`)."
            )
        if len(row) < shortest:
            raise UserError(
                f"Waveform {index} of the batch has {len(row)} samples; a frame takes {shortest}. Pad it with zeros, "
                "or leave it out."
            )
    if not rows:
        raise UserError("The batch is empty; give at least one waveform.")
    return rows


def _without_padding(rows: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    if len(rows) != len(masks) or len({tensor.shape for tensor in (*rows, *masks)}) > 1:
        raise UserError(
            "The attention_mask is not of the shape of its waveforms, (batch, samples); waveforms in a list, each of "
            "its own length, need none."
        )
    mask = torch.stack(list(masks))
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise UserError("The attention_mask has padding before samples; pad waveforms on the right.")
    return [row[:samples] for row, samples in zip(rows, mask.sum(dim=1).tolist(), strict=True)]


def padded(frames: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the frames of packed utterances, (N, D), padded with zeros to (B, T, D). lengths: frames of each."""
    return pad_sequence(list(torch.split(frames, list(lengths))), batch_first=True)


def require_numbers(labels: Tensor) -> None:
    """Raise UserError for labels that are no whole numbers."""
    if labels.is_floating_point() or labels.is_complex():
        raise UserError(f"The labels are of type {labels.dtype}; expected whole numbers: labels.long().")
