"""Speech recognition: SUPERB's recurrent head and its CTC loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.tasks.head import Head, initialised
from downstream.tasks.recognition.recipe import RecogniserSettings
from downstream.tasks.recognition.spec_augment import SpecAugment
from downstream.tasks.weighted_sum import WeightedSum
from upstream.base import HiddenStates

PROJECTION = 1024  # width of the first linear layer; s3prl, downstream/asr


def ctc_head(
    settings: RecogniserSettings, num_layers: int, dim: int, vocabulary_size: int, seed: int, layer: int | None
) -> CTCHead:
    """Return the head that a recipe asks for, with initial weights drawn from `seed`."""
    masks = settings.spec_augment
    return initialised(
        seed,
        lambda: CTCHead(
            num_layers,
            dim,
            vocabulary_size,
            projection=settings.projection or PROJECTION,
            hidden=settings.hidden,
            depth=settings.depth,
            dropout=settings.dropout,
            layer=layer,
            augment=None if masks is None else SpecAugment(**masks.model_dump()),
        ),
    )


class CTCHead(Head):
    """Weighted sum, SpecAugment while training, linear projection, bidirectional LSTMs, linear output.

    SUPERB's sizes: projection 1024, two LSTMs of 1024 cells per direction, dropout 0.2 after each (s3prl 0.4.18,
    downstream/asr/model.py and its recipe). No time reduction, no layer norm.

    The LSTMs are separate modules: dropout between the layers of one module would, on a GPU, draw from a state of
    cuDNN that can neither be seeded per head nor saved.
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
        """hidden: LSTM cells per direction; depth: stacked LSTMs; layer: one layer instead of the sum.

        Initial weights come from PyTorch's global generator; see `downstream.tasks.base.initialised`.
        """
        super().__init__()
        self.weighted_sum = WeightedSum(num_layers, layer)
        self.augment = augment
        self.projection = nn.Linear(dim, projection)
        widths = [projection] + [2 * hidden] * (depth - 1)
        self.recurrent = nn.ModuleList(BidirectionalLSTM(width, hidden) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, vocabulary_size)

    def forward(self, states: HiddenStates) -> tuple[Tensor, Tensor]:
        """Hidden states (L, B, T, D) -> log posteriors (B, T, V) and the valid frames of each utterance (B,).

        Padding frames are zeros, which are not log posteriors.
        """
        features = self.weighted_sum(states.layers)
        valid = torch.arange(features.shape[1], device=features.device) < states.lengths.to(features.device)[:, None]
        if self.augment is not None:
            features = self.augment(features, states.lengths)
        frames = self.projection(features.masked_fill(~valid[:, :, None], 0.0))
        backwards = reversal(valid)
        for recurrent in self.recurrent:
            frames = self.dropout(recurrent(frames, backwards))
        log_posteriors = self.output(frames).log_softmax(dim=-1).masked_fill(~valid[:, :, None], 0.0)
        return log_posteriors, states.lengths


class BidirectionalLSTM(nn.Module):
    """One LSTM per direction over padded batches; padding does not affect the result.

    The forward LSTM reads the padding last; for the backward one every utterance is reversed within its length. So no
    sequences have to be packed, for which PyTorch has no fast kernel on CPUs: on two cores this takes a third of the
    time.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, hidden, batch_first=True)
        self.backwards = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, frames: Tensor, reversal: Tensor) -> Tensor:
        """Frames (B, T, D) and the order of each utterance backwards (B, T) -> (B, T, 2 · hidden)."""
        onwards, _ = self.forwards(frames)
        back, _ = self.backwards(in_order(frames, reversal))
        return torch.cat([onwards, in_order(back, reversal)], dim=2)


def reversal(valid: Tensor) -> Tensor:
    """Return the order that reverses each utterance and keeps its padding last, (B, T) int64; its own inverse.

    valid: (B, T), true for the first frames of each utterance.
    """
    positions = torch.arange(valid.shape[1], device=valid.device)
    return torch.where(valid, valid.sum(dim=1, keepdim=True) - 1 - positions, positions)


def in_order(frames: Tensor, order: Tensor) -> Tensor:
    """Return frames (B, T, D) in the order given for each utterance, (B, T)."""
    return frames.gather(1, order[:, :, None].expand_as(frames))


def ctc_losses(log_posteriors: Tensor, lengths: Tensor, targets: Sequence[Tensor], blank: int) -> Tensor:
    """Return the CTC loss of each utterance divided by the length of its target, (B,); the mean is SUPERB's loss.

    An utterance whose target does not fit into its frames has loss zero and no gradient (`zero_infinity`). An
    empty target counts as one token long. So do PyTorch's mean reduction and s3prl 0.4.18, downstream/asr.

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
