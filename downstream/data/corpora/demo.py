"""The `demo` corpus: speech that espeak-ng synthesises on the user's machine, in seconds, with known labels.

Its speakers are sixteen voices in eight accents of English. Each reads sentences in four emotions, which are rules of
prosody (pitch, pitch range, rate, loudness, voice quality), and single words, some of them keywords. The rules
overlap, the loudness varies, and every utterance gets its own noise and room, so that the tasks can be learned but
not without error. Timed segments tell where there is speech.

It serves to try the harness without a download. It is synthetic, and a score on it says nothing about real speech.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from downstream.data.acoustics import (
    Samples,
    decibels,
    in_room,
    root_mean_square,
    sound_intervals,
    tilted,
    with_breath,
    with_noise,
)
from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora import espeak, segments
from downstream.data.corpora.cards import DEMO as CARD
from downstream.data.corpora.csv_table import read_table
from downstream.data.corpus import Corpus, PublishedCounts, TimedSegment, Utterance
from downstream.data.resampling import resample
from upstream.base import SAMPLE_RATE
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files
from upstream.unfinished import remove_leftovers, unfinished_folder

# Part of the cache's key; incremented with every change that can alter a sample, a label or a transcript.
DEMO_VERSION = 1
# Incremented with every change that can alter a timed segment; cached segments of another version are derived again.
SEGMENTS_VERSION = 1

WORKERS = 2  # threads; each waits most of its time for a process of espeak-ng


@dataclass(frozen=True)
class Speaker:
    """A voice and the room it is recorded in.

    voice: espeak-ng's language and variant.
    pitch: semitones above the variant's default.
    rate: words a minute when neutral.
    reverberation: seconds in which the room's echo falls by 60 dB.
    """

    id: str
    gender: str
    voice: str
    pitch: float
    rate: int
    reverberation: float


SPEAKERS = (
    Speaker("f01", "female", "en-us+f1", 0.0, 170, 0.15),
    Speaker("m01", "male", "en-us+m1", 1.0, 165, 0.30),
    Speaker("f02", "female", "en+f2", -1.0, 180, 0.25),
    Speaker("m02", "male", "en+m2", 0.0, 175, 0.20),
    Speaker("f03", "female", "en-gb-scotland+f3", -2.0, 160, 0.35),
    Speaker("m03", "male", "en-gb-scotland+m3", 2.0, 180, 0.15),
    Speaker("f04", "female", "en-029+f4", 1.0, 175, 0.20),
    Speaker("m04", "male", "en-029+m4", 1.5, 185, 0.25),
    Speaker("f05", "female", "en-us-nyc+f5", -1.0, 185, 0.30),
    Speaker("m05", "male", "en-us-nyc+m5", -0.5, 170, 0.35),
    Speaker("f06", "female", "en-gb-x-rp+Annie", -2.0, 165, 0.20),
    Speaker("m06", "male", "en-gb-x-rp+m6", 3.0, 160, 0.25),
    Speaker("f07", "female", "en-gb-x-gbclan+linda", -2.5, 175, 0.15),
    Speaker("m07", "male", "en-gb-x-gbclan+m7", 0.5, 190, 0.20),
    Speaker("f08", "female", "en-gb-x-gbcwmd+steph", 0.5, 170, 0.30),
    Speaker("m08", "male", "en-gb-x-gbcwmd+m8", 2.5, 175, 0.35),
)

# Speakers of the train and dev parts, in the order of SPEAKERS; the others are test. The genders are balanced in each.
TRAIN_SPEAKERS, DEV_SPEAKERS = 8, 4

SENTENCES = (
    "the train leaves at nine",
    "my brother painted the kitchen",
    "we walked along the river",
    "she put the book back",
    "children play in the garden",
    "he bought a dozen rolls",
    "the box is under the table",
    "they will visit us in june",
    "a small dog sat there",
    "the teacher closed the window",
    "bring me a glass of water",
    "the office opens on monday",
    "i found your keys",
    "the movie begins at six",
    "our friends grow tomatoes",
    "the music was very quick",
)
SENTENCES_PER_SPEAKER = 3  # each of them in every emotion

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = ("bird", "house", "tree", "seven", "water", "music", "table", "river")
OTHER_WORDS_PER_SPEAKER = 2
UNKNOWN = "unknown"  # the label of all other words


@dataclass(frozen=True)
class Prosody:
    """Prosody relative to the speaker's neutral speech.

    pitch: semitones.
    pitch_range: points of espeak-ng's scale; 0 is the voice's default range, -50 monotone.
    rate: percent.
    loudness: dB.
    tilt: dB an octave by which the spectrum rises; a pressed voice is bright, a lax one dark.
    breath: level of breath noise in dB relative to the speech.
    """

    pitch: float
    pitch_range: float
    rate: float
    loudness: float
    tilt: float
    breath: float


# Directions as reviewed by Juslin and Laukka (2003), "Communication of emotions in vocal expression and music
# performance": anger and happiness are faster, louder, brighter, higher and more varied, sadness the opposite. The
# sizes are chosen, with SPREAD, so that a linear classifier on simple features does well but not perfectly.
EMOTIONS = {
    "neutral": Prosody(pitch=0.0, pitch_range=0, rate=0, loudness=0.0, tilt=0.0, breath=-30),
    "happy": Prosody(pitch=4.0, pitch_range=35, rate=8, loudness=2.0, tilt=1.0, breath=-30),
    "angry": Prosody(pitch=1.0, pitch_range=15, rate=15, loudness=4.0, tilt=2.5, breath=-38),
    "sad": Prosody(pitch=-1.5, pitch_range=-25, rate=-15, loudness=-3.0, tilt=-1.5, breath=-20),
}

# Standard deviation of utterances around the prosody of their emotion.
SPREAD = Prosody(pitch=1.0, pitch_range=10, rate=6, loudness=4.0, tilt=0.6, breath=4)

SEMITONES_PER_PITCH_POINT = 12 / 50  # espeak-ng: 50 points are an octave
LEVEL = -26.0  # dB below full scale, the mean level of neutral speech
LARGEST_PEAK = 0.95  # of full scale; louder utterances are attenuated
SIGNAL_TO_NOISE = (15.0, 30.0)  # dB, drawn uniformly
NOISE_TILT = (-6.0, 0.0)  # dB an octave, drawn uniformly: from brown noise to white
DIRECT_TO_REVERBERANT = (4.0, 12.0)  # dB, drawn uniformly
SILENCE = (0.08, 0.20)  # seconds before and after the speech, drawn uniformly

# Speech, for the timed segments: frames of the clean synthesised voice (before breath, room and noise) whose level is
# within 40 dB of the loudest frame. Pauses under 0.1 s belong to the speech: in this voice they are closures of stops,
# of at most 0.07 s, which annotators of speech activity do not mark either.
SPEECH_FRAME, SPEECH_RANGE, SPEECH_GAP = 0.01, 40.0, 0.1  # seconds, dB, seconds

# Totals of the constants above, counted by hand so that mistakes in them are noticed.
PUBLISHED = PublishedCounts(
    utterances=384,
    speakers=16,
    labels={
        "emotion": {"neutral": 48, "happy": 48, "angry": 48, "sad": 48},
        "keyword": {**dict.fromkeys(KEYWORDS, 16), UNKNOWN: 32},
    },
    source="the design in downstream/data/corpora/demo.py: 192 sentences and 192 words",
)


@dataclass(frozen=True)
class Prompt:
    """One utterance to synthesise: speaker, text and labels."""

    id: str
    speaker: Speaker
    text: str
    emotion: str | None = None
    keyword: str | None = None

    @property
    def file(self) -> str:
        """Its file name in the cache."""
        return f"{self.id}.flac"

    @property
    def labels(self) -> dict[str, str]:
        """Its class labels, by column."""
        columns = {"emotion": self.emotion, "keyword": self.keyword}
        return {column: label for column, label in columns.items() if label is not None}


def load(cache: Path, seed: int = 0) -> Corpus:
    """The demo corpus, from `cache`, or synthesised into it if it is missing or damaged there.

    cache: folder of cached corpora; this one is in `demo/`, in a folder by version, espeak-ng and seed.
    seed: of everything that is drawn: prosody, noise, rooms. Utterances, labels and transcripts do not depend on it.

    Raises UserError if espeak-ng is not installed or does not run, and if `cache` cannot be written.
    """
    version = espeak.version()
    folder = cache / "demo" / f"v{DEMO_VERSION}-espeak-{version}-seed{seed}"
    prompts = script()
    if not intact(folder, prompts):
        try:
            make(folder, prompts, seed)
        except (OSError, soundfile.LibsndfileError) as error:
            raise UserError(
                f"The demo corpus cannot be written to {folder} ({getattr(error, 'strerror', None) or error}); make "
                "room, or choose another folder with --store."
            ) from error
    spoken = read_cached_segments(folder, prompts) or derive_segments(folder, prompts, seed)
    return Corpus(
        name=CARD.name,
        title=CARD.title,
        licence=CARD.licence,
        utterances=tuple(utterance(prompt, folder, spoken[prompt.id]) for prompt in prompts),
        source=str(folder),
        published=PUBLISHED,
        synthetic=True,
        notes=(
            "The speech is synthetic: espeak-ng made it on this machine, and its emotions are rules of prosody.",
            "A score on it shows that the pipeline works; it says nothing about real speech.",
            f"Demo version {DEMO_VERSION}, espeak-ng {version}, seed {seed}.",
        ),
    )


def script() -> list[Prompt]:
    """All prompts, speaker by speaker: the sentences in every emotion, then the words."""
    prompts: list[Prompt] = []
    for index, speaker in enumerate(SPEAKERS):
        # 5 and 3 are coprime to 16 sentences and 8 words, so that all occur equally often.
        sentences = [(index + 5 * turn) % len(SENTENCES) for turn in range(SENTENCES_PER_SPEAKER)]
        others = [OTHER_WORDS[(index + 3 * turn) % len(OTHER_WORDS)] for turn in range(OTHER_WORDS_PER_SPEAKER)]
        prompts += [
            Prompt(f"{speaker.id}-sentence{number:02}-{emotion}", speaker, SENTENCES[number], emotion=emotion)
            for number in sentences
            for emotion in EMOTIONS
        ]
        prompts += [Prompt(f"{speaker.id}-word-{word}", speaker, word, keyword=word) for word in KEYWORDS]
        prompts += [Prompt(f"{speaker.id}-word-{word}", speaker, word, keyword=UNKNOWN) for word in others]
    return prompts


def utterance(prompt: Prompt, folder: Path, spoken: tuple[TimedSegment, ...] = ()) -> Utterance:
    """The row of a prompt whose recording is in `folder`."""
    return Utterance(
        id=prompt.id,
        audio=AudioCut(AudioFile(folder / prompt.file)),
        speaker=prompt.speaker.id,
        labels=prompt.labels,
        text=prompt.text,
        gender=prompt.speaker.gender,
        split=speaker_split(prompt.speaker),
        segments=spoken,
    )


def speaker_split(speaker: Speaker) -> str:
    """The split that a speaker is in."""
    place = SPEAKERS.index(speaker)
    return "train" if place < TRAIN_SPEAKERS else "dev" if place < TRAIN_SPEAKERS + DEV_SPEAKERS else "test"


# The cache: a folder of FLAC files, their manifest.csv, and a segments.csv with its digest.


def make(folder: Path, prompts: Sequence[Prompt], seed: int) -> None:
    """Synthesise `prompts` into `folder`, replacing what is there.

    The files are written to a temporary folder and moved together. If another process has made the folder in the
    meantime, that one is kept.
    """
    from tqdm import tqdm

    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    with unfinished_folder(folder.parent) as scratch:
        draft = scratch / "draft"
        draft.mkdir()
        with ThreadPoolExecutor(WORKERS) as pool:
            takes = pool.map(perform, prompts, repeat(seed))
            shown = tqdm(takes, desc="synthesising the demo corpus", total=len(prompts), unit=" utterances")
            spoken = {}
            for prompt, take in zip(prompts, shown, strict=True):
                (draft / prompt.file).write_bytes(encoded(take.samples))
                spoken[prompt.id] = take.segments
        write_listing(draft, prompts)
        cache_segments(draft, spoken)
        if intact(folder, prompts):
            return
        if folder.exists():
            os.replace(folder, scratch / "damaged")
        try:
            os.replace(draft, folder)
        except OSError:
            if not intact(folder, prompts):
                raise


def encoded(samples: NDArray[np.int16]) -> bytes:
    """The bytes of a FLAC file; (S,) at 16 kHz. Python writes them, which says so when the disk is full."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def write_listing(folder: Path, prompts: Iterable[Prompt]) -> None:
    """Write the manifest.csv of the files in `folder`, with a digest of each."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id", "speaker", "gender", "emotion", "keyword", "text", "sha256"])
        for prompt in prompts:
            who = [prompt.id, prompt.speaker.id, prompt.speaker.gender]
            what = [prompt.emotion or "", prompt.keyword or "", prompt.text]
            writer.writerow([prompt.file, *who, *what, fingerprint_files([folder / prompt.file])])


def intact(folder: Path, prompts: Iterable[Prompt]) -> bool:
    """True if `folder` lists a file for every prompt, and every file matches its digest."""
    try:
        rows = read_table(folder / "manifest.csv", lambda columns: None).rows
    except UserError:  # there is none, or it is damaged
        return False
    digests = {row.get("path"): row.get("sha256") for _, row in rows}
    files = [prompt.file for prompt in prompts]
    return all((folder / name).is_file() and fingerprint_files([folder / name]) == digests.get(name) for name in files)


def cache_segments(folder: Path, spoken: dict[str, tuple[TimedSegment, ...]]) -> None:
    """Write the segments of every prompt id to segments.csv in `folder`, and their version and digest beside it.

    A half-written file does not match its digest, and is derived again.
    """
    path = folder / segments.FILE_NAME
    path.write_bytes(segments.segments_csv((name, segment) for name, timed in spoken.items() for segment in timed))
    path.with_suffix(".sha256").write_text(segments_key(path), encoding="utf-8")


def segments_key(path: Path) -> str:
    """Version and digest of a segments.csv."""
    return f"version {SEGMENTS_VERSION}, {fingerprint_files([path])}\n"


def read_cached_segments(folder: Path, prompts: Sequence[Prompt]) -> dict[str, tuple[TimedSegment, ...]] | None:
    """Segments by prompt id from the cache; None if they are missing, damaged or of another version."""
    path = folder / segments.FILE_NAME
    try:
        key = path.with_suffix(".sha256").read_text(encoding="utf-8", errors="replace")
        if key != segments_key(path):
            return None
    except OSError:
        return None
    found = segments.read_segments(path, [utterance(prompt, folder) for prompt in prompts], {})
    return {prompt.id: found.get(prompt.id, ()) for prompt in prompts}


def derive_segments(folder: Path, prompts: Sequence[Prompt], seed: int) -> dict[str, tuple[TimedSegment, ...]]:
    """Derive the segments by synthesising the clean voice again, for a cache without them; the audio is not touched.

    They are added to the cache if it can be written.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        takes = pool.map(speak_clean, prompts, repeat(seed))
        spoken = {prompt.id: take.segments for prompt, take in zip(prompts, takes, strict=True)}
    with contextlib.suppress(OSError):  # a read-only cache still has its audio
        cache_segments(folder, spoken)
    return spoken


