"""The loop: which utterances, in which order, with which weight; which step is kept; what a sweep's points are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from downstream.settings import OptimizerSettings, TrainingSettings
from downstream.states import Means
from downstream.sweep import Point, choose
from downstream.tasks.base import Head, States
from downstream.tasks.classification import Classification, as_rows
from downstream.training.batching import Shuffled
from downstream.training.learner import SKIPPED_AT_MOST, Learner
from downstream.training.loop import Attempt, FoldData, Snapshots, Training, train
from downstream.training.order import Order
from downstream.training.separate import SeparateHeads
from downstream.training.snapshot import read_snapshot
from downstream.training.stacked import StackedClassifiers
from upstream.base import HiddenStates
from upstream.weighted_sum import WeightedSum

LAYERS, DIM, CLASSES, UTTERANCES = 3, 6, 2, 60
FOLD = FoldData(Order(Shuffled(range(40), batch=8, seed=0)), torch.arange(40, UTTERANCES))


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings.model_validate({"steps": 60, "batch": 8, "evaluate_every": 10} | changes)


def corpus() -> tuple[Classification, Tensor]:
    """Two classes that lie apart in layer 1 alone: the task, and means (L, U, D)."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(UTTERANCES) % CLASSES
    means = torch.randn(LAYERS, UTTERANCES, DIM, generator=generator)
    means[1, :, 0] += 4.0 * targets
    return Classification(LAYERS, DIM, projection=8, num_classes=CLASSES, targets=targets), means


def stacked(*points: Point, optimizer: str = "adam", clip: float = 1.0) -> StackedClassifiers:
    task, means = corpus()
    decay = 0.1 if optimizer == "adamw" else 0.0
    settings = OptimizerSettings(name=optimizer, lr=1.0, weight_decay=decay)
    return StackedClassifiers(0, points, task, means, settings, clip)


def separate(*points: Point, optimizer: str = "adam", clip: float = 1.0) -> SeparateHeads:
    task, means = corpus()
    decay = 0.1 if optimizer == "adamw" else 0.0
    settings = OptimizerSettings(name=optimizer, lr=1.0, weight_decay=decay)
    return SeparateHeads(0, points, task, Means(means), settings, clip)


def learn(learner: Learner, **changes: object) -> list[Attempt]:
    return train([learner], [FOLD], corpus()[0], settings(**changes))


def curve(attempt: Attempt) -> list[float]:
    return [number for evaluation in attempt.history for number in evaluation]


# ---------------------------------------------------------------- the order of utterances


def test_batches_run_on_across_epochs_and_small_micro_batches_weigh_as_much() -> None:
    """Ten utterances in fours: micro-batches of 4, 4, 2, 4, 4, 2 …; three of them an update."""
    order = Order(Shuffled(range(10), batch=4, seed=0), accumulate=3)
    first, second = order.update(1), order.update(2)
    for update in (first, second):
        assert sorted(update.utterances[:10].tolist()) == list(range(10))
        assert update.weights.tolist() == pytest.approx([1 / 12] * 8 + [1 / 6] * 2 + [0.0] * 2)
    assert first.utterances.tolist() != second.utterances.tolist()
    uneven = Order(Shuffled(range(5), batch=4, seed=0), accumulate=3).update(1)
    assert [len(part) for part in uneven.parts] == [4, 1, 4]
    assert uneven.weights.tolist() == pytest.approx([1 / 12] * 4 + [1 / 3] + [1 / 12] * 4 + [0.0] * 3)


