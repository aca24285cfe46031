"""The embedded corpus, `demo`: speech that espeak-ng synthesises on the user's machine, in seconds, with known truth.

Sixteen voices in eight accents of English are its speakers. Each reads sentences in four emotions, which are rules of
prosody (pitch, pitch range, rate, loudness, voice quality), and single words, some of them keywords. The rules
overlap, the loudness of the recording varies, and every utterance gets noise and a room of its own, so that the
tasks can be learned but not without error.

It exists to try the harness without a download. It is synthetic, and a score on it says nothing about real speech.
"""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from downstream.audio import AudioFile, Segment, resample
from downstream.corpora import espeak
from downstream.corpora.cards import DEMO as CARD
from downstream.corpora.table import Corpus, Published, Utterance
from upstream.base import SAMPLE_RATE
from upstream.errors import MendableError
from upstream.fingerprint import fingerprint_files

# Part of the cache's key. To be raised with every change that can alter a sample, a label or a transcript.
DEMO_VERSION = 1

WORKERS = 2  # threads; each waits most of its time for a process of espeak-ng

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Speaker:
    """A voice and the room it is recorded in.

    voice: espeak-ng's language and variant.
    pitch: semitones above the variant's own.
    rate: words a minute when neutral.
    reverberation: seconds until the room's echo has fallen by 60 dB.
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

# Who is trained on, and who is for development; the others are for the test. Each part has as many of both genders.
TRAINED, DEVELOPED = 8, 4

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
    """How something is said, beside the speaker's neutral way.

    pitch: semitones.
    pitch_range: points of espeak-ng's scale; 0 is the voice's own range, -50 monotone.
    rate: percent.
    loudness: dB.
    tilt: dB an octave by which the spectrum rises; a pressed voice is bright, a lax one dark.
    breath: dB of the noise of breath beside the speech.
    """

    pitch: float
    pitch_range: float
    rate: float
    loudness: float
    tilt: float
    breath: float


# Directions as reviewed by Juslin and Laukka (2003), "Communication of emotions in vocal expression and music
# performance": anger and happiness are faster, louder, brighter, higher and more varied, sadness the contrary. The
# sizes are chosen, with SPREAD, so that a linear classifier of simple features does well and still errs.
EMOTIONS = {
    "neutral": Prosody(pitch=0.0, pitch_range=0, rate=0, loudness=0.0, tilt=0.0, breath=-30),
    "happy": Prosody(pitch=4.0, pitch_range=35, rate=8, loudness=2.0, tilt=1.0, breath=-30),
    "angry": Prosody(pitch=1.0, pitch_range=15, rate=15, loudness=4.0, tilt=2.5, breath=-38),
    "sad": Prosody(pitch=-1.5, pitch_range=-25, rate=-15, loudness=-3.0, tilt=-1.5, breath=-20),
}

# Standard deviation of every utterance about its emotion.
SPREAD = Prosody(pitch=1.0, pitch_range=10, rate=6, loudness=4.0, tilt=0.6, breath=4)

SEMITONES_PER_PITCH_POINT = 12 / 50  # espeak-ng: 50 points are an octave
LEVEL = -26.0  # dB below full scale, the mean level of neutral speech
LARGEST_PEAK = 0.95  # of full scale; utterances that would be louder are turned down
SIGNAL_TO_NOISE = (15.0, 30.0)  # dB, drawn evenly
NOISE_TILT = (-6.0, 0.0)  # dB an octave, drawn evenly: from brown noise to white
DIRECT_TO_REVERBERANT = (4.0, 12.0)  # dB, drawn evenly
SILENCE = (0.08, 0.20)  # seconds before and after the speech, drawn evenly

# What the constants above add up to, counted by hand so that a slip in them is noticed.
PUBLISHED = Published(
    utterances=384,
    speakers=16,
    labels={
        "emotion": {"neutral": 48, "happy": 48, "angry": 48, "sad": 48},
        "keyword": {**dict.fromkeys(KEYWORDS, 16), UNKNOWN: 32},
    },
    source="the design in downstream/corpora/demo.py: 192 sentences and 192 words",
)


@dataclass(frozen=True)
class Prompt:
    """One utterance to be made: who says what, and what is to be learned of it."""

    id: str
    speaker: Speaker
    text: str
    emotion: str | None = None
    keyword: str | None = None

    @property
    def file(self) -> str:
        """Name of its file in the cache."""
        return f"{self.id}.flac"

    @property
    def labels(self) -> dict[str, str]:
        """What is to be learned of it, by label column."""
        columns = {"emotion": self.emotion, "keyword": self.keyword}
        return {column: label for column, label in columns.items() if label is not None}


def load(cache: Path, seed: int = 0) -> Corpus:
    """The demo corpus, from `cache`, or synthesised into it where it is not there or damaged.

    cache: the folder of all cached corpora; this one lies in `demo/` and then by version, espeak-ng and seed.
    seed: of everything that is drawn: prosody, noise, rooms. Utterances, labels and transcripts are the same for all.

    Raises MendableError where espeak-ng is not installed or does not run, and where `cache` cannot be written.
    """
    version = espeak.version()
    folder = cache / "demo" / f"v{DEMO_VERSION}-espeak-{version}-seed{seed}"
    prompts = script()
    if not intact(folder, prompts):
        try:
            make(folder, prompts, seed)
        except OSError as error:
            raise MendableError(
                f"The demo corpus cannot be written to {folder} ({error}); make room, or use another cache folder."
            ) from error
    return Corpus(
        name=CARD.name,
        title=CARD.title,
        licence=CARD.licence,
        utterances=tuple(utterance(prompt, folder) for prompt in prompts),
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
    """Everything that is said, speaker by speaker: the sentences in every emotion, then the words."""
    prompts: list[Prompt] = []
    for index, speaker in enumerate(SPEAKERS):
        # 5 and 3 have no divisor in common with 16 sentences and 8 words, so that all come up equally often.
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


def utterance(prompt: Prompt, folder: Path) -> Utterance:
    """The row of a prompt whose recording lies in `folder`."""
    return Utterance(
        id=prompt.id,
        audio=Segment(AudioFile(folder / prompt.file)),
        speaker=prompt.speaker.id,
        labels=prompt.labels,
        text=prompt.text,
        gender=prompt.speaker.gender,
        split=split_of(prompt.speaker),
    )


def split_of(speaker: Speaker) -> str:
    """The part of the corpus that a speaker is in."""
    place = SPEAKERS.index(speaker)
    return "train" if place < TRAINED else "dev" if place < TRAINED + DEVELOPED else "test"


# The cache: a folder of FLAC files and their listing, which is complete or not there.


def make(folder: Path, prompts: Sequence[Prompt], seed: int) -> None:
    """Synthesise `prompts` into `folder`, in place of what may be there.

    The files are written elsewhere and moved at once. Of two processes that make the same folder at the same time,
    one finds it made when it is done, and leaves it.
    """
    from tqdm import tqdm

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        draft = Path(scratch) / "draft"
        draft.mkdir()
        with ThreadPoolExecutor(WORKERS) as pool:
            takes = pool.map(perform, prompts, repeat(seed))
            shown = tqdm(takes, desc="synthesising the demo corpus", total=len(prompts), unit=" utterances")
            for prompt, samples in zip(prompts, shown, strict=True):
                soundfile.write(draft / prompt.file, samples, SAMPLE_RATE, subtype="PCM_16")
        write_listing(draft, prompts)
        if intact(folder, prompts):
            return
        if folder.exists():
            os.replace(folder, Path(scratch) / "damaged")
        try:
            os.replace(draft, folder)
        except OSError:
            if not intact(folder, prompts):
                raise


def write_listing(folder: Path, prompts: Iterable[Prompt]) -> None:
    """Write the table of the files in `folder`, with a digest of each, as `manifest.csv`."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id", "speaker", "gender", "emotion", "keyword", "text", "sha256"])
        for prompt in prompts:
            who = [prompt.id, prompt.speaker.id, prompt.speaker.gender]
            what = [prompt.emotion or "", prompt.keyword or "", prompt.text]
            writer.writerow([prompt.file, *who, *what, fingerprint_files([folder / prompt.file])])


