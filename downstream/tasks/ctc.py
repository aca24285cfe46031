"""Recognising what was said: SUPERB's recurrent head and its CTC loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from downstream.tasks.base import Head
from downstream.tasks.spec_augment import SpecAugment
from upstream.base import HiddenStates
from upstream.weighted_sum import WeightedSum


class CTCHead(Head):
    """Weighted sum, SpecAugment while training, linear projection, bidirectional LSTMs, linear output.

    SUPERB's sizes: projection 1024, two LSTMs of 1024 cells each way, dropout 0.2 after each (s3prl 0.4.18,
    downstream/asr/model.py and its recipe). No time reduction, no layer norm.

    Everything after SpecAugment sees packed sequences, so that padding neither costs nor matters. The LSTMs are
    modules of their own: dropout between the layers of one module would, on a GPU, draw from a state of cuDNN's
    that can neither be seeded per head nor saved.
    """

    def __init__(
        self,
        num_layers: int,
        dim: int,
        vocabulary_size: int,
        *,
        projection: int = 1024,
        hidden: int = 1024,
        depth: int = 2,
        dropout: float = 0.2,
        layer: int | None = None,
        augment: SpecAugment | None = None,
    ) -> None:
        """hidden: LSTM cells each way; depth: LSTMs on top of each other; layer: one layer instead of the sum.

        First weights come from PyTorch's global generator; see `downstream.tasks.base.initialised`.
        """
        super().__init__()
        self.weighted_sum = WeightedSum(num_layers, layer)
        self.augment = augment
        self.projection = nn.Linear(dim, projection)
        widths = [projection] + [2 * hidden] * (depth - 1)
        self.recurrent = nn.ModuleList(nn.LSTM(width, hidden, bidirectional=True) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, vocabulary_size)

    def forward(self, states: HiddenStates) -> tuple[Tensor, Tensor]:
        """Hidden states (L, B, T, D) -> log posteriors (B, T, V) and the valid frames of each utterance (B,).

        Beyond an utterance's valid frames there are zeros, which are no log posteriors.
        """
        features = self.weighted_sum(states.layers)
        if self.augment is not None:
            features = self.augment(features, states.lengths)
        frames = pack_padded_sequence(features, states.lengths.cpu(), batch_first=True, enforce_sorted=False)
        frames = with_data(frames, self.projection(frames.data))
        for recurrent in self.recurrent:
            frames, _ = recurrent(frames)
            frames = with_data(frames, self.dropout(frames.data))
        frames = with_data(frames, self.output(frames.data).log_softmax(dim=-1))
        log_posteriors, _ = pad_packed_sequence(frames, batch_first=True, total_length=features.shape[1])
        return log_posteriors, states.lengths


def with_data(frames: PackedSequence, data: Tensor) -> PackedSequence:
    """Other values, (N, …), for the N frames of a packed batch."""
    return PackedSequence(data, frames.batch_sizes, frames.sorted_indices, frames.unsorted_indices)


def ctc_losses(log_posteriors: Tensor, lengths: Tensor, targets: Sequence[Tensor], blank: int) -> Tensor:
    """The CTC loss of each utterance divided by the length of its target, (B,); the mean is SUPERB's loss.

    An utterance whose target does not fit into its frames has loss zero and no gradient (`zero_infinity`). An
    empty target counts as one token long. So PyTorch's mean reduction has it, and s3prl 0.4.18, downstream/asr.

    log_posteriors: (B, T, V) with valid frames (B,); targets: B targets, (N_i,) int64 without blanks, any device.
    """
    device = log_posteriors.device
    sizes = torch.tensor([len(target) for target in targets])
    losses = F.ctc_loss(
        log_posteriors.transpose(0, 1),
        torch.cat(list(targets)).to(device),
        lengths.cpu(),
        sizes,
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )
    return losses / sizes.clamp(min=1).to(losses)
