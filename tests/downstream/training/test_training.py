"""The loop: which utterances, in which order, with which weight; which step is kept; sweeps; snapshots."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Corpus, Utterance
from downstream.data.dataset import Dataset, development_part
from downstream.data.splits import Fold, Split
from downstream.recipes.sections import OptimizerSettings, TrainingSettings
from downstream.states.sources import Means
from downstream.tasks.base import States
from downstream.tasks.classification.data import ClassTargets
from downstream.tasks.classification.family import ClassificationTask
from downstream.tasks.classification.recipe import ClassifierSettings
from downstream.tasks.head import Head, as_rows
from downstream.tasks.weighted_sum import WeightedSum
from downstream.training.batching import Shuffled
from downstream.training.fitting import fitted_heads
from downstream.training.learner import SKIPPED_AT_MOST, Learner, Schedule
from downstream.training.loop import Fit, FoldData, Snapshots, Training, development_score, train
from downstream.training.order import Order
from downstream.training.separate import SeparateHeads
from downstream.training.snapshot import read_snapshot
from downstream.training.stacked import StackedHeads
from downstream.training.sweep import Config, choose
from upstream.base import HiddenStates
from upstream.encode import Item

LAYERS, DIM, CLASSES, UTTERANCES = 3, 6, 2, 60
SPLIT = Fold("fold", tuple(range(40)), tuple(range(40, UTTERANCES)), ())
FOLD = FoldData(Order(Shuffled(range(40), batch=8, seed=0)), development_part(SPLIT))
DEVELOPMENT = torch.tensor(SPLIT.dev)
CPU = torch.device("cpu")


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings.model_validate({"steps": 60, "batch": 8, "evaluate_every": 10} | changes)


def dataset(targets: Tensor, classes: int) -> Dataset:
    """Utterances of these classes, (U,) int64."""
    names = tuple(f"class {number}" for number in range(classes))
    utterances = tuple(Utterance(f"u{i}", AudioCut(AudioFile(Path("unread"))), "s") for i in range(len(targets)))
    return Dataset(
        corpus=Corpus("small", "Small", "none", utterances, "nowhere"),
        column="label",
        utterances=utterances,
        items=tuple(Item(u.id, u.audio, u.id, 1.0) for u in utterances),
        split=Split((SPLIT,), "by hand"),
        classes=names,
        targets=ClassTargets(names, tuple(targets.tolist())),
    )


def corpus(standardised: bool = False) -> tuple[ClassificationTask, Tensor]:
    """Two classes that lie apart in layer 1 alone: the task, and means (L, U, D)."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(UTTERANCES) % CLASSES
    means = torch.randn(LAYERS, UTTERANCES, DIM, generator=generator)
    means[1, :, 0] += 4.0 * targets
    head = ClassifierSettings(projection=8, standardised=standardised)
    return ClassificationTask(dataset(targets, CLASSES), LAYERS, DIM, head), means


def optimizer_settings(name: str = "adam", **changes: object) -> OptimizerSettings:
    decay = 0.1 if name == "adamw" else 0.0
    return OptimizerSettings.model_validate({"name": name, "lr": 1.0, "weight_decay": decay} | changes)


def stacked(
    *configs: Config, optimizer: str = "adam", clip: float = 1.0, standardised: bool = False, **course: object
) -> StackedHeads:
    """course: schedule, warm-up and further rates of the optimiser."""
    task, means = corpus(standardised)
    heads = fitted_heads(task, configs, SPLIT.train, Means(means), CPU)
    return StackedHeads(0, configs, task, means, optimizer_settings(optimizer, **course), settings(clip=clip), heads)


def separate(
    *configs: Config, optimizer: str = "adam", clip: float = 1.0, standardised: bool = False, **course: object
) -> SeparateHeads:
    (task, means), chosen = corpus(standardised), optimizer_settings(optimizer, **course)
    heads = fitted_heads(task, configs, SPLIT.train, Means(means), CPU)
    return SeparateHeads(0, configs, task, Means(means), chosen, settings(clip=clip), CPU, heads)


