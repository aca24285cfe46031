"""From log posteriors to text: the best token of every frame, or a beam search with a lexicon and a language model."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.tasks.recognition.text import Vocabulary
from upstream.errors import UserError

INSTALL = "pip install -e '.[lm]'"

# Log probability of everything but the separator in the frame that closes an utterance's last word.
IMPOSSIBLE = -1e4


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
        settings = {
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
        }
        build = decoder_builder(needs_kenlm=language_model is not None)
        if lexicon is not None:
            check_lexicon(existing(lexicon, "lexicon"), vocabulary)
            self._decoder = built(build, {**settings, "lexicon": str(lexicon)})
        elif words is not None:
            with tempfile.TemporaryDirectory() as folder:
                spelled = Path(folder) / "lexicon.txt"
                spelled.write_text(lexicon_of(words, vocabulary), encoding="utf-8")
                self._decoder = built(build, {**settings, "lexicon": str(spelled)})
        else:
            self._decoder = built(build, {**settings, "lexicon": None})

    def __call__(self, log_posteriors: Tensor) -> str:
        """Return the best text for the log posteriors of one utterance's valid frames, (T, V)."""
        frames = log_posteriors.detach().float().cpu()
        if self._by_words and not self.vocabulary.closing:
            frames = torch.cat([frames, self._closing_frame()])
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


def lexicon_of(words: Iterable[str], vocabulary: Vocabulary) -> str:
    """Return the text of a lexicon file: every word that the vocabulary can spell, once, and its spelling.

    Raises UserError where it can spell none.
    """
    spellable = sorted({word for word in words if word and vocabulary.spells(word)})
    if not spellable:
        raise UserError(
            f"None of the words for the beam search can be spelled in the {len(vocabulary)} tokens of this vocabulary. "
            "Check their case and script."
        )
    return "".join(f"{word}\t{' '.join(word)} {vocabulary.separator}\n" for word in spellable)


def check_lexicon(path: Path, vocabulary: Vocabulary) -> None:
    """Raise UserError unless every line is a word and its spelling in the vocabulary's tokens."""
    known = set(vocabulary.tokens)
    number = 0
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            word, *spelling = line.split() or [""]
            if not spelling or not known.issuperset(spelling):
                strange = [token for token in spelling if token not in known]
                found = f"{', '.join(strange)} in the spelling of {word!r}" if strange else f"{line.strip()!r}"
                raise UserError(
                    f"Line {number} of the lexicon {path} does not fit the vocabulary: found {found}; expected a word "
                    f"and its spelling in tokens like {' '.join(sorted(known)[:8])}, separated by spaces."
                )
    if number == 0:
        raise UserError(f"The lexicon {path} is empty; expected a line per word, the word and its spelling.")


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


def built(build: Callable[..., Any], settings: dict[str, Any]) -> Any:
    """Return the decoder with these settings; raise UserError where KenLM cannot read the language model."""
    try:
        return build(**settings)
    except RuntimeError as error:
        if settings["lm"] is None:
            raise
        raise UserError(
            f"The language model {settings['lm']} cannot be read as KenLM's ARPA or binary format: "
            f"{str(error).splitlines()[-1]}"  # what comes before is a place in KenLM's source
        ) from error