def intact(folder: Path, prompts: Iterable[Prompt]) -> bool:
    """Whether `folder` lists a file for every prompt, and every file is there as it was written."""
    listing = folder / "manifest.csv"
    if not listing.is_file():
        return False
    with listing.open(newline="", encoding="utf-8", errors="replace") as file:
        digests = {row.get("path"): row.get("sha256") for row in csv.DictReader(file)}
    files = [prompt.file for prompt in prompts]
    return all((folder / name).is_file() and fingerprint_files([folder / name]) == digests.get(name) for name in files)


# The sound of one utterance. Everything drawn for it comes from its own generator, so that the order does not matter.


def perform(prompt: Prompt, seed: int) -> NDArray[np.int16]:
    """Make one utterance: (S,) 16-bit samples at 16 kHz, the same at every call with the same seed."""
    random = np.random.default_rng(list(hashlib.sha256(f"{seed}/{prompt.id}".encode()).digest()))
    prosody = draw_prosody(prompt.emotion or "neutral", random)
    speech = tilted(speak(prompt, prosody), prosody.tilt)
    speech = with_breath(speech, prosody.breath, random)
    before, after = (round(SAMPLE_RATE * random.uniform(*SILENCE)) for _ in range(2))
    recording = in_room(np.pad(speech, (before, after)), prompt.speaker.reverberation, random)
    recording = with_noise(recording, random)
    recording *= decibels(LEVEL + prosody.loudness) / root_mean_square(recording)
    recording *= min(1.0, LARGEST_PEAK / np.abs(recording).max())
    return np.round(recording * 32767).astype(np.int16)