# The sound of one utterance. All that is drawn for it comes from its own generator, so that the order does not matter.


class Take(NamedTuple):
    """One synthesised utterance: (S,) 16-bit samples at 16 kHz, and where there is speech in them."""

    samples: NDArray[np.int16]
    segments: tuple[TimedSegment, ...]


class CleanTake(NamedTuple):
    """An utterance before room and noise.

    samples: (S,) speech with silence before and after it.
    random: the utterance's generator, to draw room and noise from.
    """

    samples: Samples
    segments: tuple[TimedSegment, ...]
    prosody: Prosody
    random: Generator


def perform(prompt: Prompt, seed: int) -> Take:
    """Synthesise one utterance, the same at every call with the same seed."""
    clean = speak_clean(prompt, seed)
    recording = in_room(clean.samples, prompt.speaker.reverberation, DIRECT_TO_REVERBERANT, clean.random)
    recording = with_noise(recording, SIGNAL_TO_NOISE, NOISE_TILT, clean.random)
    recording *= decibels(LEVEL + clean.prosody.loudness) / root_mean_square(recording)
    recording *= min(1.0, LARGEST_PEAK / np.abs(recording).max())
    return Take(np.round(recording * 32767).astype(np.int16), clean.segments)


def speak_clean(prompt: Prompt, seed: int) -> CleanTake:
    """Synthesise the voice of one utterance, with silence before and after it; no room and no noise."""
    random = np.random.default_rng(list(hashlib.sha256(f"{seed}/{prompt.id}".encode()).digest()))
    prosody = draw_prosody(prompt.emotion or "neutral", random)
    voice = speak(prompt, prosody)
    speech = with_breath(tilted(voice, prosody.tilt), prosody.breath, random)
    before, after = (round(SAMPLE_RATE * random.uniform(*SILENCE)) for _ in range(2))
    spoken = speech_segments(voice, before, prompt.speaker.id)
    return CleanTake(np.pad(speech, (before, after)), spoken, prosody, random)


