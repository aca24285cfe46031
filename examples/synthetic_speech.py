"""Make hours of speech for pre-training: synthetic voices, drawn texts, rooms, noise and levels.

python examples/synthetic_speech.py my_speech --sources espeak --minutes 75

Every source becomes a folder with FLAC files (16 kHz, mono, one speaker each), manifest.csv (path, speaker), which
`-c manifest --data my_speech/espeak` reads, and SOURCE.md (origin, licence, what was done). Files that are there are
kept, so that the same command goes on where it was stopped, and more minutes are added to those before. What is drawn
follows from --seed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from numpy.random import Generator
from recorded_prompts import ABOUT as ABOUT_ASTERISK
from recorded_prompts import DEBIAN_FOLDER, asterisk_prompts, joined
from scipy.signal import butter, sosfilt
from synthetic_voices import Speak, espeak_speakers, flite_speakers, hibari_speakers, kokoro_speakers
from tqdm import tqdm

from downstream.data import read_table
from downstream.data.acoustics import Samples, decibels, in_room, root_mean_square, tilted, with_noise
from downstream.data.resampling import resample
from upstream.arguments import folder, positive, whole_number
from upstream.base import SAMPLE_RATE
from upstream.command_line import carry_out, take_any_text
from upstream.errors import UserError

# A synthetic recording, of which everything is drawn uniformly but the loudness of utterances.
FILE_SECONDS = (25.0, 45.0)
PAUSE = (0.1, 0.6)  # seconds between utterances
LOUDNESS = 3.0  # standard deviation of the utterances' levels, dB
TILT = (-3.0, 3.0)  # dB an octave
REVERBERATION = (0.1, 0.5)  # seconds in which a room's echo falls by 60 dB
DIRECT_TO_REVERBERANT = (0.0, 15.0)  # dB
SIGNAL_TO_NOISE, NOISE_TILT = (10.0, 35.0), (-6.0, 0.0)  # dB; dB an octave
NARROW_BAND, NARROW_BAND_END = 0.1, 3600  # share of recordings that end here, as on the telephone; Hz
LEVEL = (-34.0, -18.0)  # dB below full scale
LARGEST_PEAK = 0.95  # of full scale; louder recordings are attenuated
TEXTS = 20  # of which a synthesiser speaks at least one

ABOUT_SYNTHETIC = {
    "espeak": "Speech synthesised by espeak-ng (https://github.com/espeak-ng/espeak-ng). The program is under the GNU "
    "GPL version 3 or later, which does not cover the sound that it makes.",
    "flite": "Speech synthesised by Flite (http://cmuflite.org), copyright (c) 1999-2001 Language Technologies "
    "Institute, Carnegie Mellon University, and others, under its BSD-like licence.",
    "hibari": "Speech synthesised by hibari-tts (https://github.com/MMWilliams/hibari), copyright 2026 Maureese "
    "Williams, Apache License 2.0; its voice `heart` was distilled from Kokoro-82M "
    "(https://huggingface.co/hexgrad/Kokoro-82M) by hexgrad, Apache License 2.0.",
    "kokoro": "Speech synthesised by Kokoro-82M (https://huggingface.co/hexgrad/Kokoro-82M) by hexgrad, Apache License "
    "2.0, as exported to ONNX by kokoro-onnx (https://github.com/thewh1teagle/kokoro-onnx), MIT; voices from kokoro-js "
    "and phonemes from hibari-tts (https://github.com/MMWilliams/hibari), both Apache License 2.0.",
}
DONE = (
    "Texts were drawn from lists of words by templates. Utterances of a speaker, with pauses between them, were put "
    "into a room (echo falls by 60 dB in 0.1 to 0.5 s), with a spectral tilt (-3 to 3 dB an octave) and noise (10 to "
    "35 dB below the speech); a tenth of the recordings end at 3.6 kHz; levels are -34 to -18 dB of full scale."
)
SOURCES = (*ABOUT_SYNTHETIC, "asterisk")


# ---- recordings


class Recording(NamedTuple):
    """A file to be made.

    samples: makes them, (S,) at 16 kHz.
    """

    name: str
    speaker: str
    samples: Callable[[], Samples]


def recordings_of(source: str, args: argparse.Namespace) -> Iterable[Recording]:
    """Recordings of a source, not made yet. Raises UserError if what makes them is not installed."""
    if source == "asterisk":
        minutes = asterisk_prompts(args.asterisk_sounds, args.seed)
        return [
            Recording(file_name(one.speaker, one.number), one.speaker, partial(joined, one.files)) for one in minutes
        ]
    if source == "kokoro":
        return synthetic(kokoro_speakers(args.kokoro_voices), args.seed)
    speakers = {"espeak": espeak_speakers, "flite": flite_speakers, "hibari": hibari_speakers}[source]
    return synthetic(speakers(), args.seed)


def synthetic(speakers: dict[str, Speak], seed: int) -> Iterator[Recording]:
    """One recording of every speaker, in an order that the seed decides, then another of each, without end."""
    order = np.random.default_rng(seed).permutation(sorted(speakers)).tolist()
    for turn in count():
        for speaker in order:
            perform_it = partial(perform, speakers[speaker], f"{seed}/{speaker}/{turn}")
            yield Recording(file_name(speaker, turn), speaker, perform_it)


def file_name(speaker: str, number: int) -> str:
    """A name that every file system takes."""
    return f"{re.sub('[^a-zA-Z0-9.-]', '_', speaker)}-{number:02}.flac"


def perform(speak: Speak, key: str) -> Samples:
    """Speak, and record it, with all draws from one key."""
    random = np.random.default_rng(list(hashlib.sha256(key.encode()).digest()))
    return recorded(utterances(speak, random.uniform(*FILE_SECONDS), random), random)


def utterances(speak: Speak, seconds: float, random: Generator) -> Samples:
    """Speak until there are so many seconds, pauses between; (S,) at 16 kHz."""
    pieces: list[Samples] = []
    while sum(map(len, pieces)) < seconds * SAMPLE_RATE:
        speech = spoken(speak, random)
        level = decibels(random.normal(0, LOUDNESS)) / root_mean_square(speech)
        pieces += [speech * level, np.zeros(round(random.uniform(*PAUSE) * SAMPLE_RATE))]
    return np.concatenate(pieces)


def spoken(speak: Speak, random: Generator) -> Samples:
    """Speak one utterance; (S,) at 16 kHz. Raises UserError if there is only silence, whatever the text."""
    for _ in range(TEXTS):
        samples, rate = speak(random)
        if np.abs(samples).max(initial=0) > 0:
            at_16_khz: Samples = resample(torch.from_numpy(samples.astype(np.float32)), rate).double().numpy()
            return at_16_khz
    raise UserError(
        f"The synthesiser returned silence for {TEXTS} texts; install it again, or leave it out of --sources"
    )


def recorded(speech: Samples, random: Generator) -> Samples:
    """Put the speech into a room, before a microphone; (S,) -> (S,)."""
    sound = tilted(speech, random.uniform(*TILT))
    sound = in_room(sound, random.uniform(*REVERBERATION), DIRECT_TO_REVERBERANT, random)
    sound = with_noise(sound, SIGNAL_TO_NOISE, NOISE_TILT, random)
    if random.random() < NARROW_BAND:
        sound = np.asarray(sosfilt(butter(8, NARROW_BAND_END, fs=SAMPLE_RATE, output="sos"), sound))
    sound = sound * decibels(random.uniform(*LEVEL)) / root_mean_square(sound)
    return sound * min(1.0, LARGEST_PEAK / float(np.abs(sound).max()))


# ---- the folder of a source


def about(source: str, seed: int) -> str:
    """The text of SOURCE.md."""
    origin = f"{ABOUT_SYNTHETIC[source]}\n\n{DONE}" if source in ABOUT_SYNTHETIC else ABOUT_ASTERISK
    return f"{origin}\n\nMade by: python examples/synthetic_speech.py FOLDER --sources {source} --seed {seed}\n"


def fill(target: Path, description: str, recordings: Iterable[Recording], minutes: float) -> None:
    """Write recordings until there are so many minutes; those that the manifest lists are kept.

    Raises UserError if the folder was made with another description, so by another seed.
    """
    manifest, source = target / "manifest.csv", target / "SOURCE.md"
    listed = {row["path"] for _, row in read_table(manifest, require_path).rows} if manifest.exists() else set()
    if listed and not (source.exists() and source.read_text(encoding="utf-8") == description):
        raise UserError(
            f"{target} was made with another seed or by another version of this program, as {source} tells; choose "
            "another folder, or delete that one"
        )
    seconds = 0.0
    with tqdm(total=round(minutes * 60), desc=target.name, unit=" s") as progress:
        for recording in recordings:
            path = target / recording.name
            if recording.name not in listed:
                target.mkdir(parents=True, exist_ok=True)
                source.write_text(description, encoding="utf-8")
                path.write_bytes(flac(recording.samples()))
                add_line(manifest, recording)
            length = soundfile.info(path).duration
            progress.update(round(length))
            seconds += length
            if seconds >= minutes * 60:
                return


def require_path(columns: list[str]) -> None:
    """Raise UserError if the manifest names no files."""
    if "path" not in columns:
        raise UserError(f"The manifest has no column path, but {', '.join(columns)}; delete the folder to make it anew")


def flac(samples: Samples) -> bytes:
    """The bytes of a FLAC file. Python writes them, which says so when the disk is full."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def add_line(manifest: Path, recording: Recording) -> None:
    """Add a recording to a manifest, which is begun if there is none."""
    begun = manifest.exists()
    with manifest.open("a", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        if not begun:
            lines.writerow(["path", "speaker"])
        lines.writerow([recording.name, recording.speaker])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    take_any_text()
    parser = argparse.ArgumentParser(description="Make speech for pre-training, each source in a folder of its own.")
    parser.add_argument("folder", type=folder, help="the sources' folders are made in it")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=["espeak"], help="(espeak)")
    parser.add_argument("--minutes", type=positive, default=10.0, help="of each source, at least (%(default)s)")
    parser.add_argument("--seed", type=whole_number, default=0, help="of all that is drawn (%(default)s)")
    parser.add_argument(
        "--kokoro-voices", type=folder, default=Path("package/voices"), help="*.bin of kokoro-js (%(default)s)"
    )
    parser.add_argument("--asterisk-sounds", type=folder, default=DEBIAN_FOLDER, help="as in Debian (%(default)s)")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)

    def fill_all() -> int:
        recordings = {source: recordings_of(source, args) for source in args.sources}  # refuses before hours of work
        for source, planned in recordings.items():
            fill(args.folder / source, about(source, args.seed), planned, args.minutes)
        return 0

    return carry_out(fill_all, parser.prog, verbose=False, more="; the same command goes on from here")


if __name__ == "__main__":
    sys.exit(main())
