"""SUPERB's emotion task at IEMOCAP's size: once through the encoder, against the encoder in the training loop.

Three ways, on the same utterances of noise and the same weights (WavLM, untrained, seed 0), at the recipe's 30,000
updates on each of five folds, micro-batches of 4, 8 of them an update, evaluations every 1000 updates:

- this harness: extraction (measured on a random part of the audio, scaled by seconds), means read back, all five
  heads learned and tested (measured whole, on random means of the full size: the time does not depend on values);
- s3prl: its own loop, in its own code, with the encoder run on every micro-batch (some updates measured);
- this harness with store.mode=off: its encoder run on every micro-batch (some updates measured).

What is extrapolated is scaled by seconds of audio, for s3prl padded seconds, from those measured to those of an
average update of the five folds, and to the evaluations that the loop makes: s3prl encodes dev and test at each, in
order, by fours, at the rate of its encoder alone; this harness encodes dev at each, and test once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import upstream
from downstream.data.dataset import Dataset
from downstream.states.cache_plan import plan_cache
from downstream.states.preparation import prepare
from downstream.states.sources import Computed
from downstream.tasks.classification import Classification, ClassificationRecipe
from downstream.tasks.classification.data import class_targets
from downstream.training.learning import learn, make_learners, order_of
from downstream.training.loop import Snapshots
from downstream.training.order import Order
from downstream.training.scoring import score_heads
from downstream.training.sweep import Config, choose
from upstream.base import Upstream
from upstream.encode import Item, encode, seconds_of
from upstream.extract import fill
from upstream.ranks import ALONE
from upstream.store import StateStore, StoreKey
from upstream.wavlm.upstream import WavLMUpstream

from . import common
from .s3prl_loop import SEED, S3prlEmotion, synchronize

SMALL = {"upstream": "wavlm_nano", "minutes": 0.5, "updates": 300, "steps": 1}
TESTED_BY = 4  # utterances in a batch of s3prl's evaluations
SURVEYED = 500  # updates of each fold over which the average update is taken


@dataclass(frozen=True)
class Phase:
    """A row of the table."""

    way: str
    name: str
    seconds: float
    how: str


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--upstream", default="wavlm_base", help="a WavLM's name; its weights are drawn from seed 0")
    made.add_argument("--minutes", type=float, default=8.0, help="of audio on which extraction is measured")
    made.add_argument("--updates", type=int, default=30_000, help="of each fold's head that are measured on means")
    made.add_argument("--steps", type=int, default=3, help="updates that are measured with the encoder in the loop")
    made.add_argument("--dtype", default="float32", help="precision of this harness's encoder; s3prl's is float32")
    made.add_argument("--device", default="cpu", help="of the encoders and of s3prl's head")
    options = common.parse(made, SMALL)

    recipe = common.classifier("superb/er")
    encoder = load(options.upstream, options.device, options.dtype)
    dataset = common.noise_dataset(common.iemocap_items(), common.iemocap_split())
    phases = fast_phases(encoder, recipe, dataset, options)
    phases += in_the_loop(encoder, recipe, dataset, options.steps)
    reference = load(options.upstream, options.device, "float32")
    theirs, error = s3prl_in_the_loop(reference, recipe, dataset, options.steps)
    report([*phases, *theirs], dataset, options, error, encoder.device)


def load(name: str, device: str, dtype: str) -> WavLMUpstream:
    loaded = upstream.load(name, device=device, dtype=dtype, random_init=True, seed=SEED)
    assert isinstance(loaded, WavLMUpstream), f"{name} is no WavLM, so s3prl has no counterpart here"
    return loaded


# ---------------------------------------------------------------- once through the encoder


def fast_phases(
    encoder: Upstream, recipe: ClassificationRecipe, dataset: Dataset, options: argparse.Namespace
) -> list[Phase]:
    """This harness as it comes: extraction, reading, learning, testing."""
    way = f"this harness ({encoder.dtype_name})"
    with tempfile.TemporaryDirectory() as folder:
        common.say("extracting")
        sample = random_part(dataset.items, options.minutes * 60)
        extraction = extraction_seconds(encoder, sample, Path(folder) / "sample")
        measured, whole = seconds_of(sample), seconds_of(dataset.items)
        scaled = f"scaled from {extraction:.1f} s for {measured:.0f} s of audio to {whole:.0f} s"
        phases = [Phase(way, "extraction", extraction * whole / measured, scaled)]
        common.say("learning on means")
        return phases + learning_phases(way, encoder, recipe, dataset, options.updates, Path(folder))


def random_part(items: Sequence[Item], seconds: float) -> list[Item]:
    """Utterances drawn at random until they last that long."""
    part: list[Item] = []
    for index in torch.randperm(len(items), generator=torch.Generator().manual_seed(3)).tolist():
        if seconds_of(part) >= seconds:
            break
        part.append(items[index])
    return part


def extraction_seconds(encoder: Upstream, items: Sequence[Item], root: Path) -> float:
    warm_up = items[:2]
    encode(encoder, warm_up, [item.audio.load() for item in warm_up], "means")
    store = StateStore(root, StoreKey.of(encoder), encoder.name)
    seconds, _ = common.timed(lambda: fill(store, encoder, items, progress=False))
    return seconds


def learning_phases(
    way: str, encoder: Upstream, recipe: ClassificationRecipe, dataset: Dataset, updates: int, folder: Path
) -> list[Phase]:
    """Reading all means from the store, `updates` updates of every fold's head, and the test."""
    own = common.quiet_options(folder)
    common.store_random_means(own.store / "states", encoder, dataset.items)
    measured = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": updates})})
    family = Classification(recipe)
    plan = plan_cache(recipe.store, family.needs(), encoder, dataset.items, own.store / "states", None)
    reading, (source, extracted) = common.timed(
        lambda: prepare(encoder, dataset, recipe.training.crop, plan, own.progress, ALONE)
    )
    assert extracted == 0.0, "the store of random means was not found"
    task = family.task(dataset, encoder)
    heads = [Config(recipe.optimizer.lr, own.seed)]
    own.results.mkdir(parents=True)
    snapshots = Snapshots(own.results / "snapshot", own.snapshot_seconds)
    learning, fits = common.timed(
        lambda: learn(measured, dataset, task, source, heads, encoder.device, snapshots, own.progress)
    )
    testing, _ = common.timed(lambda: score_heads(choose(fits, [None]), dataset, task, source))
    steps = recipe.training.steps
    how = "measured" if updates == steps else f"scaled from {learning:.1f} s for {updates:,} updates"
    return [
        Phase(way, "means checked and read", reading, "measured, on random means"),
        Phase(way, f"5 x {steps:,} updates", learning * steps / updates, f"{how}, on random means"),
        Phase(way, "test", testing, "measured, on random means"),
    ]


