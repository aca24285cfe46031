"""A family from outside: voice activity, speech or not in every frame, learned from timed segments.

python run_downstream.py -u fbank -d examples/voice_activity.yaml
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream import tasks
from downstream.data import segments_digest
from upstream import HiddenStates, Upstream, UserError

Counts = tasks.IntArray  # frames: speech found, speech missed, false alarms, silence found


def error_rate(counts: Counts) -> float:
    """Return the share of frames that were wrong."""
    return float((counts[1] + counts[2]) / counts.sum())


def f1(counts: Counts) -> float:
    """Return the F1 of speech."""
    return float(2 * counts[0] / (2 * counts[0] + counts[1] + counts[2]))


METRICS = {
    "frame_error": tasks.Metric("frame error", higher_is_better=False, of_counts=error_rate),
    "speech_f1": tasks.Metric("speech F1", higher_is_better=True, of_counts=f1),
}


class VoiceActivityRecipe(tasks.LearnedRecipe):
    """Corpus, split, optimiser and training are those of every recipe; this family adds no section."""

    metric_names: ClassVar[tuple[str, ...]] = tuple(METRICS)


@dataclass(frozen=True)
class SegmentTargets(tasks.Targets):
    """digest: of the segments of all utterances, which a run is identified by."""

    digest: str

    def question(self) -> list[str]:
        return [self.digest]


class VoiceActivity(tasks.Family):
    """Speech or not, frame by frame."""

    recipe_type = VoiceActivityRecipe
    metrics = METRICS
    chance_means = "always answering speech"

    def __init__(self, recipe: VoiceActivityRecipe) -> None:
        if recipe.corpus.effects.remove_silence:
            raise UserError("remove_silence moves audio away from its segments; leave it out.")

    def choose(self, corpus: tasks.Corpus) -> tasks.Choice:
        used = tuple(sorted((u for u in corpus.utterances if u.segments), key=lambda u: u.id))
        if not used:
            raise UserError(f"{corpus.title} has no timed segments; write a segments.csv beside its manifest.csv.")
        return tasks.Choice("segments", used, notes=tasks.left_out(corpus, used, "have no timed segments"))

    def finish(self, dataset: tasks.Dataset) -> tasks.Dataset:
        return replace(dataset, targets=SegmentTargets(segments_digest(dataset.utterances)))

    def task(self, dataset: tasks.Dataset, upstream: Upstream) -> VoiceActivityTask:
        return VoiceActivityTask(dataset, upstream)


class FrameClassifier(tasks.Head):
    """Weighted sum of layers, then one linear score of each frame."""

    def __init__(self, upstream: Upstream, layer: int | None) -> None:
        super().__init__()
        self.weighted_sum = tasks.WeightedSum(upstream.num_layers, layer)
        self.output = nn.Linear(upstream.dim, 1)

    def forward(self, states: HiddenStates) -> Tensor:
        """Hidden states (L, B, T, D) -> scores (B, T), positive for speech."""
        scores: Tensor = self.output(self.weighted_sum(states.layers)).squeeze(2)
        return scores


class VoiceActivityTask(tasks.Task):
    metrics = METRICS

    def __init__(self, dataset: tasks.Dataset, upstream: Upstream) -> None:
        self.dataset, self._upstream = dataset, upstream

    def truth(self, index: int, frames: int) -> Tensor:
        """Return which frames of an utterance have their centre in a segment, (T,) bool."""
        centres = self._upstream.frame_times(frames)
        inside = torch.zeros(frames, dtype=torch.bool)
        for segment in self.dataset.utterances[index].segments:
            inside |= (segment.start <= centres) & (centres < segment.end)
        return inside

    def build(self, seed: int, layer: int | None) -> FrameClassifier:
        return tasks.initialised(seed, lambda: FrameClassifier(self._upstream, layer))

    def losses(self, head: tasks.Head, states: tasks.States, utterances: Tensor) -> Tensor:
        pairs = zip(self.predict(head, states), utterances.tolist(), strict=True)
        truths = ((scores, self.truth(index, len(scores)).to(scores)) for scores, index in pairs)
        return torch.stack([F.binary_cross_entropy_with_logits(scores, truth) for scores, truth in truths])

    def predict(self, head: tasks.Head, states: tasks.States) -> list[Tensor]:
        """Scores of each utterance's own frames, (T_i,)."""
        assert isinstance(states, HiddenStates)
        return [own[:length] for own, length in zip(head(states), states.lengths.tolist(), strict=True)]

    def evaluate(self, predictions: tasks.Predictions, part: tasks.Part) -> FrameEvaluation:
        answers = [scores > 0 for scores in predictions]
        truth = [self.truth(i, len(own)) for i, own in zip(part.utterances, answers, strict=True)]
        return FrameEvaluation(self.dataset, part.utterances, answers, truth)

    def chance(self, part: tasks.Part) -> Mapping[str, float]:
        frames = [self._upstream.frames(self.dataset.items[index].seconds) for index in part.utterances]
        truth = [self.truth(index, own) for index, own in zip(part.utterances, frames, strict=True)]
        always = FrameEvaluation(self.dataset, part.utterances, [torch.ones_like(one) for one in truth], truth)
        return {name: always.value(name) for name in METRICS}


class FrameEvaluation(tasks.CountedEvaluation):
    def __init__(
        self, dataset: tasks.Dataset, utterances: Sequence[int], answers: Sequence[Tensor], truth: Sequence[Tensor]
    ) -> None:
        super().__init__(METRICS, dataset, utterances)
        self._pairs = list(zip(answers, truth, strict=True))

    def counts(self) -> Counts:
        """Frames of each utterance, (N, 4)."""
        return np.array([[int(own.sum()) for own in (t & a, t & ~a, ~t & a, ~t & ~a)] for a, t in self._pairs])
