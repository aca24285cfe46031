"""What stands between a corpus and the encoder: decoding, mixing down, resampling, the filterbank, and starting up.

Each step is measured on one core beside the plain way of doing it: soundfile, PyTorch and torchaudio as their
documentation has one call them, in turns with this harness and in the same process. The rates are seconds of audio by
seconds of CPU time, so that other programs disturb them little. Then threads decode ahead as they do in extraction, by
the clock; and `run_downstream.py --list` is started beside a Python that only imports PyTorch. The audio is noise that
comes and goes, written to a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from torch import Tensor
from torchaudio.compliance import kaldi

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.resampling import resample
from upstream import filterbank
from upstream.base import SAMPLE_RATE
from upstream.encode import Item, waveforms_ahead

from . import common

SMALL = {"seconds": 1.0, "repeats": 2, "starts": 1, "files": 16}

# Suffix, Hz and channels of the recordings.
RECORDINGS = [
    ("wav", 16_000, 1),
    ("flac", 16_000, 1),
    ("wav", 48_000, 1),
    ("flac", 48_000, 1),
    ("wav", 48_000, 2),
    ("flac", 44_100, 2),
]
RATES = [48_000, 44_100, 22_050, 8_000]
THREADED = [("flac", 16_000, 1), ("flac", 48_000, 1)]
BATCH = 12  # recordings: as many of 5 s as extraction puts together

# An assumption: a GPU on which an encoder takes in so much, and cores that are there to feed it.
GPU_AUDIO_SECONDS, GPU_CORES = 25_000, 16


@dataclass(frozen=True)
class Step:
    """A step, two ways of taking it, and the part of it that libsndfile takes, if any."""

    what: str
    ours: Callable[[], object]
    plain: Callable[[], object]
    libsndfile: Callable[[], object] | None = None


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--seconds", type=float, default=5.0, help="of every recording")
    made.add_argument("--repeats", type=int, default=51, help="of every step; medians are shown")
    made.add_argument("--files", type=int, default=400, help="recordings that threads decode")
    made.add_argument("--starts", type=int, default=5, help="of a process; medians are shown")
    options = common.parse(made, SMALL)
    cores = os.cpu_count() or 1
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = {kind: record(Path(folder), kind, options.seconds) for kind in RECORDINGS}
        show_steps(paths, options)
        show_threads([(kind, paths[kind]) for kind in THREADED], cores, options)
    show_starts(options.starts)


# ---------------------------------------------------------------- on one core


def show_steps(paths: dict[tuple[str, int, int], Path], options: argparse.Namespace) -> None:
    common.say("decoding, resampling and the filterbank")
    rows = []
    for step in [*decoding(paths), *resampling(options.seconds), *features(options.seconds)]:
        ways = [step.ours, step.plain, *([step.libsndfile] if step.libsndfile else [])]
        ours, plain, *decoded = (options.seconds / seconds for seconds in in_turns(ways, options.repeats))
        rows.append([step.what, *(f"{rate:,.0f}" for rate in (ours, plain)), f"{ours / plain:.1f}"])
        rows[-1].append(f"{decoded[0]:,.0f}" if decoded else "")
    needed = GPU_AUDIO_SECONDS / GPU_CORES
    common.show(
        "seconds of audio by CPU seconds",
        ("step", "here", "plain way", "ratio", "libsndfile alone"),
        rows,
        [
            f"An encoder that takes {GPU_AUDIO_SECONDS:,} s of audio a second, fed by {GPU_CORES} cores, needs "
            f"{needed:,.0f} s a second of each core for all that is done to an utterance.",
            "Loading is a recording to a checked waveform at 16 kHz; plainly: soundfile through a Python stream, "
            "PyTorch's mean and isfinite, torchaudio.functional.resample. libsndfile alone is what cannot be saved.",
            "The filterbank with its differences over time and standardised; plainly: torchaudio.compliance.kaldi, "
            "compute_deltas, torch.std_mean.",
            f"Everything was measured, in turns: {options.seconds:g} s at a time, medians of {options.repeats}.",
        ],
    )


def decoding(paths: dict[tuple[str, int, int], Path]) -> list[Step]:
    steps = []
    for (suffix, rate, channels), path in paths.items():
        name = f"{suffix.upper()}, {rate / 1000:g} kHz, {'stereo' if channels == 2 else 'mono'}"
        whole = AudioCut(AudioFile(path))
        steps.append(
            Step(
                f"load {name}", whole.load, partial(load_plainly, path), partial(soundfile.read, path, dtype="float32")
            )
        )
    return steps


def resampling(seconds: float) -> list[Step]:
    steps = []
    for rate in RATES:
        waveform = noise(rate, seconds)
        plain = partial(torchaudio.functional.resample, waveform, rate, SAMPLE_RATE)
        steps.append(Step(f"resample {rate / 1000:g} kHz", partial(resample, waveform, rate), plain))
    return steps


def features(seconds: float) -> list[Step]:
    waveform = noise(SAMPLE_RATE, seconds)
    return [
        Step(name, partial(filterbank.load(name), [waveform]), partial(features_plainly, waveform, name))
        for name in ("fbank", "mfcc")
    ]


def load_plainly(path: Path) -> Tensor:
    with path.open("rb") as stream, soundfile.SoundFile(stream) as sound:
        waveform = torch.from_numpy(sound.read(dtype="float32", always_2d=True)).mean(dim=1)
        rate = sound.samplerate
    if not bool(torch.isfinite(waveform).all()):
        raise ValueError(path)
    resampled: Tensor = torchaudio.functional.resample(waveform, rate, SAMPLE_RATE)
    return resampled


def features_plainly(waveform: Tensor, name: str) -> Tensor:
    channel = waveform.unsqueeze(0)
    if name == "fbank":
        static = kaldi.fbank(channel, num_mel_bins=80, dither=0.0)
    else:
        static = kaldi.mfcc(channel, num_ceps=13, dither=0.0)
    first = torchaudio.functional.compute_deltas(static.T.unsqueeze(0))
    second = torchaudio.functional.compute_deltas(first)
    together = torch.cat([static, first[0].T, second[0].T], dim=1)
    deviation, mean = torch.std_mean(together, dim=0)
    return (together - mean) / (deviation + 1e-10)


def in_turns(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median CPU seconds of each call; they take turns, after one that warms up."""
    taken = [[cpu_seconds(call) for call in calls] for _ in range(repeats + 1)]
    return [statistics.median(times) for times in zip(*taken[1:], strict=True)]