def speech_segments(voice: Samples, before: int, speaker: str) -> tuple[TimedSegment, ...]:
    """Where there is speech, from the clean voice (S,) that begins `before` samples into the utterance.

    To the millisecond, which is how they are cached.
    """
    intervals = sound_intervals(voice, SPEECH_FRAME, SPEECH_RANGE, SPEECH_GAP)
    times = [[round((before + place) / SAMPLE_RATE, 3) for place in interval] for interval in intervals]
    return tuple(TimedSegment(start, end, speaker) for start, end in times)


def draw_prosody(emotion: str, random: Generator) -> Prosody:
    """Draw the prosody of one utterance in an emotion."""
    means, spreads = astuple(EMOTIONS[emotion]), astuple(SPREAD)
    return Prosody(*(random.normal(mean, spread) for mean, spread in zip(means, spreads, strict=True)))


def speak(prompt: Prompt, prosody: Prosody) -> Samples:
    """The clean voice, (S,) at 16 kHz, without loudness and voice quality."""
    semitones = prompt.speaker.pitch + prosody.pitch
    samples, rate = espeak.synthesise(
        f"{prompt.text}.",
        prompt.speaker.voice,
        rate=round(np.clip(prompt.speaker.rate * (1 + prosody.rate / 100), 80, 450)),
        pitch=round(np.clip(50 + semitones / SEMITONES_PER_PITCH_POINT, 0, 99)),
        pitch_range=round(np.clip(50 + prosody.pitch_range, 0, 99)),
    )
    return resample(torch.from_numpy(samples), rate).numpy().astype(np.float64)
