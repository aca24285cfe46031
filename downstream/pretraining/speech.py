"""Speech to learn from: the recordings of one speaker as one stream, in memory, at every speed that a recipe lists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
import torchaudio.functional as AF
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from downstream.data import Corpus, Utterance, find_card, inspected_items, load_corpus, recordings_kept
from downstream.recipes import PretrainingRecipe, SpeechSource
from upstream.base import SAMPLE_RATE
from upstream.encode import WORKERS, Item
from upstream.errors import UserError
from upstream.nearest import did_you_mean
from upstream.text import counted

HOP = 320  # samples of a frame, in every model that is pre-trained here: streams are whole frames, targets too
WINDOW = 400  # samples that a frame sees
SPEED_STEP = 0.005  # finer speeds would need long filters
FULL_SCALE = 2**15
UNKNOWN = "unknown speakers"


@dataclass(frozen=True)
class Stream:
    """The speech of one speaker at one speed.

    samples: (S,) int16, whole frames. weight: how often a second of it is drawn. digest: of audio and speed.
    """

    name: str
    source: str
    samples: Tensor = field(repr=False)
    weight: float
    digest: str

    @property
    def seconds(self) -> float:
        """Its duration."""
        return len(self.samples) / SAMPLE_RATE

    @property
    def frames(self) -> int:
        """Frames of the encoder in the whole of it."""
        return frames_of(len(self.samples))

    def window(self, frame: int, samples: int) -> Tensor:
        """Return samples from a frame on, (samples,) float32 in [-1, 1]."""
        return self.samples[frame * HOP :][:samples].float() / FULL_SCALE


@dataclass(frozen=True)
class SourceRecord:
    """What was taken from one corpus, for the record and the model card."""

    name: str
    corpus: str
    title: str
    licence: str
    parts: tuple[str, ...]
    utterances: int
    speakers: int
    hours: float
    hours_at_all_speeds: float
    held_back_hours: float
    fingerprint: str


@dataclass(frozen=True)
class Speech:
    """All speech of a pre-training.

    learned, held: streams to learn from, and of the speakers that are held back. noises: recordings without speech,
    for mixing. sources: what was taken from each. notes: what a reader of the record should know.
    """

    learned: tuple[Stream, ...]
    held: tuple[Stream, ...]
    noises: tuple[Stream, ...]
    sources: tuple[SourceRecord, ...]
    notes: tuple[str, ...]

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All that have targets: those that are learned from, then those held back."""
        return self.learned + self.held

    @property
    def seconds(self) -> float:
        """Seconds to learn from, all speeds together."""
        return sum(stream.seconds for stream in self.learned)

    def draws(self) -> NDArray[np.float64]:
        """Return how often each stream is drawn to learn from, relative to the others: frames times weight."""
        return np.array([stream.frames * stream.weight for stream in self.learned], dtype=np.float64)

    def digest(self) -> str:
        """Digest of all streams, in order."""
        return hashlib.sha256("\n".join(one.digest for one in self.streams + self.noises).encode()).hexdigest()