# ---------------------------------------------------------------- the encoder in the loop


def orders(recipe: ClassificationRecipe, dataset: Dataset) -> list[Order]:
    return [order_of(fold, dataset, recipe.training) for fold in dataset.split.folds]


def in_the_loop(encoder: Upstream, recipe: ClassificationRecipe, dataset: Dataset, steps: int) -> list[Phase]:
    """This harness as it is with store.mode=off."""
    common.say("this harness with its encoder in the loop")
    task = Classification(recipe).task(dataset, encoder)
    source = Computed(encoder, dataset.items, "means")
    heads = [Config(recipe.optimizer.lr, 0)]
    learner = make_learners(recipe, task, source, heads, dataset.split.folds, encoder.device)[0]
    own_orders = orders(recipe, dataset)
    learner.learn([own_orders[0].update(1)])  # warm-up
    before = source.audio_seconds
    updates = [own_orders[0].update(step) for step in range(2, steps + 2)]
    seconds, _ = common.timed(lambda: learner.learn(updates))
    rate = seconds / (source.audio_seconds - before)
    encoded = average_update(own_orders, seconds_of, dataset.items)
    evaluations = recipe.training.steps // recipe.training.evaluate_every
    dev = evaluations * sum(seconds_of(pick(dataset, fold.dev)) for fold in dataset.split.folds)
    test = sum(seconds_of(pick(dataset, fold.test)) for fold in dataset.split.folds)
    way = f"store.mode=off ({encoder.dtype_name})"
    how = (
        f"extrapolated from {steps} updates: {seconds / steps:.2f} s each, "
        f"{(source.audio_seconds - before) / steps:.0f} s of audio each, {encoded:.0f} s in an average one"
    )
    whole = len(own_orders) * recipe.training.steps
    return [
        Phase(way, f"5 x {recipe.training.steps:,} updates", whole * rate * encoded, how),
        Phase(way, "evaluations", rate * (dev + test), f"extrapolated to {dev + test:,.0f} s of audio at that rate"),
    ]