def test_every_epoch_is_a_fresh_permutation_of_the_folds_own_utterances() -> None:
    own = [3, 5, 8, 13, 21, 34]
    order = Order(Shuffled(own, batch=6, seed=0))
    epochs = [order.update(step).parts[0].tolist() for step in range(1, 7)]
    assert all(sorted(epoch) == own for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3


def test_any_update_can_be_had_without_those_before_it() -> None:
    """What a resumed run needs of a sampler."""
    forward = Order(Shuffled(range(37), batch=4, seed=5), accumulate=3)
    in_turn = [forward.update(step).utterances.tolist() for step in range(1, 41)]
    for step in (40, 1, 18, 17):
        assert (
            Order(Shuffled(range(37), batch=4, seed=5), accumulate=3).update(step).utterances.tolist()
            == in_turn[step - 1]
        )
    assert Order(Shuffled(range(37), batch=4, seed=6), accumulate=3).update(1).utterances.tolist() != in_turn[0]


# ---------------------------------------------------------------- one head


@pytest.mark.parametrize("make", [stacked, separate])
def test_learns_and_leans_on_the_layer_that_knows(make: type) -> None:
    (attempt,) = learn(make(Point(1e-2, 0)), steps=200)
    assert attempt.development > 0.9
    assert int(attempt.weights["weighted_sum.weights"].argmax()) == 1
    assert [step for step, _, _ in attempt.history] == list(range(10, 201, 10))
    assert attempt.history[0][1] > attempt.history[-1][1] > 0.0


@pytest.mark.parametrize("make", [stacked, separate])
def test_the_kept_head_is_that_of_the_first_best_step(make: type) -> None:
    (attempt,) = learn(make(Point(1e-2, 0)))
    scores = [score for _, _, score in attempt.history]
    assert attempt.development == max(scores)
    assert attempt.step == attempt.history[scores.index(max(scores))][0]
    task, means = corpus()
    head = task.build(0, None)
    head.load_state_dict(attempt.weights)
    posteriors = task.predict(head, means[:, FOLD.development])
    assert task.score(posteriors, FOLD.development) == pytest.approx(attempt.development)


@pytest.mark.parametrize("make", [stacked, separate])
def test_the_last_step_is_evaluated_even_off_the_beat(make: type) -> None:
    (attempt,) = learn(make(Point(1e-2, 0)), steps=25)
    assert [step for step, _, _ in attempt.history] == [10, 20, 25]


def test_a_weighted_update_is_gradient_accumulation() -> None:
    """The update of s3prl: the mean loss of each micro-batch, divided by their number, gradients added up."""
    task, means = corpus()
    update = Order(Shuffled(range(5), batch=4, seed=0), accumulate=3).update(1)
    learner = stacked(Point(1e-2, 0), clip=1e9)
    learner.learn([update])
    head = task.build(0, None)
    adam = torch.optim.Adam(head.parameters(), lr=1e-2)
    for part in update.parts:
        (functional.cross_entropy(head(means[:, part]), task.targets[part]) / 3).backward()
    adam.step()
    for name, tensor in head.state_dict().items():
        assert torch.allclose(learner.weights(0)[name], tensor, atol=1e-5), name


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("layer", [None, 1, -1])
@pytest.mark.parametrize("clip", [0.05, 1e9])
def test_a_stack_learns_what_autograd_learns(optimizer: str, layer: int | None, clip: float) -> None:
    """The equations of the stack against modules, backward() and clip_grad_norm_, over 100 updates."""
    point = Point(1e-3, 3, layer)
    updates = [FOLD.order.update(step) for step in range(1, 101)]
    one, other = stacked(point, optimizer=optimizer, clip=clip), separate(point, optimizer=optimizer, clip=clip)
    assert torch.allclose(one.learn(updates), other.learn(updates), rtol=1e-5)
    logits = [as_rows(learner.predict(FOLD.development)[0]).log() for learner in (one, other)]
    assert torch.allclose(*logits, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- sweeps: every point as if it were alone

GRID = [Point(lr, seed, layer) for lr in (1e-2, 1e-3) for seed in (0, 1) for layer in (None, 1)]


class RecurrentHead(Head):
    """A small head on frames, with dropout: stands for the families that are still to come."""

    def __init__(self, seed: int, layer: int | None) -> None:
        super().__init__()
        self.weighted_sum = WeightedSum(LAYERS, layer)
        self.recurrent = nn.GRU(DIM, 5, num_layers=2, dropout=0.3, batch_first=True)
        self.output = nn.Linear(5, CLASSES)
        generator = torch.Generator().manual_seed(seed)
        for parameter in [*self.recurrent.parameters(), *self.output.parameters()]:
            nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)

    def forward(self, states: HiddenStates) -> Tensor:
        hidden, _ = self.recurrent(self.weighted_sum(states.layers))
        last = hidden[torch.arange(len(hidden)), states.lengths - 1]
        return self.output(functional.dropout(last, 0.2, self.training))


class Recurrent(Classification):
    def build(self, seed: int, layer: int | None) -> RecurrentHead:  # type: ignore[override]
        return RecurrentHead(seed, layer)


class Frames:
    """Frames in memory, and how often a batch of them was asked for."""

    def __init__(self) -> None:
        _, means = corpus()
        generator = torch.Generator().manual_seed(1)
        lengths = torch.randint(2, 9, (UTTERANCES,), generator=generator).tolist()
        noise = [torch.randn(LAYERS, length, DIM, generator=generator) for length in lengths]
        self.states = [means[:, i, None] + noise[i] for i in range(UTTERANCES)]
        self.asked = 0

    audio_seconds = computed_seconds = 0.0

    def batches(self, groups: list[Tensor], places: object = None) -> object:
        for group in groups:
            self.asked += 1
            yield HiddenStates.from_utterances([self.states[i] for i in group.tolist()])


def recurrent(*points: Point, source: Frames | None = None) -> SeparateHeads:
    task = Recurrent(**vars(corpus()[0]))
    return SeparateHeads(0, points, task, source or Frames(), OptimizerSettings(lr=1.0), clip=1.0)


@pytest.mark.parametrize("make", [stacked, separate, recurrent])
def test_each_point_is_what_it_would_have_been_alone(make: type) -> None:
    together = learn(make(*GRID))
    for attempt in together:
        (alone,) = learn(make(attempt.point))
        assert (attempt.step, attempt.development) == (alone.step, alone.development)
        for name, tensor in alone.weights.items():
            assert torch.allclose(attempt.weights[name], tensor, rtol=1e-5, atol=1e-7), (attempt.point, name)


@pytest.mark.parametrize("classes", [4, 7, 8])
@pytest.mark.parametrize(("layers", "dim"), [(1, 240), (13, 768)])
def test_a_stacked_point_has_the_bits_it_would_have_alone(layers: int, dim: int, classes: int) -> None:
    """At the shapes of the filterbank and of WavLM Base, each of five points beside the others and by itself."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(layers, UTTERANCES, dim, generator=generator)
    task = Classification(layers, dim, 256, classes, torch.arange(UTTERANCES) % classes)
    updates = [Order(Shuffled(range(40), batch=32, seed=0)).update(step) for step in range(1, 7)]
    points = [Point(1e-3, seed) for seed in range(5)]
    together = StackedClassifiers(0, points, task, means, OptimizerSettings(lr=1.0), clip=1.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the loop has it
    together.learn(updates)
    for index, point in enumerate(points):
        alone = StackedClassifiers(0, [point], task, means, OptimizerSettings(lr=1.0), clip=1.0)
        alone.learn(updates)
        for name, tensor in alone.weights(0).items():
            assert torch.equal(together.weights(index)[name], tensor), (index, name)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("make", [stacked, separate, recurrent])
def test_points_that_differ_learn_different_heads(make: type) -> None:
    learner = make(*GRID)
    learner.learn([FOLD.order.update(step) for step in range(1, 6)])
    heads = [torch.cat([tensor.flatten() for tensor in learner.weights(i).values()]) for i in range(len(GRID))]
    assert not any(torch.allclose(a, b) for i, a in enumerate(heads) for b in heads[:i])


def test_points_share_every_batch_of_states() -> None:
    one, many = Frames(), Frames()
    learn(recurrent(GRID[0], source=one))
    learn(recurrent(*GRID, source=many))
    assert many.asked == one.asked > 0


def test_learning_leaves_the_global_generator_alone() -> None:
    learner = recurrent(*GRID[:2])
    before = torch.get_rng_state()
    learn(learner)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", [stacked, separate, recurrent])
def test_a_diverging_point_is_marked_and_dropped_and_touches_no_other(make: type) -> None:
    good, mad = Point(1e-2, 0), Point(1e38, 0)
    attempts = learn(make(good, mad), steps=60)
    (alone,) = learn(make(good), steps=60)
    assert attempts[0].diverged is None
    assert attempts[1].diverged == 1 + SKIPPED_AT_MOST  # the first update is what ruins it
    assert all(torch.isfinite(tensor).all() for tensor in attempts[1].weights.values())
    for name, tensor in alone.weights.items():
        assert torch.allclose(attempts[0].weights[name], tensor, rtol=1e-5, atol=1e-7)
    assert curve(attempts[0]) == pytest.approx(curve(alone))


@pytest.mark.parametrize("make", [stacked, separate])
def test_a_single_update_that_is_not_finite_is_skipped_but_counted(make: type) -> None:
    """As in s3prl: the weights stay, the moments stay, and the run goes on."""
    learner = make(Point(1e-2, 0))
    good = [FOLD.order.update(step) for step in range(1, 4)]
    learner.learn(good[:2])
    before = learner.weights(0)
    source = learner._means if isinstance(learner, StackedClassifiers) else learner._source.means
    kept = source.clone()
    source.fill_(math.inf)
    learner.learn(good[2:])
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.weights(0).items())
    source.copy_(kept)
    learner.learn(good[2:])
    straight = make(Point(1e-2, 0))
    straight.learn(good)
    assert all(torch.equal(straight.weights(0)[name], tensor) for name, tensor in learner.weights(0).items())


def test_development_chooses_the_rate_for_each_fold_seed_and_layer() -> None:
    def tried(fold: int, lr: float, seed: int, layer: int | None, score: float, step: int = 10) -> Attempt:
        return Attempt(fold, Point(lr, seed, layer), step, score)

    attempts = [
        tried(0, 1e-2, 0, None, 0.5), tried(0, 1e-3, 0, None, 0.7), tried(0, 1e-4, 0, None, 0.7),
        tried(0, 1e-2, 1, None, 0.9), tried(0, 1e-3, 1, None, 0.2),
        tried(0, 1e-2, 0, 4, 0.1), tried(0, 1e-3, 0, 4, -math.inf, step=0),
        tried(1, 1e-2, 0, None, 0.3), tried(1, 1e-3, 0, None, 0.4),
        tried(1, 1e-2, 0, 4, 0.6), tried(1, 1e-2, 1, None, -math.inf, step=0),
    ]  # fmt: skip
    chosen = {(one.fold, one.point.seed, one.point.layer): one.point.lr for one in choose(attempts)}
    assert chosen == {(0, 0, None): 1e-3, (1, 0, None): 1e-3, (0, 0, 4): 1e-2, (1, 0, 4): 1e-2}


# ---------------------------------------------------------------- snapshots


class StoppedError(Exception):
    """What the test interrupts with."""


class StopAfter:
    """A progress bar that stops the training once so many updates were carried out."""

    def __init__(self, updates: int) -> None:
        self.left = updates

    def resume(self, done: int) -> None:
        self.left -= done

    def update(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise StoppedError


@pytest.mark.parametrize("make", [stacked, separate, recurrent])
@pytest.mark.parametrize("stop_after", [3, 17, 44])
def test_a_resumed_training_ends_in_the_same_bits(make: type, stop_after: int, tmp_path: Path) -> None:
    points = [*GRID[:3], Point(1e38, 0)]
    unbroken = learn(make(*points))
    snapshots = Snapshots(tmp_path / "snapshot", seconds=0.0)
    with pytest.raises(StoppedError):
        train([make(*points)], [FOLD], corpus()[0], settings(), snapshots, StopAfter(stop_after))
    found = read_snapshot(snapshots.path)
    assert found is not None
    assert 0 < found[1]["step"] <= stop_after
    resumed = train([make(*points)], [FOLD], corpus()[0], settings(), snapshots)
    for one, other in zip(unbroken, resumed, strict=True):
        assert (one.step, one.development, one.diverged) == (other.step, other.development, other.diverged)
        assert curve(one) == pytest.approx(curve(other), rel=0, abs=0, nan_ok=True)
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.mark.parametrize("make", [stacked, separate])
def test_a_training_goes_on_with_other_cores(make: type, tmp_path: Path) -> None:
    """Another number of cores deals the points out otherwise; the snapshot serves all the same."""
    points = GRID[:4]
    unbroken = learn(make(*points))
    snapshots = Snapshots(tmp_path / "snapshot", seconds=0.0)
    with pytest.raises(StoppedError):
        train([make(*points)], [FOLD], corpus()[0], settings(), snapshots, StopAfter(25))
    found = read_snapshot(snapshots.path)
    assert found is not None
    resumed = Training([make(*points[:3]), make(points[3])], [FOLD], corpus()[0], settings())
    resumed.restore(snapshots.path)
    assert resumed.step == found[1]["step"] > 0
    for end in resumed.stretches():
        resumed.advance(end, map)
    for one, other in zip(unbroken, resumed.attempts(), strict=True):
        assert (one.step, one.development) == (other.step, other.development)
        assert all(torch.allclose(one.weights[name], other.weights[name], rtol=1e-5) for name in one.weights)


def test_a_damaged_snapshot_is_not_believed(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshot", seconds=0.0)
    first = train([stacked(GRID[0])], [FOLD], corpus()[0], settings(), snapshots)
    content = bytearray(snapshots.path.read_bytes())
    content[len(content) // 2] ^= 1
    snapshots.path.write_bytes(content)
    assert read_snapshot(snapshots.path) is None
    again = train([stacked(GRID[0])], [FOLD], corpus()[0], settings(), snapshots)
    assert torch.equal(first[0].weights["output.weight"], again[0].weights["output.weight"])


def test_the_length_of_a_stretch_changes_nothing() -> None:
    """Where the loop stops to look at the clock must not show in the numbers."""
    attempts = []
    for ends in (range(1, 61), (10, 20, 30, 40, 50, 60)):
        training = Training([stacked(*GRID[:2])], [FOLD], corpus()[0], settings())
        for end in ends:
            training.advance(end, map)
        attempts.append(list(training.attempts()))
    for one, other in zip(*attempts, strict=True):
        assert one.history == other.history
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_losses_of_a_head_do_not_depend_on_the_states_form() -> None:
    """The same head reads means and frames."""
    task, _ = corpus()
    frames = Frames()
    head = task.build(0, None)
    utterances = torch.arange(4)
    states: States = next(iter(frames.batches([utterances])))
    assert isinstance(states, HiddenStates)
    of_means = task.losses(head, states.means().transpose(0, 1), utterances)
    assert torch.allclose(task.losses(head, states, utterances), of_means, atol=1e-5)
