"""How long a run takes to begin on a large corpus: the first time, and when its recordings have not changed since.

The corpus is a folder of small WAV files in as many folders as VoxCeleb1 has, with a manifest.csv. A start is a process
of its own: it imports the harness, reads the manifest, chooses and divides the utterances, gets digests and lengths of
their audio, and plans the store. The first one reads every byte, the second one none of them.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from downstream.data import read_dataset
from downstream.recipes import Options
from downstream.results import Question
from downstream.states import plan_cache
from downstream.tasks import family_of, load_recipe
from upstream.catalog import load
from upstream.files import STATES

from . import common

SMALL = {"files": 500}
SPEAKERS, FILES_OF_FOLDER = 1_251, 8
SETTLED = 2.5  # seconds after which a file counts as unchanged
OVERRIDES = ["corpus.name=manifest", "corpus.label=[label]", "corpus.classes=[a, b]", "split.rule=published"]


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--files", type=int, default=150_000, help="of the corpus")
    made.add_argument("--seconds", type=float, default=0.1, help="of every file")
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # what a process of its own is told
    options = common.parse(made, SMALL)
    if options.folder:
        start(options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common.say(f"writing {options.files:,} files")
        write(folder, options.files, options.seconds)
        time.sleep(SETTLED)
        command = [sys.executable, "-m", "tests.benchmarks.start", "--folder", name]
        starts = []
        for what in ("first start", "second start"):
            common.say(what)
            began = time.perf_counter()
            done = subprocess.run(command, cwd=common.REPOSITORY, check=True, capture_output=True, text=True)
            whole, steps = time.perf_counter() - began, [float(seconds) for seconds in done.stdout.split()]
            starts.append((what, [whole, whole - sum(steps), *steps]))
    rows = [[what, *(f"{seconds:.1f}" for seconds in measured)] for what, measured in starts]
    common.show(
        f"seconds until the store is planned: {options.files:,} files of {options.seconds:g} s",
        ("what", "in all", "importing", "manifest, division, digests", "planning"),
        rows,
        [
            "Everything was measured, once each. The files had just been written, so that the first start reads them "
            "from memory: from a disk it takes as long as that takes to give them."
        ],
    )


def write(folder: Path, count: int, seconds: float) -> None:
    """Write noise that is the same in no two files, and a manifest."""
    generator = np.random.default_rng(0)
    parts = ("train", "train", "train", "dev", "test")
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "speaker", "split", "label"))
        for number in range(count):
            speaker, take = number % SPEAKERS, number // SPEAKERS
            place = folder / "wav" / f"id{10_001 + speaker}" / f"{take // FILES_OF_FOLDER:03d}"
            place.mkdir(parents=True, exist_ok=True)
            path = place / f"{take:05d}.wav"
            soundfile.write(path, 0.1 * generator.standard_normal(round(seconds * 16_000)), 16_000)
            table.writerow((path.relative_to(folder), f"id{speaker}", parts[speaker % len(parts)], "ab"[number % 2]))


def start(folder: Path) -> None:
    """Begin a run as `experiment.run` does, up to the plan of its store; print the seconds of each step."""
    recipe = load_recipe("emotion", OVERRIDES)
    family, encoder, store = family_of(recipe), load("fbank"), folder / "store"
    times = [time.perf_counter()]
    read = read_dataset(recipe, family, folder, store, progress=False)
    times.append(time.perf_counter())
    Question.of(encoder, recipe, family, read, Options())
    plan_cache(recipe.store, family.needs(), encoder, read.items, store / STATES, None)
    times.append(time.perf_counter())
    print(*np.diff(times))


if __name__ == "__main__":
    common.carry_out(main)