def frames_of(samples: int) -> int:
    """Return the number of frames of so many samples."""
    return max(0, (samples - WINDOW) // HOP + 1)


def samples_of(seconds: float) -> int:
    """Return the samples of a window of about so many seconds, which makes whole frames of it."""
    return max(1, round(seconds * SAMPLE_RATE / HOP)) * HOP + WINDOW - HOP


def read_speech(recipe: PretrainingRecipe, data: Mapping[str, Path], store: Path, progress: bool = True) -> Speech:
    """Read all speech of a recipe into memory, two bytes a sample: 115 MB an hour.

    data: folder of each source, by the source's name; others are found by their environment variables. store: what is
    found of recordings is kept there.

    Raises UserError for sources that are not there, parts they do not have, and where nothing is left to learn from.
    """
    refuse_unknown_names(recipe, data)
    longest = samples_of(recipe.longest_window)
    learned: list[Stream] = []
    held: list[Stream] = []
    noises: list[Stream] = []
    sources, notes = [], []
    heaviest = max(source.weight for source in recipe.speech)
    measured = recipe.held_back.sources or [one.called for one in recipe.speech if one.weight == heaviest]
    for source in recipe.speech:
        corpus = corpus_of_source(source, data, store)
        if corpus is None:
            notes.append(f"{source.called} was left out: no --data {source.called}=DIR was given.")
            continue
        chosen = utterances_of(corpus, source)
        items = inspected_items(chosen, recordings_kept(store), progress)
        speakers = by_speaker(chosen, items)
        wanted = recipe.held_back.seconds if source.called in measured else 0.0
        kept_back = held_back(speakers, wanted)
        others = {name: recorded for name, recorded in speakers.items() if name not in kept_back}
        measured_on = {name: recorded for name, recorded in speakers.items() if name in kept_back}
        own = streams_of(source, others, longest, progress)
        still = streams_of(source, measured_on, longest, progress, speeds=(1.0,))
        learned += own
        held += still
        noises += noises_of(source, corpus, store, progress)
        sources.append(
            SourceRecord(
                name=source.called,
                corpus=source.corpus,
                title=corpus.title,
                licence=corpus.licence,
                parts=source.parts,
                utterances=len(chosen),
                speakers=len(speakers) - (UNKNOWN in speakers),
                hours=sum(item.seconds for item in items) / 3600,
                hours_at_all_speeds=sum(one.seconds for one in own) / 3600,
                held_back_hours=sum(one.seconds for one in still) / 3600,
                fingerprint=replace(corpus, utterances=tuple(chosen)).fingerprint(
                    {one.id: item.digest for one, item in zip(chosen, items, strict=True)}
                ),
            )
        )
    if not learned:
        raise UserError(
            f"There is no speech to learn from: no source of {recipe.name} has a stretch of one speaker of "
            f"{recipe.longest_window:g} s. Give its folders with --data NAME=DIR, or shorter windows."
        )
    if not held:
        raise UserError(
            f"No speakers of {', '.join(measured)} could be held back, and nobody would see what is learned: at most "
            f"half of them are, and they need {recipe.longest_window:g} s of speech, the longest window. "
            "Give speech of more known speakers, more -o held_back.seconds, or other -o held_back.sources."
        )
    return Speech(tuple(learned), tuple(held), tuple(noises), tuple(sources), tuple(notes))


def refuse_unknown_names(recipe: PretrainingRecipe, data: Mapping[str, Path]) -> None:
    """Raise UserError for the folder of a source that the recipe does not have."""
    known = [source.called for source in recipe.speech]
    for name in data:
        if name not in known:
            hint = did_you_mean(name, known) or f"It has {', '.join(known)}."
            raise UserError(f"{recipe.name} has no speech called {name!r}, which --data names. {hint}")


def corpus_of_source(source: SpeechSource, data: Mapping[str, Path], store: Path) -> Corpus | None:
    """Return the corpus of a source; None for an optional one of which no folder is given."""
    folder = data.get(source.called)
    if folder is None and source.optional:
        return None
    if folder is not None and not folder.is_dir():
        raise UserError(f"--data {source.called}={folder} names no folder; correct it.")
    try:
        return load_corpus(source.corpus, folder, store)
    except UserError as error:
        if folder is not None:
            raise
        find_card(source.corpus)  # raises for a corpus that there is not
        raise UserError(f"{error} Here: --data {source.called}=DIR.") from error


def utterances_of(corpus: Corpus, source: SpeechSource) -> list[Utterance]:
    """Return the spoken utterances of the parts that a source names."""
    spoken = [u for u in corpus.utterances if u.speech]
    there = {part for u in spoken for part in (u.split, u.part) if part is not None}
    for part in source.parts:
        if part not in there:
            raise UserError(
                f"{corpus.title} in {corpus.source} has no part {part!r}; it has {', '.join(sorted(there)) or 'none'}. "
                "Correct `parts` in the recipe."
            )
    return [u for u in spoken if not source.parts or {u.split, u.part} & set(source.parts)]


Recorded = list[tuple[Utterance, Item]]


def by_speaker(utterances: Sequence[Utterance], items: Sequence[Item]) -> dict[str, Recorded]:
    """Return the utterances of every speaker, sorted by speaker and id."""
    speakers: dict[str, Recorded] = {}
    for utterance, item in sorted(zip(utterances, items, strict=True), key=lambda one: (one[0].speaker, one[0].id)):
        speakers.setdefault(utterance.speaker or UNKNOWN, []).append((utterance, item))
    return speakers


def held_back(speakers: Mapping[str, Recorded], seconds: float) -> set[str]:
    """Return speakers that together have so many seconds of speech, at most half of all; none for no seconds.

    Their order is that of a digest of their names: it looks drawn, and more speech does not move it.
    """
    chosen: set[str] = set()
    names = sorted(set(speakers) - {UNKNOWN}, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    for name in names[: len(names) // 2]:
        if seconds <= 0:
            break
        chosen.add(name)
        seconds -= sum(item.seconds for _, item in speakers[name])
    return chosen


def streams_of(
    source: SpeechSource,
    speakers: Mapping[str, Recorded],
    longest: int,
    progress: bool,
    speeds: Sequence[float] | None = None,
) -> list[Stream]:
    """Return one stream for every speaker and speed; speakers with less than the longest window share one."""
    groups: dict[str, Recorded] = {}
    for name, recorded in speakers.items():
        is_short = sum(item.seconds for _, item in recorded) < longest / SAMPLE_RATE
        groups.setdefault("short speakers" if is_short else name, []).extend(recorded)
    found = []
    for name, waveforms in decoded(groups, source.called, progress):
        items = [item for _, item in groups[name]]
        for speed in speeds or source.speeds:
            samples = torch.cat([as_frames(at_speed(one, speed)) for one in waveforms])
            if len(samples) >= longest:
                called = name if speed == 1.0 else f"{name} x {speed:g}"
                found.append(Stream(called, source.called, samples, source.weight, digest_of(items, speed)))
    return found


def noises_of(source: SpeechSource, corpus: Corpus, store: Path, progress: bool) -> list[Stream]:
    """Return the recordings without speech of a corpus: background noise."""
    silent = sorted((u for u in corpus.utterances if not u.speech), key=lambda one: one.id)
    groups = {
        u.id: [(u, item)]
        for u, item in zip(silent, inspected_items(silent, recordings_kept(store), progress), strict=True)
    }
    return [
        Stream(name, source.called, as_frames(waveforms[0]), source.weight, digest_of([groups[name][0][1]], 1.0))
        for name, waveforms in decoded(groups, f"noise of {source.called}", progress)
    ]


def decoded(groups: Mapping[str, Recorded], what: str, progress: bool) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield the waveforms of every group, decoded in several threads."""
    items = [item for recorded in groups.values() for _, item in recorded]
    with ThreadPoolExecutor(WORKERS) as pool:
        waveforms = pool.map(lambda item: item.audio.load(), items)
        hidden = None if progress and items else True
        loaded = iter(tqdm(waveforms, f"decoding {what}", len(items), disable=hidden, leave=False))
        for name, recorded in groups.items():
            yield name, list(islice(loaded, len(recorded)))


def at_speed(waveform: Tensor, speed: float) -> Tensor:
    """Return a waveform (S,) played at another speed, (about S / speed,)."""
    rate = round(speed / SPEED_STEP) * round(SAMPLE_RATE * SPEED_STEP)
    return waveform if rate == SAMPLE_RATE else AF.resample(waveform, rate, SAMPLE_RATE)


def as_frames(waveform: Tensor) -> Tensor:
    """Return whole frames of a waveform as int16; what is left of the last one is dropped."""
    whole = waveform[: len(waveform) // HOP * HOP]
    return (whole * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16)


def digest_of(items: Sequence[Item], speed: float) -> str:
    """Return a digest of a stream: of its audio, in order, and its speed."""
    return hashlib.sha256("\n".join(chain((item.digest for item in items), [f"{speed:g}"])).encode()).hexdigest()


def said_of(speech: Speech) -> str:
    """Return a sentence on how much there is to learn from."""
    hours = sum(source.hours for source in speech.sources)
    return (
        f"{speech.seconds / 3600:.2f} h to learn from in {counted(len(speech.learned), 'stream')} "
        f"({hours:.2f} h recorded), {sum(one.seconds for one in speech.held):.0f} s of "
        f"{counted(len(speech.held), 'speaker')} held back."
    )
