"""Recognising speech: characters by CTC (SUPERB's ASR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from downstream.settings import HeadSettings
from downstream.tasks.base import Head, Predictions, States, initialised
from downstream.tasks.ctc import CTCHead, ctc_losses
from downstream.tasks.spec_augment import SpecAugment
from downstream.transcripts import word_errors
from downstream.transcripts.decoding import greedy
from downstream.transcripts.text import Vocabulary

PROJECTION = 1024  # width of the first linear layer where the recipe says none; s3prl, downstream/asr


@dataclass(frozen=True)
class Recognition:
    """The family: a transcript an utterance, CTC over characters.

    texts: transcript of every utterance of the corpus, normalised.
    select: "wer" or "cer", the metric that is the development score.
    """

    num_layers: int
    dim: int
    settings: HeadSettings
    vocabulary: Vocabulary
    texts: tuple[str, ...]
    select: str = "wer"

    @cached_property
    def targets(self) -> tuple[Tensor, ...]:
        """The tokens of every utterance, (N_i,) int64 each."""
        return tuple(self.vocabulary.encode(text) for text in self.texts)

    def of_fold(self, train: Sequence[int]) -> Recognition:
        """The same: characters are those that some fold trains on, so that all folds have the same outputs."""
        return self

    def build(self, seed: int, layer: int | None) -> CTCHead:
        settings = self.settings
        masks = settings.spec_augment
        augment = None if masks is None else SpecAugment(**masks.model_dump())
        return initialised(
            seed,
            lambda: CTCHead(
                self.num_layers,
                self.dim,
                len(self.vocabulary),
                projection=settings.projection or PROJECTION,
                hidden=settings.hidden,
                depth=settings.depth,
                dropout=settings.dropout,
                layer=layer,
                augment=augment,
            ),
        )

    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        log_posteriors, lengths = head(states)
        targets = [self.targets[index] for index in utterances.tolist()]
        return ctc_losses(log_posteriors, lengths, targets, self.vocabulary.blank)

    def predict(self, head: Head, states: States) -> list[Tensor]:
        """Log posteriors of each utterance, (T_i, V)."""
        log_posteriors, lengths = head(states)
        return [own[:length] for own, length in zip(log_posteriors, lengths.tolist(), strict=True)]

    def score(self, predictions: Predictions, utterances: Tensor) -> float:
        """The error rate of greedy decoding, negative."""
        references = [self.texts[index] for index in utterances.tolist()]
        hypotheses = [greedy(own, self.vocabulary) for own in predictions]
        return -word_errors.total(word_errors.COUNTERS[self.select](references, hypotheses)).rate
