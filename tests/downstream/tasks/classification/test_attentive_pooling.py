"""Attention pooling: a learned weight of each frame, which begins at the mean and reads no padding."""

from __future__ import annotations

import math

import pytest
import torch
from small_datasets import small_dataset
from torch import Tensor
from torch.nn import functional

from downstream.data.splits import Fold
from downstream.tasks.classification.data import ClassTargets
from downstream.tasks.classification.family import ClassificationTask
from downstream.tasks.classification.heads import AttentivePoolingClassifier, UtteranceClassifier
from downstream.tasks.classification.recipe import ClassifierSettings
from downstream.tasks.registry import family_of, load_recipe
from upstream.base import HiddenStates
from upstream.errors import UserError

LAYERS, DIM, PROJECTION, CLASSES = 5, 24, 16, 4
LENGTHS = (31, 1, 17, 80)
TARGETS = torch.tensor([0, 3, 1, 2])


def utterances() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(LAYERS, length, DIM, generator=generator) for length in LENGTHS]


def head(kind: type[UtteranceClassifier] = AttentivePoolingClassifier, layer: int | None = None) -> UtteranceClassifier:
    made = kind(LAYERS, DIM, PROJECTION, CLASSES, seed=3, layer=layer)
    with torch.no_grad():
        made.weighted_sum.weights.copy_(torch.linspace(-1, 1, LAYERS))  # not the even mix of the beginning
    return made


def attentive(layer: int | None = None) -> AttentivePoolingClassifier:
    """A head whose frames weigh differently."""
    made = head(layer=layer)
    assert isinstance(made, AttentivePoolingClassifier)
    with torch.no_grad():
        made.attention.copy_(3 * torch.randn(PROJECTION, generator=torch.Generator().manual_seed(1)))
    return made


def plain_logits(module: AttentivePoolingClassifier, states: Tensor) -> Tensor:
    """The logits (C,) of one utterance (L, T, D), a frame at a time."""
    layer = module.weighted_sum.layer
    weights = module.weighted_sum.weights.softmax(dim=0)
    mixed = states[layer] if layer is not None else sum(weights[one] * states[one] for one in range(LAYERS))
    frames = [module.projection.weight @ frame + module.projection.bias for frame in mixed]
    scores = torch.stack([frame.dot(module.attention) for frame in frames])
    shares = scores.exp() / scores.exp().sum()
    pooled = sum(share * frame for share, frame in zip(shares, frames, strict=True))
    logits: Tensor = module.output.weight @ pooled + module.output.bias
    return logits


def gradients(loss: Tensor, module: UtteranceClassifier) -> dict[str, Tensor]:
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("layer", [None, 2])
def test_it_begins_at_the_mean(layer: int | None) -> None:
    """With the weights and logits of the head that pools by the mean, on frames and on means."""
    states = HiddenStates.from_utterances(utterances())
    first, mean = head(layer=layer), head(UtteranceClassifier, layer)
    assert not first.attention.any()
    assert {name for name, _ in first.named_parameters()} - {name for name, _ in mean.named_parameters()} == {
        "attention"
    }
    for name, tensor in mean.state_dict().items():
        assert torch.equal(first.state_dict()[name], tensor), name
    torch.testing.assert_close(first(states), mean(states), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first(states), mean(states.means().transpose(0, 1)), rtol=1e-5, atol=1e-5)
    found = gradients(functional.cross_entropy(first(states), TARGETS), first)
    assert float(found["attention"].norm()) > 0  # it can leave the mean


@pytest.mark.parametrize("layer", [None, 2])
def test_logits_and_gradients_are_those_of_a_plain_computation(layer: int | None) -> None:
    module = attentive(layer).double()
    own = [states.double() for states in utterances()]
    together = module(HiddenStates.from_utterances(own))
    singly = torch.stack([plain_logits(module, states) for states in own])
    torch.testing.assert_close(together, singly, rtol=1e-10, atol=1e-10)
    of_batch = gradients(functional.cross_entropy(together, TARGETS), module)
    of_utterances = gradients(functional.cross_entropy(singly, TARGETS), module)
    assert set(of_batch) == set(of_utterances)
    assert {"attention", "projection.weight", "output.weight"} <= set(of_batch)
    assert ("weighted_sum.weights" in of_batch) == (layer is None)
    for name, gradient in of_batch.items():
        assert float(gradient.norm()) > 0, name
        torch.testing.assert_close(gradient, of_utterances[name], rtol=1e-9, atol=1e-12)


