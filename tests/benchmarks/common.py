"""What the benchmarks share: the command line, the machine, tables, and a corpus of noise."""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from torch import Tensor

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Corpus, Utterance
from downstream.data.dataset import Dataset
from downstream.data.splits import Fold, Split
from downstream.data.superb_emotion_split import superb_draw
from downstream.recipes.options import Options
from downstream.tasks.classification import ClassificationRecipe
from downstream.tasks.classification.data import ClassTargets
from downstream.tasks.registry import load_recipe
from upstream.base import SAMPLE_RATE, Upstream
from upstream.encode import Item
from upstream.errors import UserError
from upstream.extract import SHARD_UTTERANCES
from upstream.processor import processor
from upstream.store import StateStore, StoreKey
from upstream.terminal import plain_table

Result = TypeVar("Result")

REPOSITORY = Path(__file__).resolve().parents[2]
REDIRECTED_WIDTH = 140  # columns of tables in a file or a pipe, which have no width of their own

# IEMOCAP's four classes: utterances of each session, and hours of all of them (SUPERB, section 7 of its recipe).
SESSIONS = (1085, 1023, 1151, 1031, 1241)
HOURS = 7.0
SPEAKERS = 2 * len(SESSIONS)
SHORTEST, LONGEST = 0.6, 34.0  # seconds
SPREAD = 0.65  # standard deviation of the logarithm of the durations


# ---------------------------------------------------------------- the command line


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and leaves the description as it was written."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line that shows its defaults and takes --small."""
    made = argparse.ArgumentParser(description=description, formatter_class=Formatter, allow_abbrev=False)
    made.add_argument("--small", action="store_true", help="sizes that only show that it works, in seconds")
    return made


def parse(made: argparse.ArgumentParser, small: Mapping[str, object]) -> argparse.Namespace:
    """The options; with --small these values stand for those that were not typed."""
    options = made.parse_args()
    if options.small:
        made.set_defaults(**small)
        options = made.parse_args()
    return options


def carry_out(main: Callable[[], None]) -> None:
    """Run a benchmark; what the user can fix is a sentence and exit status 2."""
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def say(sentence: str) -> None:
    """What goes on at the moment, beside the tables."""
    print(sentence, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- tables


def machine(device: torch.device | None = None) -> str:
    """Processor, cores, threads, PyTorch and, where one is used, the GPU."""
    gpu = f", {torch.cuda.get_device_name(device)}" if device is not None and device.type == "cuda" else ""
    cores, threads = os.cpu_count(), torch.get_num_threads()
    return f"{processor()}, {cores} cores, {threads} threads{gpu}, PyTorch {torch.__version__}"


def show(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    device: torch.device | None = None,
    left: Sequence[str] | None = None,
) -> None:
    """Print a table below the machine's description, and sentences below it.

    left: columns that hold words; the first one where nothing is said.
    """
    console = Console(width=None if sys.stdout.isatty() else REDIRECTED_WIDTH, highlight=False, markup=False)
    table = plain_table(title=title)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in (left or headings[:1]) else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(f"\n{machine(device)}")
    console.print(table)
    for note in notes:
        console.print(f"- {note}")


def readable_time(seconds: float) -> str:
    """12.3 s, 4.2 min, 3.1 h, 5.4 d."""
    for unit, size, beyond in (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, 172_800.0)):
        if seconds < beyond:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"


# ---------------------------------------------------------------- the clock


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Wall seconds that a call takes, and what it returns."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median of the wall seconds of several calls."""
    return statistics.median(timed(call)[0] for _ in range(repeats))


# ---------------------------------------------------------------- a corpus of noise


@dataclass(frozen=True)
class Noise:
    """Audio of its own: bursts of noise, three a second, drawn from a seed whenever it is loaded."""

    seed: int
    samples: int

    def load(self) -> Tensor:
        return noise(self.samples, self.seed)


def noise(samples: int, seed: int, rate: int = SAMPLE_RATE) -> Tensor:
    """Noise at `rate` Hz that comes and goes three times a second, (samples,) float32."""
    waveform = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    phase = torch.arange(samples) * (3.0 * 2.0 * math.pi / rate)
    return waveform * (0.05 * (1.0 + phase.sin()))


