"""Masked prediction against torchaudio's HuBERT and by hand, alone and in parts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.models.wav2vec2.components import LogitGenerator

from upstream.wavlm.pretraining import MaskedPrediction, Predicted, weighted_loss

DIM, FRAMES = 24, 50
CLUSTERS = {"mfcc-20": 20, "pitch-6": 6}
LIMIT = 1e-5


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def targets(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(count, (FRAMES,), generator=generator) for count in CLUSTERS.values()])


def test_cosine_logits_and_losses_are_huberts() -> None:
    """HuBERT puts the right code first, among all codes, and takes it out of these: noise-contrastive estimation."""
    objective, codes = MaskedPrediction(DIM, CLUSTERS, "cosine", projection=16, seed=3), targets()
    states = noise(FRAMES, DIM).requires_grad_()
    masked = noise(FRAMES, seed=2) > 0
    ours = objective(states, codes)
    logits = objective.logits(states)
    for number, (name, count) in enumerate(CLUSTERS.items()):
        peer = LogitGenerator(DIM, count, 16, skip_masked=False, skip_nomask=False)
        peer.load_state_dict(
            {
                "label_embeddings": objective.codes[name].detach(),
                "final_proj.weight": objective.projections[name].weight.detach(),
                "final_proj.bias": objective.projections[name].bias.detach(),
            }
        )
        theirs = peer(states, codes[number], masked, ~masked)
        for where, their_logits in zip((masked, ~masked), theirs, strict=True):
            right = logits[number][where].gather(1, codes[number][where][:, None])
            torch.testing.assert_close(their_logits[:, :1], right, rtol=LIMIT, atol=LIMIT)
            others = their_logits[:, 1:] > -math.inf
            torch.testing.assert_close(their_logits[:, 1:][others], logits[number][where][others], rtol=0, atol=LIMIT)
            expected = F.cross_entropy(
                their_logits, torch.zeros(len(their_logits), dtype=torch.int64), reduction="none"
            )
            torch.testing.assert_close(ours.losses[number][where], expected, rtol=LIMIT, atol=LIMIT)
            gradients = [
                torch.autograd.grad(loss.sum(), states, retain_graph=True)[0]
                for loss in (ours.losses[number][where], expected)
            ]
            torch.testing.assert_close(*gradients, rtol=LIMIT, atol=LIMIT)


def test_linear_losses_are_cross_entropy() -> None:
    objective, codes, states = MaskedPrediction(DIM, CLUSTERS, "linear", seed=3), targets(), noise(FRAMES, DIM)
    found = objective(states, codes)
    for number, name in enumerate(CLUSTERS):
        layer = objective.projections[name]
        scores = states @ layer.weight.T + layer.bias
        by_hand = scores.exp().sum(dim=1).log() - scores.gather(1, codes[number][:, None])[:, 0]
        torch.testing.assert_close(found.losses[number], by_hand, rtol=LIMIT, atol=LIMIT)
        assert found.codes[number].tolist() == scores.argmax(dim=1).tolist()
        assert found.right[number].tolist() == (scores.argmax(dim=1) == codes[number]).tolist()


def test_the_temperature_divides_cosines() -> None:
    states = noise(FRAMES, DIM)
    cold, warm = (MaskedPrediction(DIM, CLUSTERS, "cosine", temperature=one, seed=3) for one in (0.1, 0.4))
    for one, other in zip(cold.logits(states), warm.logits(states), strict=True):
        assert one.abs().max() <= 10.0 + LIMIT
        torch.testing.assert_close(one, other * 4)


def test_losses_stay_in_float32_under_autocast() -> None:
    objective, states = MaskedPrediction(DIM, CLUSTERS, "cosine", seed=3), noise(FRAMES, DIM)
    with torch.autocast("cpu", torch.bfloat16):
        lower = objective(states, targets()).losses
    assert lower.dtype == torch.float32
    torch.testing.assert_close(lower, objective(states, targets()).losses, rtol=0.05, atol=0.05)


def predicted(losses: list[list[float]]) -> Predicted:
    found = torch.tensor(losses)
    return Predicted(found, torch.zeros_like(found, dtype=torch.bool), torch.zeros_like(found, dtype=torch.int64))


MASKED = torch.tensor([True, True, False, False])
WEIGHTS = torch.tensor([0.5, 0.25])


def test_the_weighted_loss_by_hand() -> None:
    """Codebooks are weighted and averaged: frames have losses 1, 2, 3 and 4 of the first, all 8 of the second."""
    two = predicted([[1.0, 2.0, 3.0, 4.0], [8.0, 8.0, 8.0, 8.0]])
    loss = weighted_loss(two, MASKED, WEIGHTS, 1.0, 0.5, (2, 2))
    on_masked, on_others = (0.5 * 1.5 + 0.25 * 8.0) / 2, (0.5 * 3.5 + 0.25 * 8.0) / 2
    assert float(loss) == pytest.approx(on_masked + 0.5 * on_others)
    assert float(weighted_loss(two, MASKED, WEIGHTS, 1.0, 0.0, (2, 2))) == pytest.approx(on_masked)
    assert float(weighted_loss(two, ~torch.ones(4, dtype=torch.bool), WEIGHTS, 1.0, 0.0, (0, 4))) == 0.0


def test_parts_of_an_update_add_up_to_it() -> None:
    """Parts have different shares of masked frames, so that a mean of means would be another number."""
    objective, states, codes = MaskedPrediction(DIM, CLUSTERS, "linear", seed=3), noise(FRAMES, DIM), targets()
    masked = torch.arange(FRAMES) < 33
    frames = (33, FRAMES - 33)
    whole = weighted_loss(objective(states, codes), masked, WEIGHTS, 1.0, 0.3, frames)
    parts = [
        weighted_loss(objective(states[part], codes[:, part]), masked[part], WEIGHTS, 1.0, 0.3, frames)
        for part in (slice(0, 11), slice(11, 40), slice(40, FRAMES))
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole, rtol=LIMIT, atol=LIMIT)


@pytest.mark.parametrize("logits", ["cosine", "linear"])
def test_heads_depend_on_their_seed_and_name_alone(logits: str) -> None:
    state = torch.get_rng_state()
    both = MaskedPrediction(DIM, CLUSTERS, logits, seed=3).state_dict()
    alone = MaskedPrediction(DIM, {"pitch-6": 6}, logits, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)  # others draw from the global generator
    assert alone
    assert all(torch.equal(tensor, both[name]) for name, tensor in alone.items())
    other = MaskedPrediction(DIM, {"pitch-6": 6}, logits, seed=4).state_dict()
    assert not any(torch.equal(tensor, other[name]) for name, tensor in alone.items())


def test_first_weights_have_the_usual_distributions() -> None:
    objective = MaskedPrediction(DIM, {"one": 500}, "cosine", projection=64, seed=0)
    codes, weight = objective.codes["one"].detach(), objective.projections["one"].weight.detach()
    assert 0.0 <= float(codes.min()) < 0.01
    assert 0.99 < float(codes.max()) < 1.0
    assert float(codes.mean()) == pytest.approx(0.5, abs=0.01)
    bound = DIM**-0.5
    assert -bound <= float(weight.min()) < -0.95 * bound
    assert 0.95 * bound < float(weight.max()) <= bound


@pytest.mark.parametrize("logits", ["cosine", "linear"])
def test_inner_layers_have_heads_of_their_own(logits: str) -> None:
    clusters = {"a": 7, "b": 5}
    plain = MaskedPrediction(6, clusters, logits, projection=4, seed=3)
    deep = MaskedPrediction(6, clusters, logits, projection=4, seed=3, inner=[0, 2])
    own = deep.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in plain.state_dict().items())
    states = torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(0))
    targets = torch.stack([torch.arange(9) % 7, torch.arange(9) % 5])
    last, *inner = deep.of_layers(states, targets)
    assert torch.equal(last.losses, plain(states[-1], targets).losses)
    for layer, predicted in zip((0, 2), inner, strict=True):
        plain.load_state_dict({name: own[f"inner.{layer}.{name}"] for name in plain.state_dict()})
        assert torch.equal(predicted.losses, plain(states[layer], targets).losses)
        assert not torch.equal(predicted.losses, deep(states[layer], targets).losses)
