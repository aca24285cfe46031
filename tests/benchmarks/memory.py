"""Whether memory grows with the corpus: the peak of extraction, and of learning on means, at 500 and 5,000 utterances.

Each measurement has a process of its own. Extraction fills an empty store with means. Learning begins where a run
begins whose means are all in the store: it checks and reads them, learns five folds and tests them. From its peak the
bytes of the means themselves are taken off, which have to be in memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import upstream
from downstream.states.cache_plan import plan_cache
from downstream.states.preparation import prepare
from downstream.tasks.classification import Classification
from downstream.training.learning import learn
from downstream.training.loop import Snapshots
from downstream.training.scoring import score_heads
from downstream.training.sweep import Config, choose
from upstream.base import Upstream
from upstream.encode import Item
from upstream.errors import UserError
from upstream.extract import fill
from upstream.ranks import ALONE
from upstream.store import StateStore, StoreKey

from . import common

SMALL = {"sizes": [50, 200], "seconds": 0.5, "updates": 20}
STATUS = Path("/proc/self/status")
EVERY = 0.005  # seconds between two looks
MB = 1e6
GOAL = 1.10  # the larger corpus's peak, at most, as a multiple of the smaller one's


@dataclass(frozen=True)
class Peak:
    """Bytes of anonymous memory: before the work began, at its peak, and how many of these hold the means."""

    before: int
    peak: int
    means: int = 0


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--upstream", default="wavlm_nano", help="a name of --list; its weights are drawn from seed 0")
    made.add_argument("--seconds", type=float, default=2.0, help="of every utterance")
    made.add_argument("--sizes", type=int, nargs=2, default=[500, 5000], help="utterances of the two corpora")
    made.add_argument("--updates", type=int, default=300, help="of each fold's head")
    made.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)  # what a process of its own is told
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = common.parse(made, SMALL)
    if not anonymous_memory():
        raise UserError(f"{STATUS} does not say RssAnon; this benchmark needs Linux.")
    if options.measure:
        items = common.noise_items([options.seconds] * options.sizes[0])
        print(json.dumps(asdict(MEASURES[options.measure](load(options), items, options))))
        return
    rows = []
    for name in MEASURES:
        peaks = [in_a_process_of_its_own(name, size, options) for size in options.sizes]
        beyond = [peak.peak - peak.means for peak in peaks]
        for size, peak, own in zip(options.sizes, peaks, beyond, strict=True):
            numbers = [f"{value / MB:.1f}" for value in (peak.before, peak.peak, peak.means, own)]
            rows.append([name, f"{size:,}", *numbers, f"{own / beyond[0]:.3f}"])
    common.show(
        f"peak anonymous memory, MB: {options.upstream}, utterances of {options.seconds:g} s",
        ("what", "utterances", "before", "peak", "of it means", "the rest", "ratio of the rest"),
        rows,
        [
            f"Everything was measured, {EVERY * 1000:.0f} ms between two looks, once each. Audio is noise, made when "
            "it is read; the means that are learned on are random numbers.",
            f"The goal is a ratio of {GOAL:.2f} at most between the two sizes.",
        ],
    )


def load(options: argparse.Namespace) -> Upstream:
    return upstream.load(options.upstream, random_init=True, seed=0)


def in_a_process_of_its_own(name: str, size: int, options: argparse.Namespace) -> Peak:
    common.say(f"{name}, {size:,} utterances")
    with tempfile.TemporaryDirectory() as folder:
        if name == "learning":  # the means are written here, so that writing them is no part of that process
            items = common.noise_items([options.seconds] * size)
            common.store_random_means(states(Path(folder)), load(options), items)
        command = [sys.executable, "-m", "tests.benchmarks.memory", "--measure", name, "--folder", folder]
        command += ["--upstream", options.upstream, "--seconds", str(options.seconds)]
        command += ["--updates", str(options.updates), "--sizes", str(size), str(size)]
        ended = subprocess.run(command, cwd=common.REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return Peak(**json.loads(ended.stdout))


def states(folder: Path) -> Path:
    return common.quiet_options(folder).store / "states"


# ---------------------------------------------------------------- what is measured


def extraction(encoder: Upstream, items: Sequence[Item], options: argparse.Namespace) -> Peak:
    """One pass of the corpus through the encoder."""
    store = StateStore(states(options.folder), StoreKey.of(encoder), encoder.name)
    with Watch() as watch:
        fill(store, encoder, items, progress=False)
    return Peak(watch.before, watch.peak)


def learning(encoder: Upstream, items: Sequence[Item], options: argparse.Namespace) -> Peak:
    """Means read from the store, five folds learned and tested on them."""
    recipe = common.classifier("emotion", [f"training.steps={options.updates}"])
    family = Classification(recipe)
    dataset = common.noise_dataset(items, common.dealt_split(len(items)))
    own = common.quiet_options(options.folder)
    own.results.mkdir(parents=True)
    with Watch() as watch:
        plan = plan_cache(recipe.store, family.needs(), encoder, items, own.store / "states", None)
        source, extracted = prepare(encoder, dataset, recipe.training.crop, plan, own.progress, ALONE)
        assert extracted == 0.0, "the store of random means was not found"
        task = family.task(dataset, encoder)
        heads = [Config(recipe.optimizer.lr, own.seed)]
        snapshots = Snapshots(own.results / "snapshot", own.snapshot_seconds)
        fits = learn(recipe, dataset, task, source, heads, encoder.device, snapshots, own.progress)
        score_heads(choose(fits, [None]), dataset, task, source)
    return Peak(watch.before, watch.peak, 4 * len(items) * encoder.num_layers * encoder.dim)


MEASURES: dict[str, Callable[[Upstream, Sequence[Item], argparse.Namespace], Peak]] = {
    "extraction": extraction,
    "learning": learning,
}


# ---------------------------------------------------------------- how it is measured


class Watch:
    """Looks at the process's memory from a thread; to be used in a `with`.

    RssAnon is what the process wrote into memory and would be lost without it. The peak that the kernel keeps itself,
    VmHWM, counts mapped files as well: libraries, and the shards of the store, which the kernel takes back whenever it
    needs to. A peak between two looks is missed.

    before, peak: bytes.
    """

    def __enter__(self) -> Watch:
        self.before = self.peak = anonymous_memory()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(EVERY):
            self.peak = max(self.peak, anonymous_memory())


def anonymous_memory() -> int:
    """Bytes of anonymous memory that this process has in RAM; 0 where the system does not say."""
    if not STATUS.exists():
        return 0
    found = [line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith("RssAnon:")]
    return 1024 * int(found[0]) if found else 0


if __name__ == "__main__":
    common.carry_out(main)
