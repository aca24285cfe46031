"""Testing recognisers: word and character errors, transcripts, a report for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from downstream import metrics
from downstream.corpora.splits import Fold
from downstream.material import Material
from downstream.scoring.base import Evaluation, Interval
from downstream.scoring.intervals import by_speaker, cluster, over_speakers
from downstream.settings import DecodingSettings
from downstream.tasks.base import Predictions
from downstream.tasks.recognition import Recognition
from downstream.transcripts import word_errors
from downstream.transcripts.decoding import BeamSearch, greedy
from downstream.transcripts.word_errors import ErrorCounts


class RecognitionScorer:
    """Tests of `CTCHead`s: the test is decoded as the recipe says.

    Where the test set has several parts, the first one that the recipe names gives the score, and each of the others
    has metrics of its own.
    """

    chance_means = "the best of always answering nothing, the commonest transcript and the commonest word of training"

    def __init__(
        self, task: Recognition, material: Material, decoding: DecodingSettings, parts: Sequence[str], primary: str
    ) -> None:
        """parts: the test parts that the recipe names, the first one first; empty where it names none."""
        self._task, self._material, self._decoding, self._parts = task, material, decoding, tuple(parts)
        self._primary = primary
        self._decoders: dict[str, Callable[[Tensor], str]] = {}  # by fold: language models take long to read
        self._decoder(material.split.folds[0])  # what it lacks is said before anything is learned

    def outputs(self, fold: Fold) -> Sequence[str]:
        return self._task.vocabulary.tokens

    def tested(self, fold: Fold) -> Sequence[int]:
        return fold.test

    def evaluate(self, predictions: Predictions, fold: Fold) -> Evaluation:
        decode = self._decoder(fold)
        hypotheses = dict(zip(fold.test, map(decode, predictions), strict=True))
        parts = [(part, indices, self._errors(hypotheses, indices)) for part, indices in self._by_part(fold)]
        found: dict[str, float] = {}
        for number, (part, _, counted) in enumerate(parts):
            ending = f"_{part}" if number else ""
            found |= {name + ending: word_errors.total(counts).rate for name, counts in counted.items()}
        _, first, errors = parts[0]
        return Evaluation(
            metrics=found,
            details={"errors": vars(word_errors.total(errors["wer"]))},
            pieces={name: self._by_speaker(first, counts) for name, counts in errors.items()},
            rows=self._rows(hypotheses, fold),
            files=self._files(hypotheses, fold),
        )

    def interval(self, evaluations: Sequence[Evaluation], metric: str, value: float, seed: int) -> Interval:
        pieces = by_speaker(evaluation.pieces[metric] for evaluation in evaluations)
        return over_speakers(metrics.speaker_bootstrap(pieces, error_rate, value, seed, highest=np.inf))

    def chance(self, fold: Fold) -> float:
        """The least error rate of answers that do not depend on what is heard."""
        trained = [self._material.texts[index] for index in fold.train]
        words = (word for text in trained for word in text.split())
        constants = ["", Counter(trained).most_common(1)[0][0], Counter(words).most_common(1)[0][0]]
        first = self._by_part(fold)[0][1]
        return min(
            word_errors.total(self._errors(dict.fromkeys(first, answer), first)[self._primary]).rate
            for answer in constants
        )

    def _decoder(self, fold: Fold) -> Callable[[Tensor], str]:
        """Decodes the log posteriors (T, V) of an utterance of the fold's test set."""
        if fold.name not in self._decoders:
            self._decoders[fold.name] = self._make_decoder(fold)
        return self._decoders[fold.name]

    def _make_decoder(self, fold: Fold) -> Callable[[Tensor], str]:
        """The recipe's way of decoding.

        Without a lexicon file a language model is held to the words of the fold's own training transcripts. Without a
        language model too, the beam adds up the paths of a labelling, which greedy decoding does not.
        """
        settings, vocabulary = self._decoding, self._task.vocabulary
        if settings.method == "greedy":
            return lambda log_posteriors: greedy(log_posteriors, vocabulary)
        words = sorted({word for index in fold.train for word in self._material.texts[index].split()})
        return BeamSearch(
            vocabulary,
            beam=settings.beam,
            threshold=settings.threshold,
            language_model=None if settings.language_model is None else Path(settings.language_model),
            lexicon=None if settings.lexicon is None else Path(settings.lexicon),
            words=words if settings.language_model is not None and settings.lexicon is None else None,
            lm_weight=settings.lm_weight,
            word_score=settings.word_score,
            log_add=settings.language_model is None and settings.lexicon is None,
        )

    def _by_part(self, fold: Fold) -> list[tuple[str, list[int]]]:
        """The test utterances of each part that the recipe names, the one that gives the score first."""
        order = {part: number for number, part in enumerate(self._parts)}
        found: dict[str | None, list[int]] = {}
        for index in fold.test:
            part = self._material.utterances[index].part
            found.setdefault(part if part in order else "test", []).append(index)
        return sorted(
            ((str(part), own) for part, own in found.items()), key=lambda pair: order.get(pair[0], len(order))
        )

    def _errors(self, hypotheses: dict[int, str], indices: Sequence[int]) -> dict[str, list[ErrorCounts]]:
        references = [self._material.texts[index] for index in indices]
        answers = [hypotheses[index] for index in indices]
        return {name: count(references, answers) for name, count in word_errors.COUNTERS.items()}

    def _by_speaker(self, indices: Sequence[int], counts: Sequence[ErrorCounts]) -> dict[str, metrics.IntArray]:
        """Errors and length of the reference of each speaker, (2,)."""
        found: dict[str, metrics.IntArray] = {}
        for index, own in zip(indices, counts, strict=True):
            found.setdefault(cluster(self._material, index), np.zeros(2, dtype=np.int64))
            found[cluster(self._material, index)] += np.array([own.errors, own.reference_length])
        return found

    def _rows(self, hypotheses: dict[int, str], fold: Fold) -> list[dict[str, object]]:
        material = self._material
        return [
            {
                "id": material.utterances[index].id,
                "speaker": material.utterances[index].speaker,
                "part": material.utterances[index].part,
                "reference": material.texts[index],
                "hypothesis": hypotheses[index],
            }
            for index in fold.test
        ]

    def _files(self, hypotheses: dict[int, str], fold: Fold) -> dict[str, bytes]:
        ids = [self._material.utterances[index].id for index in fold.test]
        references = [self._material.texts[index] for index in fold.test]
        answers = [hypotheses[index] for index in fold.test]
        return {
            "ref": word_errors.transcript_lines(ids, references).encode(),
            "hyp": word_errors.transcript_lines(ids, answers).encode(),
            "errors.txt": word_errors.error_report(ids, references, answers).encode(),
        }


def error_rate(counts: metrics.IntArray) -> float:
    """Errors and length of the references (2,) -> errors for each unit of the references."""
    return float(counts[0] / counts[1])
