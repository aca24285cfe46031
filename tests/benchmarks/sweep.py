"""What a sweep of 125 configs costs beside one config a fold.

Means of IEMOCAP's size (13 x 768 an utterance, random numbers), four classes, SUPERB's folds, 32 utterances an update:

- a: five single configs, one fold after the other, each head a module with autograd and an Adam of its own, its updates
  gathered from eight micro-batches of four utterances as SUPERB's recipe has them;
- b: the same, every update one batch of 32;
- c: the same five as this harness runs them, in stacks side by side;
- d: all 125, five learning rates and five seeds on each fold, as this harness runs them.

Stacks take an update's micro-batches in one go whatever their number. The four take turns, and the medians of all turns
are compared. Updates are what is compared: there is one evaluation, at the end, on 32 utterances.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from downstream.data.dataset import Dataset, development_part
from downstream.states.sources import Means
from downstream.tasks.classification import ClassificationRecipe, ClassificationTask
from downstream.training.learning import make_learners, order_of
from downstream.training.loop import FoldData, train
from downstream.training.separate import SeparateHeads
from downstream.training.sweep import Config

from . import common

SMALL = {"updates": 20, "repeats": 1, "layers": 4, "dim": 64}
RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
SEEDS = 5
CLASSES = 4
EVALUATED = 32  # development utterances
CPU = torch.device("cpu")


class Sweep:
    """The ways over the same means; each learns from the first update on whenever it is called."""

    def __init__(self, recipe: ClassificationRecipe, dataset: Dataset, means: torch.Tensor) -> None:
        self._recipe, self._dataset, self._source = recipe, dataset, Means(means)
        self._task = ClassificationTask(dataset, len(means), means.shape[2], recipe.head)
        self.single = [Config(recipe.optimizer.lr, 0)]
        self.grid = [Config(rate, seed) for seed in range(SEEDS) for rate in RATES]

    def one_after_the_other(self, recipe: ClassificationRecipe) -> None:
        settings = recipe.training
        for fold in self._folds(recipe):
            alone = SeparateHeads(0, self.single, self._task, self._source, recipe.optimizer, settings, CPU)
            train([alone], [fold], self._task, settings, recipe.select)

    def as_the_harness(self, configs: Sequence[Config]) -> None:
        folds = self._folds(self._recipe)
        learners = make_learners(self._recipe, self._task, self._source, configs, self._dataset.split.folds, CPU)
        train(learners, folds, self._task, self._recipe.training, self._recipe.select)

    def _folds(self, recipe: ClassificationRecipe) -> list[FoldData]:
        return [
            FoldData(
                order_of(fold, self._dataset, recipe.training),
                development_part(replace(fold, dev=fold.dev[:EVALUATED])),
            )
            for fold in self._dataset.split.folds
        ]


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--updates", type=int, default=400, help="of every head")
    made.add_argument("--repeats", type=int, default=3, help="turns; medians are shown")
    made.add_argument("--layers", type=int, default=13, help="of the means")
    made.add_argument("--dim", type=int, default=768, help="of the means")
    options = common.parse(made, SMALL)

    lengths = [f"training.{name}={options.updates}" for name in ("steps", "evaluate_every")]
    superb, recipe = common.classifier("superb/er", lengths), common.classifier("emotion", lengths)
    dataset = common.noise_dataset(common.iemocap_items(), common.iemocap_split(), CLASSES)
    generator = torch.Generator().manual_seed(2)
    sweep = Sweep(recipe, dataset, torch.randn(options.layers, len(dataset.items), options.dim, generator=generator))
    folds = len(dataset.split.folds)
    ways: list[tuple[str, int, Callable[[], None]]] = [
        ("a: modules, one fold after the other, 8 x 4", folds, lambda: sweep.one_after_the_other(superb)),
        ("b: modules, one fold after the other, 1 x 32", folds, lambda: sweep.one_after_the_other(recipe)),
        ("c: stacks, folds side by side", folds, lambda: sweep.as_the_harness(sweep.single)),
        ("d: stacks, the whole grid", folds * len(sweep.grid), lambda: sweep.as_the_harness(sweep.grid)),
    ]
    seconds: list[list[float]] = [[] for _ in ways]
    for turn in range(options.repeats + 1):  # the first turn warms up
        for own, (name, _, way) in zip(seconds, ways, strict=True):
            took, _ = common.timed(way)
            common.say(f"{f'turn {turn}' if turn else 'warm-up'}, {name}: {took:.2f} s")
            if turn:
                own.append(took)
    medians = [statistics.median(own) for own in seconds]
    rows = [
        [
            name,
            str(count),
            f"{median:.2f}",
            f"{min(own):.2f} to {max(own):.2f}",
            f"{1e6 * median / (count * options.updates):.0f}",
            *(f"{median / reference:.2f}" for reference in medians[:3]),
        ]
        for (name, count, _), median, own in zip(ways, medians, seconds, strict=True)
    ]
    common.show(
        f"{options.updates} updates on means of {len(dataset.items):,} x {options.layers} x {options.dim}",
        ("way", "configs", "median s", "s", "µs a config and update", "to a", "to b", "to c"),
        rows,
        [f"Turns: {options.repeats}, after one that warms up. Everything was measured; the means are random numbers."],
    )


if __name__ == "__main__":
    common.carry_out(main)