def s3prl_in_the_loop(
    encoder: WavLMUpstream, recipe: ClassificationRecipe, dataset: Dataset, steps: int
) -> tuple[list[Phase], float]:
    """s3prl's own loop; and how far its hidden states of one utterance are from ours, as a ratio of norms."""
    common.say("s3prl")
    own_orders = orders(recipe, dataset)
    targets = torch.tensor(class_targets(dataset).numbers)
    with tempfile.TemporaryDirectory() as folder:
        theirs = S3prlEmotion(encoder, len(dataset.classes), recipe, Path(folder))
    waveform = dataset.items[0].audio.load()
    ours, same = encoder([waveform]).utterance(0), theirs.hidden_states(waveform)
    error = float((ours - same).norm() / ours.norm())

    seconds = in_upstream = encoded = 0.0
    for step in range(1, steps + 2):
        parts = own_orders[0].update(step).parts
        batches = [pick(dataset, part.tolist()) for part in parts]
        waveforms = [[item.audio.load() for item in batch] for batch in batches]  # s3prl keeps all audio in memory
        synchronize(encoder.device)
        truths = [targets[part] for part in parts]
        took, encoding = common.timed(partial(theirs.step, waveforms, truths))
        if step > 1:  # the first one warms up
            seconds, in_upstream = seconds + took, in_upstream + encoding
            encoded += sum(map(padded_seconds, batches))
    average = average_update(own_orders, padded_seconds, dataset.items)
    evaluated = sum(
        padded_seconds(pick(dataset, part[first : first + TESTED_BY]))
        for fold in dataset.split.folds
        for part in (fold.dev, fold.test)
        for first in range(0, len(part), TESTED_BY)
    ) * (recipe.training.steps // recipe.training.evaluate_every)
    how = (
        f"extrapolated from {steps} updates: {seconds / steps:.2f} s each, {in_upstream / seconds:.1%} in the encoder, "
        f"{encoded / steps:.0f} s of padded audio each, {average:.0f} s in an average one"
    )
    whole = len(own_orders) * recipe.training.steps
    way = "s3prl (float32)"
    return [
        Phase(way, f"5 x {recipe.training.steps:,} updates", whole * seconds / encoded * average, how),
        Phase(
            way,
            "evaluations",
            evaluated * in_upstream / encoded,
            f"extrapolated to {evaluated:,.0f} s of padded audio, the encoder's time alone",
        ),
    ], error


def pick(dataset: Dataset, indices: Iterable[int]) -> list[Item]:
    return [dataset.items[index] for index in indices]


def padded_seconds(batch: Sequence[Item]) -> float:
    """Seconds of a batch, each utterance filled up to the longest."""
    return len(batch) * max(item.seconds for item in batch)


def average_update(
    own_orders: Iterable[Order], size: Callable[[Sequence[Item]], float], items: Sequence[Item]
) -> float:
    """Mean over updates of all folds of the sum of their micro-batches' sizes."""
    updates = [order.update(step) for order in own_orders for step in range(1, SURVEYED + 1)]
    return sum(size([items[i] for i in part.tolist()]) for update in updates for part in update.parts) / len(updates)


# ---------------------------------------------------------------- the table


def report(
    phases: Sequence[Phase], dataset: Dataset, options: argparse.Namespace, error: float, device: torch.device
) -> None:
    totals: dict[str, float] = {}
    for phase in phases:
        totals[phase.way] = totals.get(phase.way, 0.0) + phase.seconds
    fast = next(iter(totals.values()))
    rows = []
    for way, total in totals.items():
        rows += [[way, p.name, common.readable_time(p.seconds), "", p.how] for p in phases if p.way == way]
        rows.append(["", "total", common.readable_time(total), f"{total / fast:,.1f}", ""])
    items = dataset.items
    longest = max(item.seconds for item in items)
    common.show(
        f"superb/er on {options.upstream}, {len(items):,} utterances of noise, {seconds_of(items) / 3600:.2f} h",
        ("way", "phase", "time", "ratio", "how it was found"),
        rows,
        [
            f"Utterances last {min(i.seconds for i in items):.1f} to {longest:.1f} s, log-normal; noise made as needed "
            "in place of decoded files. All weights are untrained, seed 0; speed depends on neither.",
            "Ratios are of total times to the first total.",
            f"The hidden states of one utterance, s3prl's against ours in float32: relative difference {error:.1e}.",
        ],
        device,
        left=("way", "phase", "how it was found"),
    )


if __name__ == "__main__":
    common.carry_out(main)
