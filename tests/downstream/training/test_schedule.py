"""The course of the learning rate: by hand, and as PyTorch's schedulers have it."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from downstream.recipes.sections import OptimizerSettings
from downstream.training.learner import Schedule


def schedule(course: str, warmup: int, steps: int) -> Schedule:
    return Schedule(OptimizerSettings.model_validate({"lr": 0.5, "schedule": course, "warmup": warmup}), steps)


def factors(course: str, warmup: int, steps: int) -> list[float]:
    made = schedule(course, warmup, steps)
    return [made.factor(step) for step in range(1, steps + 1)]


def rates_of_pytorch(course: str, warmup: int, steps: int) -> list[float]:
    """The rate of every update by a warm-up and then a decay of PyTorch, as shares of the largest."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    rest = steps - warmup
    decay: LRScheduler
    if course == "cosine":
        decay = CosineAnnealingLR(optimizer, T_max=rest)
    else:
        decay = LinearLR(optimizer, start_factor=1.0, end_factor=0.0 if course == "linear" else 1.0, total_iters=rest)
    scheduler: LRScheduler = decay
    if warmup > 0:
        # Both are made at the largest rate, and SequentialLR begins again with the first one.
        rising = LinearLR(optimizer, start_factor=1.0 / warmup, end_factor=1.0, total_iters=max(1, warmup - 1))
        scheduler = SequentialLR(optimizer, [rising, decay], milestones=[warmup])
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"] / 0.5)
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("course", "warmup", "expected"),
    [
        ("constant", 0, [1.0] * 6),
        ("constant", 3, [1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0]),
        ("linear", 0, [1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("linear", 2, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", 0, [1.0, (2 + math.sqrt(3)) / 4, 0.75, 0.5, 0.25, (2 - math.sqrt(3)) / 4]),
        ("cosine", 2, [0.5, 1.0, 1.0, (2 + math.sqrt(2)) / 4, 0.5, (2 - math.sqrt(2)) / 4]),
        ("cosine", 6, [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0]),
    ],
)
def test_factors_by_hand(course: str, warmup: int, expected: list[float]) -> None:
    assert factors(course, warmup, steps=6) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("course", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("warmup", "steps"), [(0, 40), (2, 40), (7, 40), (39, 40), (10, 11)])
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # SequentialLR's own call
def test_factors_are_those_of_pytorchs_schedulers(course: str, warmup: int, steps: int) -> None:
    assert factors(course, warmup, steps) == pytest.approx(rates_of_pytorch(course, warmup, steps), abs=1e-6)


@pytest.mark.parametrize("course", ["constant", "linear", "cosine"])
def test_a_rate_rises_in_the_warm_up_and_does_not_rise_after_it(course: str) -> None:
    found = factors(course, warmup=10, steps=50)
    assert found[:10] == sorted(found[:10])
    assert found[9] == found[10] == 1.0
    assert found[10:] == sorted(found[10:], reverse=True)
    assert all(0.0 < factor <= 1.0 for factor in found)


def test_every_group_is_multiplied_with_its_own_largest_rate() -> None:
    """However often it is applied, and in whatever order."""
    groups = [{"params": [torch.zeros(1)], "lr": 0.5}, {"params": [torch.zeros(1)], "lr": 0.01}]
    optimizer = torch.optim.SGD(groups)
    linear = schedule("linear", warmup=0, steps=4)
    for step in (3, 1, 4, 4, 2):
        linear.apply(optimizer, step)
        factor = (5 - step) / 4
        assert [group["lr"] for group in optimizer.param_groups] == [0.5 * factor, 0.01 * factor]


def test_constant_without_warm_up_keeps_the_bits_of_a_rate() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    for step in range(1, 7):
        schedule("constant", warmup=0, steps=6).apply(optimizer, step)
        assert optimizer.param_groups[0]["lr"] == 0.1
