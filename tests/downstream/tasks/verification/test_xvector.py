"""The x-vector head is SUPERB's, and no batch-mate matters to it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from downstream.tasks.head import initialised
from downstream.tasks.verification.xvector import AMSoftmax, StatisticsPooling, TimeDelayLayer, XVector, lengthened
from upstream.base import HiddenStates

LAYERS, DIM, WIDTH, POOLED, SPEAKERS = 4, 12, 16, 24, 7


def small(layer: int | None = None, seed: int = 0) -> XVector:
    """The head with SUPERB's contexts and smaller widths, its layers unevenly mixed."""
    head = initialised(
        seed,
        lambda: XVector(
            LAYERS, DIM, SPEAKERS, projection=WIDTH, widths=(WIDTH,) * 4 + (POOLED,), embedding=WIDTH, layer=layer
        ),
    )
    with torch.no_grad():
        head.weighted_sum.weights.copy_(torch.linspace(-1, 1, LAYERS))
    return head


def utterances(*frames: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(LAYERS, count, DIM, generator=generator) for count in frames]


def gradients(head: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    head.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in head.named_parameters() if p.grad is not None}


def test_its_default_shapes_are_those_of_superb() -> None:
    """The table of s3prl's downstream/sv_voxceleb1, for WavLM Base and VoxCeleb1's 1,211 training speakers."""
    head = initialised(0, lambda: XVector(13, 768, 1211))
    shapes = {name: tuple(parameter.shape) for name, parameter in head.named_parameters() if parameter.ndim == 2}
    assert shapes == {
        "connector.weight": (512, 768),
        "tdnn.0.linear.weight": (512, 2560),
        "tdnn.1.linear.weight": (512, 1536),
        "tdnn.2.linear.weight": (512, 1536),
        "tdnn.3.linear.weight": (512, 512),
        "tdnn.4.linear.weight": (1500, 512),
        "segment1.weight": (512, 3000),
        "segment2.weight": (512, 512),
        "objective.weight": (1211, 512),
    }
    assert (head.lost, head.objective.scale, head.objective.margin) == (14, 30.0, 0.4)


@pytest.mark.parametrize("layer", [None, 2])
def test_no_batch_mate_matters(layer: int | None) -> None:
    head, own = small(layer), utterances(50, 16, 3, 31, 120)
    together = HiddenStates.from_utterances(own)
    for index, length in enumerate(together.lengths.tolist()):
        together.layers[:, index, length:] = 1e3  # padding holds nothing of meaning
    speakers = torch.tensor([0, 6, 2, 2, 5])
    embeddings, losses = head(together), head.losses(together, speakers)
    assert embeddings.shape == (5, WIDTH)
    assert losses.shape == (5,)
    for index, utterance in enumerate(own):
        alone = HiddenStates.from_utterances([utterance])
        torch.testing.assert_close(head(alone)[0], embeddings[index], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            head.losses(alone, speakers[index : index + 1])[0], losses[index], rtol=1e-5, atol=1e-5
        )
    batch = gradients(head, losses.sum())
    singly = [
        gradients(head, head.losses(HiddenStates.from_utterances([u]), s[None]).sum())
        for u, s in zip(own, speakers, strict=True)
    ]
    for name, gradient in batch.items():
        torch.testing.assert_close(sum(each[name] for each in singly), gradient, rtol=1e-4, atol=1e-5)


def test_equals_s3prl_on_utterances_of_one_length() -> None:
    """Embedding, loss and gradients; with utterances of several lengths s3prl pools one frame too many."""
    theirs_module = pytest.importorskip("s3prl.downstream.sv_voxceleb1.model")
    settings = {"agg_dim": POOLED, "dropout_p": 0.0, "batch_norm": False}
    theirs = theirs_module.Model(WIDTH, POOLED, "SP", "XVector", "UtteranceExtractor", settings)
    their_loss = theirs_module.AMSoftmaxLoss(WIDTH, SPEAKERS, s=30.0, m=0.4)
    head = small()
    ours = head.state_dict()
    connector = nn.Linear(DIM, WIDTH)
    connector.load_state_dict(head.connector.state_dict())
    names = {f"framelevel_feature_extractor.module.{i}.kernel": f"tdnn.{i}.linear" for i in range(5)}
    names |= {f"utterancelevel_feature_extractor.linear{i}": f"segment{i}" for i in (1, 2)}
    theirs.load_state_dict(
        {f"{t}.{part}": ours[f"{o}.{part}"] for t, o in names.items() for part in ("weight", "bias")}
    )
    their_loss.W.data.copy_(ours["objective.weight"].T)

    states = HiddenStates.from_utterances(utterances(40, 40, 40))
    speakers = torch.tensor([3, 0, 6])
    proportions = ours["weighted_sum.weights"].softmax(dim=0)
    features = connector(torch.einsum("l,lbtd->btd", proportions, states.layers))
    mask = torch.zeros(3, 40 - 14)
    assert relative_error(head(states), theirs.inference(features, mask)) < 1e-5

    expected = their_loss(theirs(features, mask), speakers)
    loss = head.losses(states, speakers).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    of_ours, of_theirs = gradients(head, loss), gradients(theirs, expected)
    for their_name, our_name in names.items():
        for part in ("weight", "bias"):
            gradient = of_ours[f"{our_name}.{part}"]
            assert relative_error(gradient, of_theirs[f"{their_name}.{part}"]) < 1e-5, our_name
    assert relative_error(of_ours["objective.weight"], their_loss.W.grad.T) < 1e-5
    assert relative_error(of_ours["connector.weight"], connector.weight.grad) < 1e-5


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    assert float(theirs.detach().norm()) > 0
    return float((ours - theirs).detach().norm() / theirs.detach().norm())