def cpu_seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def noise(rate: int, seconds: float) -> Tensor:
    """Noise at `rate` Hz, (S,) float32."""
    return common.noise(round(rate * seconds), seed=rate, rate=rate)


def record(folder: Path, kind: tuple[str, int, int], seconds: float) -> Path:
    """A recording in 16 bits."""
    suffix, rate, channels = kind
    path = folder / f"{rate}-{channels}.{suffix}"
    samples = noise(rate, seconds).numpy()
    soundfile.write(path, np.repeat(samples[:, None], channels, axis=1), rate, subtype="PCM_16")
    return path


# ---------------------------------------------------------------- in threads


def show_threads(
    recordings: Sequence[tuple[tuple[str, int, int], Path]], cores: int, options: argparse.Namespace
) -> None:
    common.say("decoding ahead")
    counts = [count for count in (1, 2, 4, 8, 16, 32) if count <= max(cores, 2)]
    rows = []
    for (suffix, rate, _), path in recordings:
        items = [Item(path.name, AudioCut(AudioFile(path)), "", options.seconds)] * options.files
        batches = [items[first : first + BATCH] for first in range(0, len(items), BATCH)]
        rates = [options.files * options.seconds / decoding_ahead(batches, count) for count in counts]
        rows.append([f"{suffix.upper()}, {rate / 1000:g} kHz", *(f"{rate:,.0f}" for rate in rates)])
    common.show(
        "decoding ahead",
        ("recordings", *(f"{count} thread{'s' if count > 1 else ''}" for count in counts)),
        rows,
        [
            "Seconds of audio a second by the clock, nothing else being done; "
            f"{options.files} recordings of {options.seconds:g} s, {BATCH} in a batch."
        ],
    )


def decoding_ahead(batches: Sequence[Sequence[Item]], workers: int) -> float:
    """Seconds that `workers` threads take."""

    def pass_over() -> None:
        with closing(waveforms_ahead(batches, workers)) as decoded:
            for _ in decoded:
                pass

    return common.median_seconds(pass_over, 3)


# ---------------------------------------------------------------- starting


def show_starts(starts: int) -> None:
    common.say("starting processes")
    commands = {
        "python -c pass": ["-c", "pass"],
        "python -c 'import torch'": ["-c", "import torch"],
        "run_downstream.py --list": ["run_downstream.py", "--list"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(starts + 1):
        for name, arguments in commands.items():  # in turns, so that all meet the same load
            taken[name].append(common.timed(partial(start, arguments))[0])
    seconds = {name: statistics.median(times[1:]) for name, times in taken.items()}  # the first one reads from the disk
    torch_alone = seconds["python -c 'import torch'"]
    common.show(
        "starting",
        ("command", "seconds", "beyond import torch", "ratio"),
        [
            [name, f"{value:.2f}", f"{value - torch_alone:+.2f}", f"{value / torch_alone:.2f}"]
            for name, value in seconds.items()
        ],
        [f"Medians of {starts} after one that is not counted. The listing may take 0.5 s more than PyTorch's import."],
    )


def start(arguments: Sequence[str]) -> None:
    subprocess.run([sys.executable, *arguments], cwd=common.REPOSITORY, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    common.carry_out(main)