def draw_prosody(emotion: str, random: Generator) -> Prosody:
    """One way of saying something in an emotion."""
    means, spreads = astuple(EMOTIONS[emotion]), astuple(SPREAD)
    return Prosody(*(random.normal(mean, spread) for mean, spread in zip(means, spreads, strict=True)))


def speak(prompt: Prompt, prosody: Prosody) -> Samples:
    """The clean speech, (S,) at 16 kHz. Loudness and voice quality are not yet in it."""
    semitones = prompt.speaker.pitch + prosody.pitch
    samples, rate = espeak.synthesise(
        f"{prompt.text}.",
        prompt.speaker.voice,
        rate=round(np.clip(prompt.speaker.rate * (1 + prosody.rate / 100), 80, 450)),
        pitch=round(np.clip(50 + semitones / SEMITONES_PER_PITCH_POINT, 0, 99)),
        pitch_range=round(np.clip(50 + prosody.pitch_range, 0, 99)),
    )
    return resample(torch.from_numpy(samples), rate).numpy().astype(np.float64)


def tilted(signal: Samples, slope: float) -> Samples:
    """(S,) -> (S,): raise the spectrum by `slope` dB an octave about 1 kHz, and evenly below 100 Hz."""
    frequencies = np.maximum(np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE), 100.0)
    gains = 10 ** (slope * np.log2(frequencies / 1000.0) / 20)
    return np.fft.irfft(np.fft.rfft(signal) * gains, len(signal))


def with_breath(speech: Samples, level: float, random: Generator) -> Samples:
    """Add bright noise, `level` dB beside the speech, that rises and falls with it (over 10 ms)."""
    window = np.full(SAMPLE_RATE // 100, 100 / SAMPLE_RATE)
    envelope = np.convolve(np.abs(speech), window, mode="same")
    breath = tilted(random.standard_normal(len(speech)), 3.0) * envelope
    return speech + breath * decibels(level) * root_mean_square(speech) / root_mean_square(breath)


def in_room(speech: Samples, reverberation: float, random: Generator) -> Samples:
    """(S,) -> (S,): add the echo of a room as exponentially decaying noise (Polack's model of a late response).

    The echo falls by 60 dB in `reverberation` seconds, give or take a fifth that is drawn.
    """
    length = round(SAMPLE_RATE * reverberation * random.uniform(0.8, 1.2))
    echo = random.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    echo *= decibels(-random.uniform(*DIRECT_TO_REVERBERANT)) / np.sqrt(np.sum(echo**2))
    response = np.concatenate([[1.0], echo])
    total = len(speech) + length
    return np.fft.irfft(np.fft.rfft(speech, total) * np.fft.rfft(response, total), total)[: len(speech)]


def with_noise(recording: Samples, random: Generator) -> Samples:
    """Add steady noise, at a distance and of a colour that are drawn."""
    noise = tilted(random.standard_normal(len(recording)), random.uniform(*NOISE_TILT))
    level = decibels(-random.uniform(*SIGNAL_TO_NOISE)) * root_mean_square(recording)
    return recording + noise * level / root_mean_square(noise)


def decibels(level: float) -> float:
    """The factor of amplitude that a level in dB stands for."""
    return float(10 ** (level / 20))


def root_mean_square(signal: Samples) -> float:
    """The effective amplitude of a signal."""
    return float(np.sqrt(np.mean(signal**2)))