def test_a_time_delay_layer_sees_the_frames_it_says() -> None:
    layer = TimeDelayLayer(2, 3, frames=3, dilation=2)
    inputs = torch.randn(1, 9, 2, generator=torch.Generator().manual_seed(1))
    outputs = layer(inputs)
    assert outputs.shape == (1, 5, 3)
    for frame in range(5):
        seen = torch.cat([inputs[0, frame], inputs[0, frame + 2], inputs[0, frame + 4]])
        torch.testing.assert_close(outputs[0, frame], layer.linear(seen).relu())


def test_pooling_by_hand() -> None:
    """Frames 1, 3 and, after the end, 100: mean 2, deviation √((1 + 1) / (2 - 1)); 1, 3, 5: mean 3, deviation 2."""
    frames = torch.tensor([[[1.0], [3.0], [100.0]], [[1.0], [3.0], [5.0]]])
    pooled = StatisticsPooling()(frames, torch.tensor([2, 3]))
    torch.testing.assert_close(pooled, torch.tensor([[2.0, 2.0**0.5], [3.0, 2.0]]))


def test_am_softmax_by_hand() -> None:
    """Cosines 1 and 0 with scale 2 and margin 0.5: logits 1 and 0 for the right class 0, 2 and -1 for class 1."""
    objective = AMSoftmax(2, 2, scale=2.0, margin=0.5)
    with torch.no_grad():
        objective.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.1]]))
    embeddings, targets = torch.tensor([[5.0, 0.0], [0.2, 0.0]]), torch.tensor([0, 1])
    logits = objective.logits(embeddings, targets)
    torch.testing.assert_close(logits, torch.tensor([[1.0, 0.0], [2.0, -1.0]]))
    torch.testing.assert_close(objective(embeddings, targets), functional.softplus(torch.tensor([-1.0, 3.0])))


@pytest.mark.parametrize("frames", [1, 2, 15])
def test_an_utterance_too_short_to_be_pooled_has_its_last_frame_repeated(frames: int) -> None:
    head, (short,) = small(), utterances(frames)
    repeated = torch.cat([short, short[:, -1:].expand(-1, 16 - frames, -1)], dim=1)
    embedding = head(HiddenStates.from_utterances([short]))
    torch.testing.assert_close(embedding, head(HiddenStates.from_utterances([repeated])))
    assert torch.isfinite(embedding).all()


def test_only_what_is_too_short_is_lengthened() -> None:
    frames = torch.arange(6.0).view(2, 3, 1)
    longer, lengths = lengthened(frames, torch.tensor([3, 1]), shortest=2)
    assert longer[:, :, 0].tolist() == [[0, 1, 2], [3, 3, 3]]
    assert lengths.tolist() == [3, 2]


def test_no_deviation_gives_no_nan() -> None:
    """Every frame alike, and all units of the last time-delay layer dead."""
    alike = HiddenStates.from_utterances([torch.ones(LAYERS, 30, DIM), torch.ones(LAYERS, 1, DIM)])
    for dead in (False, True):
        head = small()
        if dead:
            nn.init.constant_(head.tdnn[4].linear.bias, -1e3)
        for name, gradient in gradients(head, head.losses(alike, torch.tensor([1, 4])).sum()).items():
            assert torch.isfinite(gradient).all(), name


def test_the_seed_alone_decides_the_first_weights_and_learning_lowers_the_loss() -> None:
    first, second, other = small(seed=3), small(seed=3), small(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.connector.weight, other.connector.weight)
    states, speakers = HiddenStates.from_utterances(utterances(20, 30, 40, 25)), torch.tensor([0, 1, 2, 3])
    optimizer = torch.optim.AdamW(first.parameters(), lr=3e-3)
    before = first.losses(states, speakers).mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = first.losses(states, speakers).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * before
