"""Recognition: a transcript per utterance, characters by CTC (SUPERB's ASR)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from downstream.data import Choice, Corpus, Dataset, Fold, Part, Targets, left_out
from downstream.statistics import CountedItems, Items, cluster_of
from downstream.tasks.base import Family, Task
from downstream.tasks.evaluation import CountedEvaluation, IntArray
from downstream.tasks.head import Head, Predictions
from downstream.tasks.head_on_part import HeadOnPart
from downstream.tasks.other_programs import HeadHere, HeadOfS3prl, TaskModelHead
from downstream.tasks.predictor import HeadContext
from downstream.tasks.recognition import other_programs, word_errors
from downstream.tasks.recognition.alignment import alignment_caveats, unknown_letters
from downstream.tasks.recognition.ctc import CTCHead, ctc_head, ctc_losses
from downstream.tasks.recognition.decoding import Decoder, decoder_of, file_of, greedy, needs_words
from downstream.tasks.recognition.items import counts_of, recognised_items
from downstream.tasks.recognition.metrics import METRICS
from downstream.tasks.recognition.predictor import WORDS, TranscriptPredictor, frames_of
from downstream.tasks.recognition.recipe import RecognitionRecipe
from downstream.tasks.recognition.record import ErrorDetails, RecognitionDetails
from downstream.tasks.recognition.text import Vocabulary, characters_of, normalise, superb_vocabulary
from downstream.tasks.recognition.transcript_notes import transcript_notes
from downstream.tasks.recognition.word_errors import ErrorCounts
from upstream.base import States, Upstream
from upstream.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

UNKNOWN_AT_MOST = 0.1  # share of characters; with more unknown, a vocabulary is refused


@dataclass(frozen=True)
class TextTargets(Targets):
    """The normalised transcript of every utterance."""

    texts: tuple[str, ...]

    def words(self, indices: Sequence[int]) -> int:
        return sum(len(self.texts[index].split()) for index in indices)

    def question(self) -> list[str]:
        """Return letters without a capital, if any: once they were written as others, and such a run is another one."""
        small = {letter for text in self.texts for letter in text if letter.upper() != letter}
        return [f"letters without a capital: {''.join(sorted(small))}"] if small else []


class Recognition(Family):
    """Transcription of utterances."""

    recipe_type = RecognitionRecipe
    metrics = METRICS
    chance_means = "the best of always answering nothing, the commonest transcript and the commonest word of training"
    within_protocol = ("decoding.",)
    hub_task = "automatic-speech-recognition"
    was_in_schema_3 = True

    def __init__(self, recipe: RecognitionRecipe) -> None:
        self._recipe = recipe

    def choose(self, corpus: Corpus) -> Choice:
        """Return the utterances that have a transcript with a letter or digit in it."""
        used = tuple(sorted((u for u in corpus.utterances if normalise(u.text or "")), key=lambda u: u.id))
        if not used:
            raise UserError(
                f"{corpus.title} in {corpus.source} has no transcripts with a letter or digit; write them into the "
                "column text of a manifest.csv (-c manifest) or into x.txt beside x.wav (-c folder), or choose another "
                "corpus with -c."
            )
        return Choice("text", used, notes=left_out(corpus, used, "have no letter or digit in their transcript"))

    def finish(self, dataset: Dataset) -> Dataset:
        texts = [u.text or "" for u in dataset.utterances]
        normalised = tuple(map(normalise, texts))
        notes = transcript_notes(texts, normalised, self._recipe.primary)
        return replace(dataset, targets=TextTargets(normalised), notes=(*dataset.notes, *notes))

    def task(self, dataset: Dataset, upstream: Upstream) -> RecognitionTask:
        frames = partial(Upstream.frames, upstream)
        task = RecognitionTask(dataset, upstream.num_layers, upstream.dim, self._recipe, frames)
        task.decoder(dataset.split.folds[0])  # reports missing files and packages before training
        return task

    def predictor(self, context: HeadContext) -> TranscriptPredictor:
        return TranscriptPredictor(context, self._recipe)

    def known_outputs(self) -> Sequence[str]:
        return superb_vocabulary().tokens if self._recipe.text.vocabulary == "superb" else ()

    @classmethod
    def of_s3prl(cls, theirs: HeadOfS3prl) -> HeadHere | None:
        return other_programs.of_s3prl(theirs)

    @classmethod
    def task_model(cls, head: Head) -> TaskModelHead:
        """Raise UserError: ForCTC of transformers is one linear layer on the encoder's output."""
        raise UserError(
            "transformers has no task model with a head like this: ForCTC is one linear layer on the encoder's output, "
            "and this one reads a sum of layers through bidirectional LSTMs. As a file that wavprobe predict applies "
            "it can be kept: name a destination that ends in .safetensors."
        )

    def test_settings(self) -> Sequence[str]:
        return ("decoding",)

    def test_files(self) -> Sequence[Path]:
        decoding = self._recipe.decoding
        return [path for path in map(file_of, (decoding.language_model, decoding.lexicon)) if path is not None]

    @classmethod
    def items(cls, details: Mapping[str, Any], head: HeadOnPart, rows: Sequence[Mapping[str, Any]]) -> CountedItems:
        return recognised_items(
            ids=[row["id"] for row in rows],
            references=[row["reference"] for row in rows],
            hypotheses=[row["hypothesis"] for row in rows],
            clusters=[cluster_of(row["speaker"], row["id"]) for row in rows],
        )

    @classmethod
    def published_as(cls, metric: str, settings: Mapping[str, Any]) -> str:
        """Return "wer_with_lm" for a WER of decoding with a language model, which has a column of its own."""
        return f"{metric}_with_lm" if settings["decoding"]["language_model"] else metric

    @classmethod
    def contradictions(cls, head: HeadOnPart, items: Items, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Compare the counts of kinds of word errors."""
        assert items.answers is not None
        again = word_errors.total(word_errors.COUNTERS["wer"](items.truths, items.answers))
        same = head.details["errors"] == ErrorDetails.model_validate(vars(again)).model_dump()
        return [] if same else ["the numbers of word errors are not those of the hypotheses"]

    @classmethod
    def tables(cls, details: Mapping[str, Any], heads: Sequence[Mapping[str, Any]]) -> Sequence[Table]:
        from downstream.tasks.recognition.record import error_table

        return [error_table([ErrorDetails.model_validate(head["errors"]) for head in heads])]


def text_targets(dataset: Dataset) -> TextTargets:
    """Return the transcripts of a dataset of this family."""
    assert isinstance(dataset.targets, TextTargets)
    return dataset.targets


def vocabulary_of(recipe: RecognitionRecipe, dataset: Dataset) -> Vocabulary:
    """Return the recipe's vocabulary: SUPERB's, or the characters that some fold trains on.

    All folds have the same outputs. Raises UserError where the transcripts are not in SUPERB's letters.
    """
    trained = [text_targets(dataset).texts[index] for index in dataset.split.trained]
    if recipe.text.vocabulary == "characters":
        return characters_of(trained)
    vocabulary = superb_vocabulary()
    refuse_other_scripts(vocabulary, trained)
    return vocabulary


def refuse_other_scripts(vocabulary: Vocabulary, texts: Sequence[str]) -> None:
    """Raise UserError where the vocabulary lacks more than UNKNOWN_AT_MOST of the characters."""
    letters = "".join(texts).replace(" ", "")
    unknown = sum(letter not in vocabulary.tokens for letter in letters)
    if unknown > UNKNOWN_AT_MOST * len(letters):
        raise UserError(
            f"{unknown / len(letters):.0%} of the transcripts' characters are not in SUPERB's vocabulary of English "
            "letters; choose -o text.vocabulary=characters, or -d asr."
        )


class RecognitionTask(Task):
    """Recognition of a dataset. Development is decoded greedily, the test as the recipe says."""

    metrics = METRICS

    def __init__(
        self,
        dataset: Dataset,
        num_layers: int,
        dim: int,
        recipe: RecognitionRecipe,
        frames: Callable[[float], int] | None = None,
    ) -> None:
        """num_layers, dim: L and D of the upstream; frames: its frames in so many seconds, None where not known."""
        self.dataset, self._shape, self._recipe, self._frames = dataset, (num_layers, dim), recipe, frames
        self.texts = text_targets(dataset).texts
        self.vocabulary = vocabulary_of(recipe, dataset)
        self._decoders: dict[str, Decoder] = {}  # by fold: language models take long to read

    @cached_property
    def targets(self) -> tuple[Tensor, ...]:
        """The tokens of every utterance, (N_i,) int64 each."""
        return tuple(self.vocabulary.encode(text) for text in self.texts)

    def caveats(self) -> list[str]:
        """Return sentences on transcripts that no head can write; raise UserError where none fits into its frames."""
        tested = sorted({index for fold in self.dataset.split.folds for index in fold.test})
        unknown = unknown_letters(self.texts, self.vocabulary.tokens, tested)
        if self._frames is None:
            return unknown
        return [*alignment_caveats(self.dataset, self.targets, self._frames), *unknown]

    def build(self, seed: int, layer: int | None) -> CTCHead:
        return ctc_head(self._recipe.head, *self._shape, len(self.vocabulary), seed, layer)

    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        log_posteriors, lengths = head(states)
        targets = [self.targets[index] for index in utterances.tolist()]
        return ctc_losses(log_posteriors, lengths, targets, self.vocabulary.blank)

    def predict(self, head: Head, states: States) -> list[Tensor]:
        """Return the log posteriors of each utterance, (T_i, V)."""
        return frames_of(head, states)

    def evaluate(self, predictions: Predictions, part: Part) -> RecognitionEvaluation:
        decode = self.decoder(part.fold) if part.is_test else self.greedily
        return RecognitionEvaluation(self.dataset, part.utterances, list(map(decode, predictions)))

    def outputs(self, fold: Fold) -> Sequence[str]:
        return self.vocabulary.tokens

    def facts(self, fold: Fold) -> Mapping[str, Any]:
        """Return the words that a language model is limited to, where there is one without a lexicon."""
        return {WORDS: words} if (words := self._words(fold)) else {}

    def chance(self, part: Part) -> Mapping[str, float]:
        """Return the lowest error rates of answers that do not depend on the audio."""
        trained = [self.texts[index] for index in part.fold.train]
        words = (word for text in trained for word in text.split())
        constants = ["", Counter(trained).most_common(1)[0][0], Counter(words).most_common(1)[0][0]]
        answered = [
            RecognitionEvaluation(self.dataset, part.utterances, [answer] * len(part.utterances))
            for answer in constants
        ]
        return {name: min(one.value(name) for one in answered) for name in METRICS}

    def greedily(self, log_posteriors: Tensor) -> str:
        """Return the text of the most probable tokens of (T, V)."""
        return greedy(log_posteriors, self.vocabulary)

    def decoder(self, fold: Fold) -> Decoder:
        """Return the recipe's decoder for the test set of a fold."""
        if fold.name not in self._decoders:
            self._decoders[fold.name] = decoder_of(self._recipe.decoding, self.vocabulary, self._words(fold))
        return self._decoders[fold.name]

    def _words(self, fold: Fold) -> list[str]:
        """Return the words of a fold's training transcripts, where its decoder is limited to them."""
        if not needs_words(self._recipe.decoding):
            return []
        return sorted({word for index in fold.train for word in self.texts[index].split()})


class RecognitionEvaluation(CountedEvaluation):
    """Hypotheses compared with transcripts."""

    def __init__(self, dataset: Dataset, utterances: Sequence[int], hypotheses: Sequence[str]) -> None:
        super().__init__(METRICS, dataset, utterances)
        self._hypotheses = hypotheses
        self._references = [text_targets(dataset).texts[index] for index in utterances]
        self._errors: dict[str, list[ErrorCounts]] = {}

    def errors(self, metric: str) -> list[ErrorCounts]:
        """Return the errors of each utterance in words ("wer") or characters ("cer")."""
        if metric not in self._errors:
            self._errors[metric] = word_errors.COUNTERS[metric](self._references, self._hypotheses)
        return self._errors[metric]

    def value(self, metric: str) -> float:
        return word_errors.total(self.errors(metric)).rate if metric in word_errors.COUNTERS else super().value(metric)

    def counts(self) -> IntArray:
        """Return word errors, words, character errors and characters of each utterance, (N, 4)."""
        return counts_of(self.errors("wer"), self.errors("cer"))

    def items(self) -> CountedItems:
        return replace(super().items(), truths=tuple(self._references), answers=tuple(self._hypotheses))

    def details(self) -> Mapping[str, Any]:
        errors = ErrorDetails.model_validate(vars(word_errors.total(self.errors("wer"))))
        return RecognitionDetails(errors=errors).model_dump()

    def rows(self) -> list[dict[str, object]]:
        utterances = [self._dataset.utterances[index] for index in self._utterances]
        return [
            {"id": own.id, "speaker": own.speaker, "part": own.part, "reference": reference, "hypothesis": hypothesis}
            for own, reference, hypothesis in zip(utterances, self._references, self._hypotheses, strict=True)
        ]

    def files(self) -> dict[str, bytes]:
        ids = [self._dataset.utterances[index].id for index in self._utterances]
        return {
            "ref": word_errors.transcript_lines(ids, self._references).encode(),
            "hyp": word_errors.transcript_lines(ids, self._hypotheses).encode(),
            "errors.txt": word_errors.error_report(ids, self._references, self._hypotheses).encode(),
        }
