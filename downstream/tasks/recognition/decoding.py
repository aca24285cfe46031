"""From log posteriors to text: the best token of every frame, or a beam search with a lexicon and a language model."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.tasks.recognition.language_model import check_language_model
from downstream.tasks.recognition.lexicon import Lexicon, lexicon_of, read_lexicon, refuse_other_forms
from downstream.tasks.recognition.recipe import DecodingSettings
from downstream.tasks.recognition.text import Vocabulary
from upstream.errors import UserError
from upstream.foreign import foreign_code
from upstream.out_of_memory import is_out_of_memory

Decoder = Callable[[Tensor], str]  # log posteriors (T, V) of an utterance -> its text

INSTALL = "pip install -e '.[lm]'"

# Log probability of everything but the separator in the frame that closes an utterance's last word.
IMPOSSIBLE = -1e4


def decoder_of(settings: DecodingSettings, vocabulary: Vocabulary, words: Sequence[str]) -> Decoder:
    """Return the decoder that a recipe asks for.

    words: those of the training transcripts, to which a language model without a lexicon is limited. With neither of
    the two, the beam search adds up the paths of a labelling, which greedy decoding does not.

    Raises UserError as `BeamSearch` does.
    """
    if settings.method == "greedy":
        return partial(greedy, vocabulary=vocabulary)
    lexicon = file_of(settings.lexicon)
    search = BeamSearch(
        vocabulary,
        beam=settings.beam,
        threshold=settings.threshold,
        language_model=file_of(settings.language_model),
        lexicon=lexicon,
        words=words if needs_words(settings) else None,
        lm_weight=settings.lm_weight,
        word_score=settings.word_score,
        log_add=settings.language_model is None and lexicon is None,
    )
    if lexicon is not None:
        refuse_other_forms(lexicon, search.words)
    return search


def needs_words(settings: DecodingSettings) -> bool:
    """Return True for a language model without a lexicon, which is limited to the words of the training transcripts."""
    return settings.language_model is not None and settings.lexicon is None


def file_of(name: str | None) -> Path | None:
    """Return the path of a file that a recipe names; records write ~ for the home folder."""
    return None if name is None else Path(os.path.expanduser(name))


def greedy(log_posteriors: Tensor, vocabulary: Vocabulary) -> str:
    """Return the text of the most probable token of every frame, (T, V): SUPERB's decoding without a language model.

    Repetitions are collapsed, then blanks, end tokens and other special tokens dropped (s3prl 0.4.18, downstream/asr).
    """
    best = log_posteriors.argmax(dim=-1).tolist()
    return vocabulary.decode([token for token, _ in groupby(best)])


class BeamSearch:
    """flashlight's beam search, in SUPERB's setting by default (s3prl 0.4.18, downstream/asr/w2l_decoder.py).

    With a lexicon, only its words are allowed; the score of a hypothesis is that of its best path plus `lm_weight`
    times the language model's (base-10 logarithm) plus `word_score` per word and `silence_score` per
    separator. Inside a word, the language model's score is the best among the words that it may become.

    words: those of the lexicon.

    Without a lexicon (and without a language model) all characters are allowed. The best path is then what
    `greedy` finds; `log_add` makes the search look for the labelling whose paths are the most probable together.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        beam: int = 5,
        threshold: float = 25.0,
        token_beam: int | None = None,
        language_model: Path | None = None,
        lexicon: Path | None = None,
        words: Sequence[str] | None = None,
        lm_weight: float = 2.0,
        word_score: float = -1.0,
        silence_score: float = 0.0,
        log_add: bool = False,
    ) -> None:
        """beam: hypotheses kept; threshold: how far behind the best one may be; token_beam: tokens tried per
        frame, all by default.

        language_model: KenLM's ARPA or binary file, of words. lexicon: a line per word, the word and its spelling
        in tokens, separated by spaces ("THE T H E |"). words: instead of a lexicon, the words that are allowed;
        those with characters outside the vocabulary are left out.

        Raises UserError where a package or a file is missing, a lexicon does not fit the vocabulary, a language
        model has no words to go with it or cannot be read.
        """
        if language_model is not None and lexicon is None and words is None:
            raise UserError(
                f"The language model {language_model} scores words, but there is neither a lexicon nor a list of words "
                "that says which words there are and how they are spelled; give one of them."
            )
        self.vocabulary = vocabulary
        self._by_words = lexicon is not None or words is not None
        settings: dict[str, Any] = {
            "lm": None if language_model is None else str(existing(language_model, "language model")),
            "tokens": list(vocabulary.tokens),
            "blank_token": vocabulary.tokens[vocabulary.blank],
            "sil_token": vocabulary.separator,
            "beam_size": beam,
            "beam_threshold": threshold,
            "beam_size_token": token_beam,
            "lm_weight": lm_weight,
            "word_score": word_score,
            "sil_score": silence_score,
            "log_add": log_add,
            "lexicon": None,
        }
        build = decoder_builder(needs_kenlm=language_model is not None)
        spelled: Lexicon | None = None
        if lexicon is not None:
            spelled = read_lexicon(existing(lexicon, "lexicon"), vocabulary)
        elif words is not None:
            spelled = lexicon_of(words, vocabulary)
        self.words = [word for word, _ in spelled or ()]
        if language_model is not None:
            check_language_model(language_model, self.words)
        with tempfile.TemporaryDirectory() as folder:
            if spelled is not None:  # written again, in the form that flashlight reads
                settings["lexicon"] = str(Path(folder) / "lexicon.txt")
                text = "".join(f"{word}\t{' '.join(spelling)}\n" for word, spelling in spelled)
                Path(settings["lexicon"]).write_text(text, encoding="utf-8")
            self._decoder = built(build, settings, lexicon)

    def __call__(self, log_posteriors: Tensor) -> str:
        """Return the best text for the log posteriors of one utterance's valid frames, (T, V)."""
        frames = log_posteriors.detach().float().cpu()
        if self._by_words and not self.vocabulary.closing:
            frames = torch.cat([frames, self._closing_frame()])
        with foreign_code("The beam search", "Choose -o decoding.method=greedy.", memory_passes=True):
            hypotheses = self._decoder(frames.contiguous()[None])[0]
        if not hypotheses:
            return ""
        if self._by_words:
            return " ".join(hypotheses[0].words)
        return self.vocabulary.decode(hypotheses[0].tokens.tolist())

    def _closing_frame(self) -> Tensor:
        """Return one more frame that is certainly a separator, (1, V).

        Words of a lexicon end in a separator. A network not trained to end its utterances in one would
        otherwise lose the last word of each.
        """
        separator = self.vocabulary.tokens.index(self.vocabulary.separator)
        certain = F.one_hot(torch.tensor([separator]), len(self.vocabulary))
        return (1 - certain) * IMPOSSIBLE