def test_neither_padding_nor_batch_mates_matter() -> None:
    module, own = attentive(), utterances()
    together = HiddenStates.from_utterances(own)
    logits = module(together)
    for index, length in enumerate(LENGTHS):
        together.layers[:, index, length:] = 1e6
        alone = HiddenStates.from_utterances([own[index]])
        torch.testing.assert_close(module(alone)[0], logits[index], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(module(together), logits, rtol=1e-5, atol=1e-5)
    further = HiddenStates(functional.pad(together.layers, (0, 0, 0, 7)), together.lengths)
    torch.testing.assert_close(module(further), logits, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients(functional.cross_entropy(module(together), TARGETS), module).items():
        assert torch.isfinite(gradient).all(), name


def test_the_order_of_frames_does_not_matter() -> None:
    module, (states, *_) = attentive(), utterances()
    shuffled = states[:, torch.randperm(states.shape[1], generator=torch.Generator().manual_seed(2))]
    both = module(HiddenStates.from_utterances([states, shuffled]))
    torch.testing.assert_close(both[0], both[1], rtol=1e-5, atol=1e-5)


def test_a_large_score_picks_its_frame() -> None:
    """Frame 7 alone has a projection along the attention."""
    module = attentive()
    projected = torch.zeros(1, 10, PROJECTION)
    projected[0, 7] = module.attention
    pooled = module.pool(100 * projected, torch.ones(1, 10, dtype=torch.bool))
    torch.testing.assert_close(pooled[0], 100 * module.attention.detach())
    hidden = module.pool(100 * projected, torch.arange(10)[None] < 7)  # the frame is padding
    assert not hidden.any()


# ---------------------------------------------------------------- in a recipe


def test_attention_needs_frames_and_the_mean_does_not() -> None:
    assert family_of(load_recipe("emotion")).needs() == "means"
    assert family_of(load_recipe("emotion", ["head.pooling=attention"])).needs() == "frames"
    with pytest.raises(UserError, match="head.pooling"):
        load_recipe("emotion", ["head.pooling=median"])


def test_windows_of_states_are_refused_for_the_mean_alone() -> None:
    windows = ["training.crop.seconds=1.0", "training.crop.of=states"]
    load_recipe("emotion", [*windows, "head.pooling=attention"])
    with pytest.raises(UserError, match="a classifier reads means of whole utterances"):
        load_recipe("emotion", windows)


def test_pooling_by_the_mean_is_the_question_that_it_was_before_there_was_a_choice() -> None:
    assert "pooling" not in load_recipe("emotion").question()["head"]
    assert load_recipe("emotion", ["head.pooling=attention"]).question()["head"]["pooling"] == "attention"


def task(pooling: str) -> ClassificationTask:
    targets = ClassTargets(("a", "b", "c", "d"), tuple(TARGETS.tolist()))
    dataset = small_dataset("wxyz", [Fold("f", (0, 1), (2,), (3,))], targets)
    return ClassificationTask(
        dataset, LAYERS, DIM, ClassifierSettings.model_validate({"projection": PROJECTION, "pooling": pooling})
    )


def test_the_task_builds_and_learns_it_on_frames() -> None:
    """It is no affine head, so no stack takes it."""
    own = task("attention")
    assert own.affine is None
    assert task("mean").affine is not None
    made = own.build(3, None)
    assert isinstance(made, AttentivePoolingClassifier)
    assert not isinstance(task("mean").build(3, None), AttentivePoolingClassifier)
    states = HiddenStates.from_utterances(utterances())
    losses = own.losses(made, states, torch.arange(4))
    assert losses.tolist() == pytest.approx(functional.cross_entropy(made(states), TARGETS, reduction="none").tolist())
    posteriors = own.predict(made, states)
    assert posteriors.shape == (4, CLASSES)
    torch.testing.assert_close(posteriors.sum(dim=1), torch.ones(4))
    assert own.losses(made, states, torch.arange(4)).mean().item() == pytest.approx(
        -posteriors[torch.arange(4), TARGETS].log().mean().item(), rel=1e-5
    )


def test_learning_finds_the_frames_that_tell_classes_apart() -> None:
    """One frame of thirty holds the class, and is loud; the others are noise that the mean drowns it in."""
    generator = torch.Generator().manual_seed(4)
    classes = torch.arange(40) % CLASSES

    def spoken(which: Tensor) -> HiddenStates:
        states = 1.5 * torch.randn(LAYERS, len(which), 30, DIM, generator=generator)
        place = torch.randint(30, (len(which),), generator=generator)
        rows = torch.arange(len(which))
        states[:, rows, place] = 0.0
        states[:, rows, place, which] = 6.0
        states[:, rows, place, -1] = 6.0  # marks the frame
        return HiddenStates(states, torch.full((len(which),), 30))

    learned, held_out = spoken(classes), spoken(classes)
    losses = {}
    for kind in (AttentivePoolingClassifier, UtteranceClassifier):
        module = kind(LAYERS, DIM, PROJECTION, CLASSES, seed=0)
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            functional.cross_entropy(module(learned), classes).backward()
            optimizer.step()
        losses[kind] = functional.cross_entropy(module(held_out), classes).item()
    assert losses[AttentivePoolingClassifier] < 0.2 * math.log(CLASSES)
    assert losses[AttentivePoolingClassifier] < 0.5 * losses[UtteranceClassifier]
