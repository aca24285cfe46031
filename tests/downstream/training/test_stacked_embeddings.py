"""Linear embeddings with the AM-softmax, many as one program: each what it would be alone, whatever it is beside."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_datasets import small_dataset
from torch import Tensor

from downstream.data.splits import Fold
from downstream.recipes import OptimizerSettings, TrainingSettings
from downstream.states.sources import Means
from downstream.tasks import as_rows
from downstream.tasks.verification.family import SpeakerTargets, VerificationTask
from downstream.tasks.verification.pooled import LinearHead
from downstream.tasks.verification.recipe import TrialsSettings, VerifierSettings
from downstream.training.batching import Shuffled
from downstream.training.fitting import fitted_heads
from downstream.training.learning import make_learners
from downstream.training.order import Order
from downstream.training.separate import SeparateHeads
from downstream.training.stacked_embeddings import StackedEmbeddings
from downstream.training.sweep import Config

LAYERS, DIM, SPEAKERS, UTTERANCES = 3, 8, 4, 40
TRAIN = tuple(range(24))
CPU = torch.device("cpu")
ORDER = Order(Shuffled(TRAIN, batch=8, seed=0), accumulate=2)
UPDATES = [ORDER.update(step) for step in range(1, 61)]
STATES = torch.randn(LAYERS, UTTERANCES, 2 * DIM, generator=torch.Generator().manual_seed(0)) * torch.logspace(
    -3, 3, 2 * DIM
)
TRAINING = TrainingSettings(steps=60, batch=8, accumulate=2, evaluate_every=20, clip=5.0)
OPTIMIZER = OptimizerSettings(name="adamw", lr=1.0, weight_decay=0.1)


def task() -> VerificationTask:
    numbers = tuple(number % SPEAKERS for number in range(UTTERANCES))
    dataset = small_dataset([f"s{number}" for number in numbers], [Fold("one", TRAIN, (), ())])
    targets = SpeakerTargets(tuple(f"s{n}" for n in range(SPEAKERS)), numbers, {})
    head = VerifierSettings(kind="linear", projection=4, margin=0.2)
    return VerificationTask(replace(dataset, targets=targets), LAYERS, DIM, head, TrialsSettings()).of_fold(TRAIN)


def stacked(*configs: Config) -> StackedEmbeddings:
    own = task()
    assert own.with_margin is not None
    heads = fitted_heads(own, configs, TRAIN, Means(STATES), CPU)
    return StackedEmbeddings(0, configs, heads, own.with_margin, STATES, OPTIMIZER, TRAINING)


def separate(*configs: Config) -> SeparateHeads:
    own, source = task(), Means(STATES)
    heads = fitted_heads(own, configs, TRAIN, source, CPU)
    return SeparateHeads(0, configs, own, source, OPTIMIZER, TRAINING, CPU, heads)


def everything() -> Tensor:
    return torch.arange(UTTERANCES)


def test_inputs_are_standardised_by_the_training_utterances_of_each_layer() -> None:
    head = fitted_heads(task(), [Config(1e-3, 0)], TRAIN, Means(STATES), CPU)[0]
    assert isinstance(head, LinearHead)
    own = STATES[:, list(TRAIN)].double()
    torch.testing.assert_close(head.centre.double(), own.mean(dim=1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(head.scale.double(), own.std(dim=1, correction=0), rtol=1e-5, atol=1e-6)


def test_a_constant_number_is_not_divided_by_nothing() -> None:
    states = STATES.clone()
    states[:, :, 3] = 0.7
    head = fitted_heads(task(), [Config(1e-3, 0)], TRAIN, Means(states), CPU)[0]
    assert isinstance(head, LinearHead)
    assert bool((head.scale[:, 3] == 1).all())
    assert bool(torch.isfinite(head(states)).all())


@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("rate", [3e-4, 3e-3])
def test_a_stack_learns_what_one_module_alone_learns(layer: int | None, rate: float) -> None:
    config = Config(rate, 3, layer)
    one, other = stacked(config), separate(config)
    torch.testing.assert_close(one.learn(UPDATES), other.learn(UPDATES), rtol=1e-4, atol=1e-5)
    predicted = [as_rows(learner.predict(everything())[0]).detach() for learner in (one, other)]
    torch.testing.assert_close(*predicted, rtol=1e-3, atol=1e-4)


def test_no_bit_depends_on_what_else_is_in_the_stack() -> None:
    configs = [Config(1e-2, seed, layer) for seed, layer in ((0, None), (1, 2), (2, 0))]
    together = stacked(*configs)
    losses = together.learn(UPDATES)
    predicted = together.predict(everything())
    for index, config in enumerate(configs):
        alone = stacked(config)
        assert torch.equal(alone.learn(UPDATES)[0], losses[index])
        assert torch.equal(as_rows(alone.predict(everything())[0]), as_rows(predicted[index]))


def test_its_weights_make_the_head_that_predicts() -> None:
    learner = stacked(Config(1e-2, 0), Config(1e-2, 1, 2))
    learner.learn(UPDATES)
    for index, layer in enumerate((None, 2)):
        head = task().build(0, layer)
        head.load_state_dict(learner.weights(index))
        found = as_rows(learner.predict(everything())[index])
        torch.testing.assert_close(head(STATES), found, rtol=1e-4, atol=1e-5)


def test_it_resumes_to_the_bit() -> None:
    config = Config(1e-2, 0, 1)
    whole, first, second = stacked(config), stacked(config), stacked(config)
    whole.learn(UPDATES)
    first.learn(UPDATES[:25])
    second.restore(0, {name: tensor.clone() for name, tensor in first.state(0).items()})
    second.learn(UPDATES[25:])
    for name, tensor in whole.weights(0).items():
        assert torch.equal(tensor, second.weights(0)[name]), name


def test_only_states_in_memory_are_learned_in_stacks() -> None:
    class Elsewhere:
        audio_seconds = computed_seconds = 0.0
        batches = Means(STATES).batches

    descent = type("Descent", (), {"optimizer": OPTIMIZER, "training": TRAINING, "select": "eer"})
    configs = [Config(1e-2, seed) for seed in range(3)]
    folds = task().dataset.split.folds
    (alone,) = make_learners(descent, task(), Elsewhere(), configs, folds, CPU)  # type: ignore[arg-type]
    together = make_learners(descent, task(), Means(STATES), configs, folds, CPU)  # type: ignore[arg-type]
    assert isinstance(alone, SeparateHeads)
    assert all(isinstance(learner, StackedEmbeddings) for learner in together)
    losses = torch.cat([learner.learn(UPDATES[:5]) for learner in together])
    torch.testing.assert_close(alone.learn(UPDATES[:5]), losses, rtol=1e-4, atol=1e-5)
