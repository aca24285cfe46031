"""The loop: which utterances, in which order, with which weight; which step is kept."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from downstream.recipe import OptimizerSettings, TrainingSettings
from downstream.tasks.classification import UtteranceClassifier
from downstream.training import Examples, confusion, micro_batches, train
from upstream.errors import MendableError

ADAM = OptimizerSettings(lr=1e-2)


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings.model_validate({"steps": 60, "batch": 8, "evaluate_every": 10} | changes)


def examples(count: int = 40, seed: int = 0) -> Examples:
    """Two classes that lie apart in layer 1 alone."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 2
    means = torch.randn(3, count, 6, generator=generator)
    means[1, :, 0] += 4.0 * targets
    return Examples(means, targets)


def head(seed: int = 0) -> UtteranceClassifier:
    return UtteranceClassifier(3, 6, projection=8, num_classes=2, seed=seed)


def test_batches_run_on_across_epochs_and_small_micro_batches_weigh_as_much() -> None:
    """Ten utterances in fours: micro-batches of 4, 4, 2, 4, 4, 2 …; three of them an update."""
    batches = list(islice(micro_batches(10, 4, 3, seed=0), 2))
    for indices, weights in batches:
        assert sorted(indices.tolist()) == list(range(10))
        assert weights.tolist() == pytest.approx([1 / 12] * 8 + [1 / 6] * 2)
        assert float(weights.sum()) == pytest.approx(1.0)
    assert batches[0][0].tolist() != batches[1][0].tolist()
    (uneven, weights), *_ = islice(micro_batches(5, 4, 3, seed=0), 1)
    assert weights.tolist() == pytest.approx([1 / 12] * 4 + [1 / 3] + [1 / 12] * 4)
    assert len(uneven) == 9


def test_a_weighted_batch_is_gradient_accumulation() -> None:
    """The update of s3prl: the mean loss of each micro-batch, divided by their number, gradients added up."""
    data, module = examples(), head()
    indices, weights = next(micro_batches(5, 4, 3, seed=0))
    batch = data.take(indices)
    loss = (weights * torch.nn.functional.cross_entropy(module(batch.means), batch.targets, reduction="none")).sum()
    loss.backward()
    once = {name: p.grad.clone() for name, p in module.named_parameters()}
    module.zero_grad()
    for part in (indices[:4], indices[4:5], indices[5:]):
        micro = data.take(part)
        (torch.nn.functional.cross_entropy(module(micro.means), micro.targets) / 3).backward()
    for name, parameter in module.named_parameters():
        assert torch.allclose(once[name], parameter.grad, atol=1e-6), name


def test_learns_and_leans_on_the_layer_that_knows() -> None:
    result = train(head(), examples(), examples(seed=1), ADAM, settings(steps=200), seed=0)
    assert result.development > 0.9
    assert result.head.weighted_sum.proportions()[1] == max(result.head.weighted_sum.proportions())
    assert [step for step, _, _ in result.history] == list(range(10, 201, 10))


def test_the_kept_head_is_that_of_the_first_best_step() -> None:
    result = train(head(), examples(), examples(seed=1), ADAM, settings(), seed=0)
    scores = [score for _, _, score in result.history]
    assert result.development == max(scores)
    assert result.step == result.history[scores.index(max(scores))][0]
    kept = confusion(result.head, examples(seed=1))
    assert float(kept.trace() / kept.sum()) == pytest.approx(result.development)


def test_same_seed_same_bits_other_seed_other_order() -> None:
    first, again, other = (
        train(head(), examples(), examples(seed=1), ADAM, settings(), seed).head.state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["output.weight"], other["output.weight"])


def test_the_last_step_is_evaluated_even_off_the_beat() -> None:
    result = train(head(), examples(), examples(seed=1), ADAM, settings(steps=25), seed=0)
    assert [step for step, _, _ in result.history] == [10, 20, 25]


def test_divergence_is_a_sentence() -> None:
    data = examples()
    data.means[0, 0, 0] = float("inf")
    with pytest.raises(MendableError, match=r"Training diverged.*optimizer\.lr=0\.001"):
        train(head(), data, data, ADAM, settings(batch=40), seed=0)