def existing(path: Path, what: str) -> Path:
    """Return `path`; raise UserError where there is no such file."""
    if not path.is_file():
        raise UserError(f"The {what} {path} is not there. Check the path, or leave it out.")
    return path


def decoder_builder(needs_kenlm: bool) -> Callable[..., Any]:
    """Return torchaudio's interface to flashlight's decoder; raise UserError where a package is missing."""
    try:
        from torchaudio.models.decoder import ctc_decoder
    except RuntimeError as error:  # torchaudio's error for a missing flashlight
        raise UserError(f"The beam search needs the package flashlight-text: {INSTALL}.") from error
    if needs_kenlm:
        try:
            importlib.import_module("flashlight.lib.text.decoder.kenlm")
        except ImportError as error:
            raise UserError(f"A language model needs the package kenlm: {INSTALL}.") from error
    builder: Callable[..., Any] = ctc_decoder
    return builder


def built(build: Callable[..., Any], settings: dict[str, Any], lexicon: Path | None) -> Any:
    """Return the decoder with these settings; raise UserError for whatever KenLM or flashlight raise about a file."""
    try:
        return build(**settings)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        what = f"The lexicon {lexicon} cannot be used" if lexicon is not None else "The beam search cannot be built"
        if settings["lm"] is not None:
            what = f"The language model {settings['lm']} cannot be read as KenLM's ARPA or binary format"
        raise UserError(f"{what}: {lines[-1]}") from error  # what comes before is a place in KenLM's source
