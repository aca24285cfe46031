"""Transcripts of new recordings, and when each word was said."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from downstream.tasks.head import Head, Predictions
from downstream.tasks.predictor import HeadContext, Predictor
from downstream.tasks.recognition.ctc import CTCHead, ctc_head
from downstream.tasks.recognition.decoding import Decoder, decoder_of
from downstream.tasks.recognition.recipe import RecognitionRecipe
from downstream.tasks.recognition.text import Vocabulary, characters_of, superb_vocabulary
from upstream.base import States
from upstream.errors import UserError

WORDS = "words"  # key of the facts: the words that a language model without a lexicon is limited to


class TranscriptPredictor(Predictor):
    """The transcript of a recording, decoded as the recipe says, with the time of each word."""

    def __init__(self, context: HeadContext, recipe: RecognitionRecipe) -> None:
        self._context, self._recipe = context, recipe
        self.vocabulary = vocabulary_of_outputs(recipe, context)

    @cached_property
    def _decoder(self) -> Decoder:
        return decoder_of(self._recipe.decoding, self.vocabulary, list(self._context.facts.get(WORDS, ())))

    def build(self, layer: int | None) -> CTCHead:
        context = self._context
        return ctc_head(self._recipe.head, context.num_layers, context.dim, len(self.vocabulary), 0, layer)

    def predict(self, head: Head, states: States) -> list[Tensor]:
        """Return the log posteriors of each recording, (T_i, V)."""
        return frames_of(head, states)

    def answers(self, predictions: Predictions) -> list[dict[str, Any]]:
        """Return the transcript, and the start and end of each of its words in seconds."""
        found = []
        for log_posteriors in predictions:
            transcript = self._decoder(log_posteriors)
            words = timed_words(transcript, log_posteriors, self.vocabulary, self._context.frame_seconds)
            found.append({"transcript": transcript, "words": [vars(word) for word in words]})
        return found


def frames_of(head: Head, states: States) -> list[Tensor]:
    """Return the log posteriors of each utterance's own frames, (T_i, V)."""
    log_posteriors, lengths = head(states)
    return [own[:length] for own, length in zip(log_posteriors, lengths.tolist(), strict=True)]


def vocabulary_of_outputs(recipe: RecognitionRecipe, context: HeadContext) -> Vocabulary:
    """Return the vocabulary whose tokens are a head's outputs; raise UserError where the recipe's has others."""
    if recipe.text.vocabulary == "superb":
        vocabulary = superb_vocabulary()
    else:
        vocabulary = characters_of(token for token in context.outputs if len(token) == 1)
    if vocabulary.tokens != tuple(context.outputs):
        raise UserError(
            f"The outputs of these heads are not the tokens of text.vocabulary={recipe.text.vocabulary}: "
            f"{len(context.outputs)} instead of {len(vocabulary)}, or in another order. Get the file again."
        )
    return vocabulary


@dataclass(frozen=True)
class TimedWord:
    """A word, and where it begins and ends, in seconds from the beginning of the recording."""

    word: str
    start: float
    end: float


def timed_words(
    transcript: str, log_posteriors: Tensor, vocabulary: Vocabulary, frame_seconds: float
) -> list[TimedWord]:
    """Return the words of a transcript at the frames of its most probable path through log posteriors (T, V).

    A word lasts from the first frame of its first letter to the last frame of its last one. CTC gives a letter few
    frames and leaves those between to the blank, so that words seem to be shorter than they are.
    """
    words = transcript.split()
    spans = aligned(vocabulary.encode(transcript, closed=False), log_posteriors, vocabulary.blank)
    found, position = [], 0
    for word in words:
        first, last = spans[position], spans[position + len(word) - 1]
        found.append(TimedWord(word, round(first[0] * frame_seconds, 3), round(last[1] * frame_seconds, 3)))
        position += len(word) + 1  # the separator behind it
    return found


def aligned(tokens: Tensor, log_posteriors: Tensor, blank: int) -> list[tuple[int, int]]:
    """Return first and last frame (exclusive) of each token (N,) on the best path of CTC through (T, V)."""
    if len(tokens) == 0:
        return []
    from torchaudio.functional import forced_align, merge_tokens

    frames = log_posteriors.detach().float().cpu()[None]
    path, scores = forced_align(frames, tokens.to(torch.int32)[None], blank=blank)
    return [(span.start, span.end) for span in merge_tokens(path[0], scores[0], blank=blank)]
