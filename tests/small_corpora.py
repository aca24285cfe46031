"""Corpora of recordings that lie on no disk, and the utterances that a recipe chooses of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from downstream.data.audio import AudioCut
from downstream.data.choice import Choice
from downstream.data.corpus import Corpus, Utterance
from downstream.data.dataset import Dataset, read_dataset
from downstream.recipes.recipe import Recipe
from downstream.tasks.registry import family_of, load_recipe


@cache
def wav(name: str, seconds: float) -> bytes:
    """A recording that no other name has."""
    stream = io.BytesIO()
    generator = np.random.default_rng(list(name.encode()))
    samples = 0.1 * generator.standard_normal(round(seconds * 16_000))
    soundfile.write(stream, samples, 16_000, format="WAV")
    return stream.getvalue()


@dataclass(frozen=True)
class InMemory:
    """A recording that lies on no disk."""

    name: str
    lasting: float

    def open(self) -> io.BytesIO:
        return io.BytesIO(wav(self.name, self.lasting))


def row(name: str, speaker: str = "s", seconds: float = 0.1, **fields: object) -> Utterance:
    return Utterance(name, AudioCut(InMemory(name, seconds)), speaker, **fields)  # type: ignore[arg-type]


def word(label: str, speaker: str = "s", take: int = 0, **fields: object) -> Utterance:
    return row(f"{label}/{speaker}_{take}", speaker, labels={"word": label}, **fields)


def noise(name: str, seconds: float, label: str = "_background_noise_", **fields: object) -> Utterance:
    return row(f"{label}/{name}", "", seconds, labels={"word": label}, **({"speech": False} | fields))


def voices(**fields: object) -> list[Utterance]:
    """Four utterances of each of ten speakers, a tenth of a second longer from take to take."""
    names = {"train": "abcdef", "dev": "gh", "test": "ij"}
    return [
        row(f"{name}{take}", name, 0.1 * (take + 1), split=part, text=f"word {name}", **fields)
        for part, speakers in names.items()
        for name in speakers
        for take in range(4)
    ]


def corpus(utterances: Sequence[Utterance], **fields: object) -> Corpus:
    return Corpus("small", "Small", "none", tuple(utterances), "nowhere", **fields)  # type: ignore[arg-type]


def chosen(recipe: Recipe, utterances: Sequence[Utterance]) -> Choice:
    return family_of(recipe).choose(corpus(utterances))


def read(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, utterances: Sequence[Utterance]) -> Dataset:
    """Return the dataset of a recipe whose corpus has these utterances."""
    monkeypatch.setattr("downstream.data.dataset.load_corpus", lambda *_: corpus(utterances))
    return read_dataset(recipe, family_of(recipe), None, Path("unused"))


WORDS = ["corpus.classes=[go, stop]", "corpus.label=[word]"]


def keyword(*overrides: str) -> Recipe:
    """The recipe for keywords, on the words go and stop."""
    return load_recipe("keyword", [*WORDS, *overrides])