def noise_items(seconds: Sequence[float]) -> list[Item]:
    """Utterances of noise of these durations, no two alike."""
    items = []
    for index, duration in enumerate(seconds):
        samples = round(duration * SAMPLE_RATE)
        digest = hashlib.sha256(f"noise {index} {samples}".encode()).hexdigest()
        items.append(Item(f"noise-{index}", Noise(index, samples), digest, samples / SAMPLE_RATE))
    return items


def durations(count: int, total: float, seed: int = 0) -> list[float]:
    """Seconds of `count` utterances, `total` together: log-normal, cut off at SHORTEST and LONGEST."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.exp(SPREAD * torch.randn(count, generator=generator, dtype=torch.float64))
    low, high = 0.0, LONGEST / float(drawn.min())
    for _ in range(60):  # find the factor by halving: the sum grows with it
        factor = (low + high) / 2
        if float((drawn * factor).clamp(SHORTEST, LONGEST).sum()) < total:
            low = factor
        else:
            high = factor
    seconds: list[float] = (drawn * low).clamp(SHORTEST, LONGEST).tolist()
    return seconds


def iemocap_items() -> list[Item]:
    """As many utterances as IEMOCAP has of SUPERB's four classes, and as many hours."""
    return noise_items(durations(sum(SESSIONS), HOURS * 3600))


def iemocap_split() -> Split:
    """SUPERB's five folds over as many utterances, each session one after the other."""
    starts = [sum(SESSIONS[:index]) for index in range(len(SESSIONS))]
    sessions = [range(start, start + size) for start, size in zip(starts, SESSIONS, strict=True)]
    folds = []
    for number, tested in enumerate(sessions):
        others = [index for session in sessions if session is not tested for index in session]
        train, dev = (tuple(others[i] for i in part) for part in superb_draw(len(others)))
        folds.append(Fold(f"fold{number + 1}", train, dev, tuple(tested)))
    return Split(tuple(folds), "SUPERB's sizes")


def dealt_split(count: int, folds: int = 5) -> Split:
    """Speaker-disjoint folds as the emotion recipe makes them, dealt in turn: one tested, the next for development."""

    def part(number: int) -> tuple[int, ...]:
        return tuple(range(number % folds, count, folds))

    made = []
    for number in range(folds):
        held_out = {number, (number + 1) % folds}
        train = tuple(index for index in range(count) if index % folds not in held_out)
        made.append(Fold(f"fold{number + 1}", train, part(number + 1), part(number)))
    return Split(tuple(made), "dealt in turn")


def noise_dataset(items: Sequence[Item], split: Split, classes: int = 4) -> Dataset:
    """Utterances of noise with classes drawn at random, as the experiment takes them.

    Speakers take turns, so that those of `dealt_split` are disjoint. What is encoded are the items; the utterances' own
    recordings are names of files that there are not.
    """
    names = tuple(f"class {number}" for number in range(classes))
    targets = torch.randint(classes, (len(items),), generator=torch.Generator().manual_seed(1)).tolist()
    utterances = tuple(
        Utterance(item.name, AudioCut(AudioFile(Path(item.name))), f"speaker {index % SPEAKERS}")
        for index, item in enumerate(items)
    )
    return Dataset(
        corpus=Corpus("noise", "noise", "", utterances, "made here", synthetic=True),
        column="class",
        utterances=utterances,
        items=tuple(items),
        split=split,
        classes=names,
        labels=tuple(names[number] for number in targets),
        targets=ClassTargets(names, tuple(targets)),
    )


def store_random_means(root: Path, upstream: Upstream, items: Sequence[Item]) -> None:
    """Fill the store of this upstream's means with random numbers: learning takes as long on them as on real ones."""
    store = StateStore(root, StoreKey.of(upstream), upstream.name)
    generator = torch.Generator().manual_seed(2)
    for first in range(0, len(items), SHARD_UTTERANCES):
        some = items[first : first + SHARD_UTTERANCES]
        means = torch.randn(len(some), upstream.num_layers, upstream.dim, generator=generator)
        store.add([item.digest for item in some], list(means))


def classifier(name: str, overrides: Sequence[str] = ()) -> ClassificationRecipe:
    """A recipe of classification by its name."""
    recipe = load_recipe(name, overrides)
    assert isinstance(recipe, ClassificationRecipe)
    return recipe


def quiet_options(folder: Path) -> Options:
    """An experiment's options with everything below one folder and no progress bars."""
    return Options(data=None, results=folder / "results", store=folder / "store", progress=False)
