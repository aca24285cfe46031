"""Verifying speakers: embeddings that lie close for one speaker and far apart for two (SUPERB's ASV)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from downstream.settings import HeadSettings
from downstream.speakers.metrics import equal_error_rate, min_dcf
from downstream.speakers.trials import Trials, cosine_scores
from downstream.tasks.base import Head, Predictions, States, initialised
from downstream.tasks.classification import as_rows
from downstream.tasks.xvector import XVector
from upstream.base import HiddenStates

PROJECTION = 512  # width of the first linear layer where the recipe says none; s3prl, downstream/sv_voxceleb1


@dataclass(frozen=True)
class Verification:
    """The family: an x-vector an utterance, learned by telling the training speakers apart with AM-softmax.

    targets: (U,) int64, the number of every utterance's speaker among those that are trained on; -1 for others.
    trials: the trials among some utterances, by the indices of these.
    select: the metric that is the development score.
    """

    num_layers: int
    dim: int
    settings: HeadSettings
    num_speakers: int
    targets: Tensor
    trials: Mapping[tuple[int, ...], Trials]
    select: str = "eer"

    def of_fold(self, train: Sequence[int]) -> Verification:
        """The same with no other speakers to tell apart than those of `train`, who are numbered anew."""
        own = sorted(set(self.targets[torch.tensor(train)].tolist()))
        numbers = torch.full((self.num_speakers + 1,), -1)  # the last one is that of speakers nobody trains on, -1
        numbers[torch.tensor(own)] = torch.arange(len(own))
        return replace(self, num_speakers=len(own), targets=numbers[self.targets])

    def build(self, seed: int, layer: int | None) -> XVector:
        settings = self.settings
        return initialised(
            seed,
            lambda: XVector(
                self.num_layers,
                self.dim,
                self.num_speakers,
                projection=settings.projection or PROJECTION,
                scale=settings.scale,
                margin=settings.margin,
                layer=layer,
            ),
        )

    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        assert isinstance(head, XVector)
        assert isinstance(states, HiddenStates)
        return head.losses(states, self.targets[utterances].to(states.layers.device))

    def predict(self, head: Head, states: States) -> Tensor:
        """Embeddings, (B, E)."""
        embeddings: Tensor = head(states)
        return embeddings

    def score(self, predictions: Predictions, utterances: Tensor) -> float:
        """The error rate or cost of cosine scores, negative; the trials are those among `utterances`.

        A head that has diverged, whose embeddings are not finite, has the worst score there is.
        """
        if not bool(torch.isfinite(as_rows(predictions)).all()):
            return -math.inf
        trials = self.trials[tuple(utterances.tolist())]
        scores = cosine_scores(as_rows(predictions), rows_of(utterances.tolist()), trials)
        return -trial_metrics(scores, trials)[self.select]


def trial_metrics(scores: Tensor, trials: Trials) -> dict[str, float]:
    """The equal error rate and both minimal costs of trial scores (N,)."""
    own, target = scores.double().numpy(), trials.target.numpy()
    return {
        "eer": equal_error_rate(own, target)[0],
        "min_dcf_0.01": min_dcf(own, target, 0.01)[0],
        "min_dcf_0.05": min_dcf(own, target, 0.05)[0],
    }


def rows_of(utterances: list[int]) -> dict[int, int]:
    """In which row of a batch of predictions each utterance stands."""
    return {utterance: row for row, utterance in enumerate(utterances)}
