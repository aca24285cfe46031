"""Speaker verification: SUPERB's x-vector head and the AM-softmax that it is trained with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.tasks.head import Head, initialised
from downstream.tasks.verification.recipe import VerifierSettings
from downstream.tasks.weighted_sum import WeightedSum
from upstream.base import HiddenStates

# SUPERB's frame-level layers (s3prl 0.4.18, downstream/sv_voxceleb1; after Snyder et al., "X-vectors", ICASSP 2018):
# (frames, dilation) of each, and the width of its output.
SUPERB_CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))
SUPERB_WIDTHS = (512, 512, 512, 512, 1500)

PROJECTION = 512  # width of the connector; s3prl, downstream/sv_voxceleb1
POOLED_AT_LEAST = 2  # frames; the unbiased deviation of one is undefined


def x_vector(
    settings: VerifierSettings, num_layers: int, dim: int, num_speakers: int, seed: int, layer: int | None
) -> XVector:
    """Return the head that a recipe asks for, with initial weights drawn from `seed`."""
    return initialised(
        seed,
        lambda: XVector(
            num_layers,
            dim,
            num_speakers,
            projection=settings.projection or PROJECTION,
            scale=settings.scale,
            margin=settings.margin,
            layer=layer,
        ),
    )


class XVector(Head):
    """Weighted sum of layers, connector, time-delay layers, statistics pooling, two segment layers.

    Every default is SUPERB's (s3prl 0.4.18, downstream/sv_voxceleb1): no normalisation, no dropout, contexts within
    the utterance only, so that SUPERB's layers pool 14 frames fewer than the utterance has. The embedding is the
    output of the first segment layer after its ReLU; the second is used in training only.

    Two things differ from s3prl. It pools one frame too many for an utterance shorter than its batch; here each
    pools its valid frames alone. And an utterance too short for two pooled frames (fewer than 16 with SUPERB's
    contexts), for which s3prl gives NaN or fails, is lengthened by repeating its last frame until there are two.
    """

    def __init__(
        self,
        num_layers: int,
        dim: int,
        num_speakers: int,
        *,
        projection: int = 512,
        widths: Sequence[int] = SUPERB_WIDTHS,
        contexts: Sequence[tuple[int, int]] = SUPERB_CONTEXTS,
        embedding: int = 512,
        scale: float = 30.0,
        margin: float = 0.4,
        layer: int | None = None,
    ) -> None:
        """num_layers, dim: L and D of the upstream.

        projection: width of the connector; widths, contexts: of the time-delay layers, (frames, dilation) each;
        embedding: width of both segment layers; scale, margin: of the AM-softmax; layer: one layer instead of the sum.
        The initial weights are drawn from PyTorch's global generator: build it by `initialised`.
        """
        super().__init__()
        self.weighted_sum = WeightedSum(num_layers, layer)
        self.connector = nn.Linear(dim, projection)
        inputs = (projection, *widths[:-1])
        self.tdnn = nn.Sequential(
            *(
                TimeDelayLayer(before, width, frames, dilation)
                for before, width, (frames, dilation) in zip(inputs, widths, contexts, strict=True)
            )
        )
        self.pooling = StatisticsPooling()
        self.segment1 = nn.Linear(2 * widths[-1], embedding)
        self.segment2 = nn.Linear(embedding, embedding)
        self.objective = AMSoftmax(embedding, num_speakers, scale, margin)
        self.lost = sum((frames - 1) * dilation for frames, dilation in contexts)  # frames that the contexts remove

    def embed(self, states: HiddenStates) -> Tensor:
        """Hidden states (L, B, T, D) -> embeddings (B, embedding), zero or more each, not normalised."""
        mixed = self.weighted_sum(states.layers)
        frames, lengths = lengthened(mixed, states.lengths, self.lost + POOLED_AT_LEAST)
        pooled = self.pooling(self.tdnn(self.connector(frames)), lengths - self.lost)
        return F.relu(self.segment1(pooled))

    forward = embed

    def losses(self, states: HiddenStates, speakers: Tensor) -> Tensor:
        """Return the loss of each utterance, (B,); speakers: (B,) int64, the class of its speaker."""
        hidden = F.relu(self.segment2(self.embed(states)))
        losses: Tensor = self.objective(hidden, speakers)
        return losses


class TimeDelayLayer(nn.Module):
    """A linear map of several frames around each frame, and a ReLU (Peddinti et al., Interspeech 2015).

    A matrix product over the concatenated frames rather than a convolution, which PyTorch computes on GPUs in
    the reduced precision of TF32 by default.
    """

    def __init__(self, dim_in: int, dim_out: int, frames: int, dilation: int) -> None:
        """frames: input frames of an output frame; dilation: the distance of two neighbours among them."""
        super().__init__()
        self.frames, self.dilation = frames, dilation
        self.linear = nn.Linear(frames * dim_in, dim_out)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, T, D) -> (B, T - (frames - 1) dilation, dim_out)."""
        left = inputs.shape[1] - (self.frames - 1) * self.dilation
        starts = range(0, self.frames * self.dilation, self.dilation)
        windows = torch.cat([inputs[:, start : start + left] for start in starts], dim=2)
        return F.relu(self.linear(windows))


class StatisticsPooling(nn.Module):
    """Mean and unbiased standard deviation over an utterance's valid frames, concatenated.

    The gradient of a deviation of zero (a ReLU that is dead for the whole utterance) is zero.
    """

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, D) with valid frames (B,), two or more each -> (B, 2 D)."""
        own = [utterance[:length] for utterance, length in zip(frames, lengths.tolist(), strict=True)]
        return torch.stack([torch.cat([each.mean(dim=0), each.std(dim=0)]) for each in own])


class AMSoftmax(nn.Module):
    """Additive-margin softmax (Wang et al., IEEE Signal Processing Letters 25(7), 2018).

    The logit of a class is scale × the cosine of embedding and class weight, and scale × margin less for the right one.
    """

    def __init__(self, dim: int, num_classes: int, scale: float, margin: float) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.xavier_normal_(self.weight)

    def logits(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Embeddings (B, E) of classes (B,) -> (B, C)."""
        cosines = F.linear(F.normalize(embeddings, dim=1), F.normalize(self.weight, dim=1))
        right = F.one_hot(targets, len(self.weight))
        return self.scale * (cosines - self.margin * right)

    def forward(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Embeddings (B, E) of classes (B,) int64 -> the cross entropy of each, (B,)."""
        targets = targets.to(embeddings.device)
        return F.cross_entropy(self.logits(embeddings, targets), targets, reduction="none")


def lengthened(frames: Tensor, lengths: Tensor, shortest: int) -> tuple[Tensor, Tensor]:
    """Repeat the last frame of each utterance over its padding; count it as speech up to `shortest` frames.

    frames: (B, T, D); lengths: (B,), one or more. Returns (B, max(T, shortest), D) and lengths of `shortest` or more.
    """
    last = frames[torch.arange(len(frames)), lengths.cpu() - 1]  # (B, D)
    padded = F.pad(frames, (0, 0, 0, max(0, shortest - frames.shape[1])))
    beyond = torch.arange(padded.shape[1], device=frames.device) >= lengths.to(frames.device)[:, None]
    return torch.where(beyond[:, :, None], last[:, None], padded), lengths.clamp(min=shortest)