def stacked_apart(*configs: Config, **course: object) -> StackedHeads:
    """The same, with a rate of their own for the weights of the layers, which are standardised."""
    return stacked(*configs, **{"standardised": True, "mix_lr": 0.03} | course)


def separate_apart(*configs: Config, **course: object) -> SeparateHeads:
    return separate(*configs, **{"standardised": True, "mix_lr": 0.03} | course)


def learn(learner: Learner, **changes: object) -> list[Fit]:
    return train([learner], [FOLD], corpus()[0], settings(**changes), "accuracy")


def curve(fit: Fit) -> list[float]:
    return [number for evaluation in fit.history for number in evaluation]


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
    (fit,) = learn(make(Config(1e-2, 0)), steps=200)
    assert fit.development > 0.9
    assert int(fit.weights["weighted_sum.weights"].argmax()) == 1
    assert [step for step, _, _ in fit.history] == list(range(10, 201, 10))
    assert fit.history[0][1] > fit.history[-1][1] > 0.0


@pytest.mark.parametrize("make", [stacked, separate])
def test_the_kept_head_is_that_of_the_first_best_step(make: type) -> None:
    (fit,) = learn(make(Config(1e-2, 0)))
    scores = [score for _, _, score in fit.history]
    assert fit.development == max(scores)
    assert fit.step == fit.history[scores.index(max(scores))][0]
    task, means = corpus()
    head = task.build(0, None)
    head.load_state_dict(fit.weights)
    posteriors = task.predict(head, means[:, DEVELOPMENT])
    assert development_score(task, posteriors, FOLD.development, "accuracy") == pytest.approx(fit.development)


@pytest.mark.parametrize("make", [stacked, separate])
def test_the_last_step_is_evaluated_even_off_the_beat(make: type) -> None:
    (fit,) = learn(make(Config(1e-2, 0)), steps=25)
    assert [step for step, _, _ in fit.history] == [10, 20, 25]


def test_a_weighted_update_is_gradient_accumulation() -> None:
    """The update of s3prl: the mean loss of each micro-batch, divided by their number, gradients added up."""
    task, means = corpus()
    update = Order(Shuffled(range(5), batch=4, seed=0), accumulate=3).update(1)
    learner = stacked(Config(1e-2, 0), clip=1e9)
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
@pytest.mark.parametrize(("make", "alone"), [(stacked, separate), (stacked_apart, separate_apart)])
def test_a_stack_learns_what_autograd_learns(
    optimizer: str, layer: int | None, clip: float, make: type, alone: type
) -> None:
    """The equations of the stack against modules, backward() and clip_grad_norm_, over 100 updates."""
    config = Config(1e-3, 3, layer)
    updates = [FOLD.order.update(step) for step in range(1, 101)]
    one, other = make(config, optimizer=optimizer, clip=clip), alone(config, optimizer=optimizer, clip=clip)
    assert torch.allclose(one.learn(updates), other.learn(updates), rtol=1e-5)
    logits = [as_rows(learner.predict(DEVELOPMENT)[0]).log() for learner in (one, other)]
    assert torch.allclose(*logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [stacked, separate])
def test_the_weights_of_the_layers_have_their_own_rate(make: type) -> None:
    """Adam's first step is the rate, whatever the gradient, up to its epsilon."""
    before = make(Config(1e-3, 0), mix_lr=0.5)
    started = before.weights(0)
    before.learn([FOLD.order.update(1)])
    moved = {name: (tensor - started[name]).abs() for name, tensor in before.weights(0).items()}
    assert moved.pop("weighted_sum.weights").tolist() == pytest.approx([0.5] * LAYERS, rel=1e-3)
    for name, change in moved.items():
        assert change.max().item() == pytest.approx(1e-3, rel=1e-2), name


def test_standardised_layers_ignore_scale_and_offset_of_a_layer() -> None:
    """A head that learns from states of other units is the same head."""
    task, means = corpus(standardised=True)
    curves = []
    for states in (means, means * torch.tensor([1.0, 100.0, 0.01])[:, None, None] + 7.0):
        heads = fitted_heads(task, [Config(1e-3, 0)], SPLIT.train, Means(states), CPU)
        learner = StackedHeads(0, [Config(1e-3, 0)], task, states, optimizer_settings(mix_lr=0.03), settings(), heads)
        curves.append(learner.learn([FOLD.order.update(step) for step in range(1, 101)]))
    assert torch.allclose(*curves, rtol=1e-3)


