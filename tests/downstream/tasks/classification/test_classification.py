"""The head on means is the head on frames; and the head is SUPERB's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from downstream.tasks.classification.heads import UtteranceClassifier
from downstream.tasks.weighted_sum import WeightedSum
from upstream.base import HiddenStates
from upstream.errors import UserError

LAYERS, DIM, CLASSES = 5, 24, 4


@pytest.fixture
def states() -> HiddenStates:
    generator = torch.Generator().manual_seed(0)
    return HiddenStates.from_utterances([torch.randn(LAYERS, n, DIM, generator=generator) for n in (31, 1, 17, 80)])


def head(layer: int | None = None) -> UtteranceClassifier:
    made = UtteranceClassifier(LAYERS, DIM, projection=16, num_classes=CLASSES, seed=3, layer=layer)
    with torch.no_grad():
        made.weighted_sum.weights.copy_(torch.linspace(-1, 1, LAYERS))  # not the even mix of the beginning
    return made


def gradients(logits: Tensor, module: UtteranceClassifier) -> dict[str, Tensor]:
    module.zero_grad()
    targets = torch.tensor([0, 3, 1, 2])
    functional.cross_entropy(logits, targets).backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("layer", [None, 2])
def test_means_give_the_logits_and_gradients_of_frames(layer: int | None, states: HiddenStates) -> None:
    module = head(layer)
    short = module(states.means().transpose(0, 1))
    long = module.on_frames(states.layers, states.lengths)
    assert torch.allclose(short, long, rtol=1e-5, atol=1e-6)
    of_means, of_frames = gradients(short, module), gradients(long, module)
    assert set(of_means) == set(of_frames)
    for name, gradient in of_means.items():
        assert torch.allclose(gradient, of_frames[name], rtol=1e-4, atol=1e-6), name


def test_padding_frames_do_not_reach_the_head(states: HiddenStates) -> None:
    module = head()
    spoilt = states.layers.clone()
    for index, length in enumerate(states.lengths):
        spoilt[:, index, length:] = 1e6
    assert torch.equal(HiddenStates(spoilt, states.lengths).means(), states.means())
    assert torch.allclose(module.on_frames(spoilt, states.lengths), module.on_frames(states.layers, states.lengths))


def test_equals_s3prl(states: HiddenStates) -> None:
    """s3prl's emotion head: a linear projector on frames, then mean pooling and a linear layer."""
    s3prl = pytest.importorskip("s3prl.downstream.model")
    module = head()
    projector = nn.Linear(DIM, 16)
    theirs = s3prl.UtteranceLevel(input_dim=16, output_dim=CLASSES, pooling="MeanPooling")
    with torch.no_grad():
        projector.load_state_dict(module.projection.state_dict())
        linear = next(m for m in theirs.modules() if isinstance(m, nn.Linear) and m.out_features == CLASSES)
        linear.load_state_dict(module.output.state_dict())
        mixed = torch.tensordot(module.weighted_sum.weights.softmax(0), states.layers, dims=1)
        expected, _ = theirs(projector(mixed), states.lengths)
    assert torch.allclose(module(states.means().transpose(0, 1)), expected, rtol=1e-5, atol=1e-5)


def test_the_sum_starts_even_and_one_layer_is_that_layer(states: HiddenStates) -> None:
    even = WeightedSum(LAYERS)
    assert even.proportions() == pytest.approx([1 / LAYERS] * LAYERS)
    assert torch.allclose(even(states.layers), states.layers.mean(dim=0), atol=1e-6)
    alone = WeightedSum(LAYERS, layer=-1)
    assert torch.equal(alone(states.layers), states.layers[-1])
    assert alone.proportions() == [0, 0, 0, 0, 1]
    assert not alone.weights.requires_grad
    with pytest.raises(UserError, match="There is no layer 5"):
        WeightedSum(LAYERS, layer=5)


def test_initial_weights_follow_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = head().state_dict()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = head().state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