# ---------------------------------------------------------------- the course of the learning rate


@pytest.mark.parametrize("make", [stacked, separate])
@pytest.mark.parametrize("step", [1, 6, 31, 60])
def test_an_update_has_the_rate_of_its_schedule(make: type, step: int) -> None:
    """The bits of an update at that rate, for configs of two rates."""
    course = {"schedule": "linear", "warmup": 6}
    factor = Schedule(optimizer_settings(**course), settings().steps).factor(step)
    assert factor == pytest.approx(step / 6 if step <= 6 else (61 - step) / 54)
    scheduled = make(Config(1e-2, 0), Config(1e-3, 1), **course)
    plain = make(Config(1e-2 * factor, 0), Config(1e-3 * factor, 1))
    for learner in (scheduled, plain):
        learner.learn([FOLD.order.update(step)])
    for index in (0, 1):
        for name, tensor in plain.weights(index).items():
            assert torch.equal(scheduled.weights(index)[name], tensor), (index, name)


@pytest.mark.parametrize("make", [stacked, separate])
def test_constant_without_warm_up_leaves_the_bits_of_an_optimiser_alone(
    make: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled = learn(make(*GRID[:3]))
    monkeypatch.setattr(Schedule, "apply", lambda *_: None)
    plain = learn(make(*GRID[:3]))
    for one, other in zip(scheduled, plain, strict=True):
        assert one.history == other.history
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


# ---------------------------------------------------------------- sweeps: every config as if it were alone

GRID = [Config(lr, seed, layer) for lr in (1e-2, 1e-3) for seed in (0, 1) for layer in (None, 1)]


class RecurrentHead(Head):
    """A small head on frames, with dropout: stands for other families."""

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


class Recurrent(ClassificationTask):
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


def recurrent(*configs: Config, source: Frames | None = None, **course: object) -> SeparateHeads:
    task = Recurrent(corpus()[0].dataset, LAYERS, DIM, ClassifierSettings(projection=8))
    return SeparateHeads(0, configs, task, source or Frames(), optimizer_settings(**course), settings())


@pytest.mark.parametrize("make", [stacked, separate, recurrent, stacked_apart])
def test_each_config_is_what_it_would_have_been_alone(make: type) -> None:
    together = learn(make(*GRID))
    for fit in together:
        (alone,) = learn(make(fit.config))
        assert (fit.step, fit.development) == (alone.step, alone.development)
        for name, tensor in alone.weights.items():
            assert torch.allclose(fit.weights[name], tensor, rtol=1e-5, atol=1e-7), (fit.config, name)


@pytest.mark.parametrize("classes", [4, 7, 8])
@pytest.mark.parametrize(("layers", "dim"), [(1, 240), (13, 768)])
def test_a_stacked_config_has_the_bits_it_would_have_alone(layers: int, dim: int, classes: int) -> None:
    """At the shapes of the filterbank and of WavLM Base, each of five configs beside the others and by itself."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(layers, UTTERANCES, dim, generator=generator)
    corpus = dataset(torch.arange(UTTERANCES) % classes, classes)
    task = ClassificationTask(corpus, layers, dim, ClassifierSettings(projection=256))
    updates = [Order(Shuffled(range(40), batch=32, seed=0)).update(step) for step in range(1, 7)]
    configs = [Config(1e-3, seed) for seed in range(5)]
    together = StackedHeads(0, configs, task, means, optimizer_settings(), settings())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the loop has it
    together.learn(updates)
    for index, config in enumerate(configs):
        alone = StackedHeads(0, [config], task, means, optimizer_settings(), settings())
        alone.learn(updates)
        for name, tensor in alone.weights(0).items():
            assert torch.equal(together.weights(index)[name], tensor), (index, name)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("make", [stacked, separate, recurrent])
def test_configs_that_differ_learn_different_heads(make: type) -> None:
    learner = make(*GRID)
    learner.learn([FOLD.order.update(step) for step in range(1, 6)])
    heads = [torch.cat([tensor.flatten() for tensor in learner.weights(i).values()]) for i in range(len(GRID))]
    assert not any(torch.allclose(a, b) for i, a in enumerate(heads) for b in heads[:i])


def test_configs_share_every_batch_of_states() -> None:
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
def test_a_diverging_config_is_marked_and_dropped_and_touches_no_other(make: type) -> None:
    good, mad = Config(1e-2, 0), Config(1e38, 0)
    fits = learn(make(good, mad), steps=60)
    (alone,) = learn(make(good), steps=60)
    assert fits[0].diverged is None
    assert fits[1].diverged == 1 + SKIPPED_AT_MOST  # the first update is what ruins it
    assert all(torch.isfinite(tensor).all() for tensor in fits[1].weights.values())
    for name, tensor in alone.weights.items():
        assert torch.allclose(fits[0].weights[name], tensor, rtol=1e-5, atol=1e-7)
    assert curve(fits[0]) == pytest.approx(curve(alone))


@pytest.mark.parametrize("make", [stacked, separate])
def test_a_single_update_that_is_not_finite_is_skipped_but_counted(make: type) -> None:
    """As in s3prl: the weights stay, the moments stay, and the run goes on."""
    learner = make(Config(1e-2, 0))
    good = [FOLD.order.update(step) for step in range(1, 4)]
    learner.learn(good[:2])
    before = learner.weights(0)
    source = learner._states if isinstance(learner, StackedHeads) else learner._source.means
    kept = source.clone()
    source.fill_(math.inf)
    learner.learn(good[2:])
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.weights(0).items())
    source.copy_(kept)
    learner.learn(good[2:])
    straight = make(Config(1e-2, 0))
    straight.learn(good)
    assert all(torch.equal(straight.weights(0)[name], tensor) for name, tensor in learner.weights(0).items())


def test_development_chooses_the_rate_for_each_fold_seed_and_layer() -> None:
    def tried(fold: int, lr: float, seed: int, layer: int | None, score: float, step: int = 10) -> Fit:
        return Fit(fold, Config(lr, seed, layer), step, score)

    fits = [
        tried(0, 1e-2, 0, None, 0.5), tried(0, 1e-3, 0, None, 0.7), tried(0, 1e-4, 0, None, 0.7),
        tried(0, 1e-2, 1, None, 0.9), tried(0, 1e-3, 1, None, 0.2),
        tried(0, 1e-2, 0, 4, 0.1), tried(0, 1e-3, 0, 4, -math.inf, step=0),
        tried(1, 1e-2, 0, None, 0.3), tried(1, 1e-3, 0, None, 0.4),
        tried(1, 1e-2, 0, 4, 0.6), tried(1, 1e-2, 1, None, -math.inf, step=0),
    ]  # fmt: skip
    expected = {(0, 0, None): 1e-3, (1, 0, None): 1e-3, (0, 0, 4): 1e-2, (1, 0, 4): 1e-2}
    chosen = choose(fits, [None, 4])
    assert {(one.fit.fold, one.fit.config.seed, one.setting): one.fit.config.lr for one in chosen} == expected
    assert all(one.setting == one.fit.config.layer for one in chosen)


# ---------------------------------------------------------------- snapshots


class StoppedError(Exception):
    """What the test interrupts with."""


class StopAfter:
    """A progress bar that stops the training once so many updates were carried out."""

    def __init__(self, updates: int) -> None:
        self.left = updates

    def resume(self, done: int) -> None:
        self.left -= done

    def update(self, amount: int, fits: object) -> None:
        self.left -= amount
        if self.left < 0:
            raise StoppedError


@pytest.mark.parametrize("make", [stacked, separate, recurrent, stacked_apart, separate_apart])
@pytest.mark.parametrize("stop_after", [3, 17, 44])
def test_a_resumed_training_ends_in_the_same_bits(make: type, stop_after: int, tmp_path: Path) -> None:
    configs = [*GRID[:3], Config(1e38, 0)]
    unbroken = learn(make(*configs))
    snapshots = Snapshots(tmp_path / "snapshot", seconds=0.0)
    with pytest.raises(StoppedError):
        train([make(*configs)], [FOLD], corpus()[0], settings(), "accuracy", snapshots, StopAfter(stop_after))
    found = read_snapshot(snapshots.path)
    assert found is not None
    assert 0 < found[1]["step"] <= stop_after
    resumed = train([make(*configs)], [FOLD], corpus()[0], settings(), "accuracy", snapshots)
    for one, other in zip(unbroken, resumed, strict=True):
        assert (one.step, one.development, one.diverged) == (other.step, other.development, other.diverged)
        assert curve(one) == pytest.approx(curve(other), rel=0, abs=0, nan_ok=True)
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.mark.parametrize("make", [stacked, separate, recurrent])
@pytest.mark.parametrize("stop_after", [3, 17, 44])
def test_a_resumed_training_goes_on_with_its_schedule(make: type, stop_after: int, tmp_path: Path) -> None:
    """In the warm-up, soon after it, and late in the fall: the bits of a training that was never interrupted."""
    course = {"schedule": "cosine", "warmup": 8}
    configs = [*GRID[:3], Config(1e-3, 5)]
    unbroken = learn(make(*configs, **course))
    snapshots = Snapshots(tmp_path / "snapshot", seconds=0.0)
    with pytest.raises(StoppedError):
        train([make(*configs, **course)], [FOLD], corpus()[0], settings(), "accuracy", snapshots, StopAfter(stop_after))
    found = read_snapshot(snapshots.path)
    assert found is not None
    assert 0 < found[1]["step"] <= stop_after
    resumed = train([make(*configs, **course)], [FOLD], corpus()[0], settings(), "accuracy", snapshots)
    for one, other in zip(unbroken, resumed, strict=True):
        assert (one.step, one.development) == (other.step, other.development)
        assert curve(one) == curve(other)
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    constant = learn(make(*configs))
    assert curve(constant[0]) != curve(unbroken[0])


@pytest.mark.parametrize("make", [stacked, separate])
def test_a_training_goes_on_with_other_cores(make: type, tmp_path: Path) -> None:
    """Another number of cores deals the configs out otherwise; the snapshot serves all the same."""
    configs = GRID[:4]
    unbroken = learn(make(*configs))
    snapshots = Snapshots(tmp_path / "snapshot", seconds=0.0)
    with pytest.raises(StoppedError):
        train([make(*configs)], [FOLD], corpus()[0], settings(), "accuracy", snapshots, StopAfter(25))
    found = read_snapshot(snapshots.path)
    assert found is not None
    resumed = Training([make(*configs[:3]), make(configs[3])], [FOLD], corpus()[0], settings(), "accuracy")
    resumed.restore(snapshots)
    assert resumed.step == found[1]["step"] > 0
    for end in resumed.stretches():
        resumed.advance(end, map)
    for one, other in zip(unbroken, resumed.fits(), strict=True):
        assert (one.step, one.development) == (other.step, other.development)
        assert all(torch.allclose(one.weights[name], other.weights[name], rtol=1e-5) for name in one.weights)


def test_a_damaged_snapshot_is_not_believed(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshot", seconds=0.0)
    first = train([stacked(GRID[0])], [FOLD], corpus()[0], settings(), "accuracy", snapshots)
    content = bytearray(snapshots.path.read_bytes())
    content[len(content) // 2] ^= 1
    snapshots.path.write_bytes(content)
    assert read_snapshot(snapshots.path) is None
    again = train([stacked(GRID[0])], [FOLD], corpus()[0], settings(), "accuracy", snapshots)
    assert torch.equal(first[0].weights["output.weight"], again[0].weights["output.weight"])


def test_the_length_of_a_stretch_changes_nothing() -> None:
    """Where the loop stops to look at the clock must not show in the numbers."""
    fits = []
    for ends in (range(1, 61), (10, 20, 30, 40, 50, 60)):
        training = Training([stacked(*GRID[:2])], [FOLD], corpus()[0], settings(), "accuracy")
        for end in ends:
            training.advance(end, map)
        fits.append(list(training.fits()))
    for one, other in zip(*fits, strict=True):
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
