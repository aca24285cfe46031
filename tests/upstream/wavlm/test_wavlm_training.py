"""WavLM in training against transformers, and against itself: frozen, divided, and computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peers import KINDS, relative_error, save_transformers, transformers_model
from torch import Tensor

import upstream
from upstream.errors import UserError
from upstream.learned import Learned
from upstream.wavlm import dropout, front_end, masking, model, names
from upstream.wavlm.checkpoint import Checkpoint
from upstream.wavlm.config import NANO, WavLMConfig
from upstream.wavlm.training import TrainableWavLM
from upstream.wavlm.upstream import drawn, load_untrained

CPU = torch.device("cpu")
NOTHING_RANDOM = {
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "layerdrop": 0.0,
    "mask_time_prob": 0.0,
}
ALL = Learned(front_end=True)
SEEDS = [3, 1, 4]


def noise(samples: int, seed: int) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.fixture
def utterances() -> list[Tensor]:
    return [noise(samples, samples) for samples in (16_000, 9_000, 300)]


def tiny(learned: Learned = Learned(), **changes: Any) -> TrainableWavLM:  # noqa: B008  # frozen
    """A small WavLM in training mode; without changes, with the dropouts and masks of the published ones."""
    encoder = TrainableWavLM(drawn(replace(NANO, **changes), 0), learned, CPU)
    encoder.step_seed = 0
    return encoder.train()


def both(kind: str, **changes: Any) -> tuple[TrainableWavLM, Any]:
    """Ours and transformers' model with the same weights, in training mode."""
    settings = KINDS[kind] | NOTHING_RANDOM | changes
    peer = transformers_model(settings | {"mask_time_prob": 0.5}).train()  # else it has no mask vector
    for name in NOTHING_RANDOM:
        setattr(peer.config, name, settings[name])
    config = WavLMConfig(**{name: tuple(own) if isinstance(own, list) else own for name, own in settings.items()})
    return TrainableWavLM(Checkpoint(config, peer.state_dict(), "", ""), ALL, CPU).train(), peer


def loss_of(layers: Tensor) -> Tensor:
    """Of all layers, (L, B, T, D), and of each frame by itself; squares would not do, which a layer norm fixes."""
    return (layers.float() * noise(layers.shape[0] * layers.shape[-1], 2).view(len(layers), 1, 1, -1)).sum()


def gradients(encoder: TrainableWavLM, waveforms: Sequence[Tensor], seeds: Sequence[int]) -> dict[str, Tensor]:
    """{name: gradient}, without those that have none."""
    encoder.zero_grad()
    loss_of(encoder(waveforms, seeds).layers).backward()
    return {name: own.grad.clone() for name, own in encoder.named_parameters() if own.grad is not None}


# ---------------------------------------------------------------- transformers


@pytest.mark.parametrize("kind", KINDS)
def test_all_gradients_are_those_of_transformers(kind: str) -> None:
    """In training mode with nothing random, at 1e-5 of the gradient of each parameter, under transformers' names.

    Magnitude and direction of the weight norm learn as they do there. The bias of the keys has no gradient: it adds the
    same to all scores of a query. What both have instead is rounding, which is compared with the queries' bias.
    """
    ours, peer = both(kind)
    peer.double()
    mask = torch.zeros(49, dtype=torch.bool)
    mask[10:14] = True
    waveform, weights = noise(16_000, 0), noise(4 * 49 * 64, 1).view(4, 49, 64)
    states = ours.encode([waveform], SEEDS[:1], masking.Masks(mask, None, [49]))
    (states.layers[:, 0] * weights).sum().backward()
    output = peer(waveform[None].double(), mask_time_indices=mask[None], output_hidden_states=True)
    (torch.cat([*output.hidden_states[:-1], output.last_hidden_state]) * weights).sum().backward()
    found = names.from_native({name: own.grad for name, own in ours.model.named_parameters()}, ours.config)
    assert found.keys() == dict(peer.named_parameters()).keys()
    for name, parameter in peer.named_parameters():
        expected = parameter.grad
        if name.endswith("k_proj.bias"):
            of_queries = found[name.replace("k_proj", "q_proj")]
            assert float(found[name].norm()) < 1e-5 * float(of_queries.norm()), name
        else:
            assert relative_error(found[name], expected) < 1e-5, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_dropout": 1.0},
        {"attention_dropout": 1.0},
        {"activation_dropout": 1.0},
        {"feat_proj_dropout": 1.0},
        {"layerdrop": 1.0},
        {"mask_time_prob": 1.0, "mask_time_length": 1},
        {"mask_feature_prob": 1.0, "mask_feature_length": 1, "mask_feature_min_masks": 0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_random_is_so_at_the_places_of_transformers(kind: str, changes: dict[str, Any]) -> None:
    """Each alone with probability one, where both are certain."""
    ours, peer = both(kind, **changes)
    waveform = noise(8_000, 0)
    with torch.no_grad():
        expected = peer(waveform[None]).last_hidden_state[0]
    states = ours([waveform], [0])
    torch.testing.assert_close(states.layers[-1, 0], expected, rtol=1e-5, atol=1e-5)
    assert len(states.layers) == ours.num_layers
    certain = ours.eval()([waveform]).layers[-1, 0]
    assert relative_error(certain, expected) > 0.1, "it has no effect"


@pytest.mark.parametrize(
    ("length", "probability", "span", "fewest"),
    [(49, 0.05, 10, 2), (400, 0.065, 10, 2), (149, 0.5, 10, 0), (64, 0.3, 16, 0), (12, 0.9, 10, 2), (9, 0.5, 10, 2)],
)
def test_masks_have_the_statistics_of_transformers(length: int, probability: float, span: int, fewest: int) -> None:
    """How much is masked, how often each place is, and how many runs there are, over 3,000 draws of each.

    transformers' generator is numpy's global one. What is shorter than a span it refuses; here nothing is masked.
    """
    import numpy
    from transformers.models.wavlm.modeling_wavlm import _compute_mask_indices

    draws = 3000
    generator = torch.Generator().manual_seed(0)
    own = [masking.spans(length, probability, span, fewest, generator) for _ in range(draws)]
    ours = torch.stack(own).double()
    if length < span:
        assert not ours.any()
        return
    state = numpy.random.get_state()
    numpy.random.seed(0)
    drawn = [_compute_mask_indices((1, length), probability, span, min_masks=fewest)[0] for _ in range(draws)]
    numpy.random.set_state(state)
    theirs = torch.tensor(numpy.stack(drawn)).double()

    def assert_alike(a: Tensor, b: Tensor) -> None:
        """Means of draws, (draws, …), that differ by less than 4.5 standard errors."""
        error = ((a.var(0) + b.var(0)) / draws).sqrt()
        assert bool(((a.mean(0) - b.mean(0)).abs() <= 4.5 * error + 1e-9).all())

    assert_alike(ours.mean(1), theirs.mean(1))
    assert_alike(ours, theirs)
    runs = [(mask.diff(dim=1) > 0).sum(1) + mask[:, 0] for mask in (ours, theirs)]
    assert_alike(*runs)


# ---------------------------------------------------------------- one batch


def test_evaluation_mode_gives_the_states_of_the_frozen_upstream(utterances: list[Tensor]) -> None:
    frozen = load_untrained("tiny", NANO, 0, CPU, torch.float32)
    encoder = frozen.trainable(ALL).eval()
    states = encoder(utterances)
    assert states.layers.requires_grad
    with torch.no_grad():
        alone = encoder(utterances)
    for found in (states, alone):
        assert found.lengths.tolist() == [49, 27, 1]
        assert relative_error(found.layers.detach(), frozen(utterances).layers) < 1e-5


def test_what_is_random_depends_on_the_seed_of_an_utterance_alone(utterances: list[Tensor]) -> None:
    """States, and the gradients of two halves of a batch, which may be those of two processes."""
    encoder = tiny(ALL, mask_feature_prob=0.2, layerdrop=0.5)
    together = encoder(utterances, SEEDS)
    reordered = encoder(utterances[::-1], SEEDS[::-1])
    for index, waveform in enumerate(utterances):
        alone = encoder([waveform], [SEEDS[index]]).utterance(0)
        assert relative_error(together.utterance(index).detach(), alone.detach()) < 1e-5
        assert relative_error(reordered.utterance(2 - index).detach(), alone.detach()) < 1e-5
    assert relative_error(encoder(utterances, [7, 7, 7]).layers.detach(), together.layers.detach()) > 0.1
    whole = gradients(encoder, utterances, SEEDS)
    first, second = gradients(encoder, utterances[:1], SEEDS[:1]), gradients(encoder, utterances[1:], SEEDS[1:])
    for name, expected in whole.items():
        if name.endswith("qkv.bias"):  # the keys' part is rounding
            continue
        assert relative_error(first[name] + second[name], expected) < 2e-5, name


def test_seeds_are_drawn_where_none_are_given(utterances: list[Tensor]) -> None:
    encoder = tiny()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, other = encoder(utterances).layers, encoder(utterances).layers
        torch.manual_seed(0)
        again = encoder(utterances).layers
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="1 seeds for 3"):
        encoder(utterances, [1])


@pytest.mark.parametrize("settings", [ALL, Learned(from_layer=1)])
def test_checkpointing_gives_the_same_gradients(settings: Learned, utterances: list[Tensor]) -> None:
    kept = gradients(tiny(settings), utterances, SEEDS)
    again = gradients(tiny(replace(settings, checkpointing=True)), utterances, SEEDS)
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_attention_head_by_head_changes_nothing(utterances: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"attention_dropout": 0.0}
    expected = gradients(tiny(**changes), utterances, SEEDS)
    monkeypatch.setattr("upstream.wavlm.attention_training.LARGEST_BLOCK", 1)
    found = gradients(tiny(**changes), utterances, SEEDS)
    assert all(relative_error(found[name], expected[name]) < 1e-4 for name in expected)


@pytest.mark.parametrize("way", ["of a CPU", "of a GPU"])
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("samples", [3_000, 30_000])
def test_utterances_of_equal_length_learn_what_each_learns_alone(
    way: str, norm: str, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together in one call of a convolution, or, where they are long, in pieces; dropout and masks included."""
    if way == "of a GPU":
        monkeypatch.setattr(front_end.FrontEnd, "_pieces", front_end.FrontEnd._together)
    monkeypatch.setattr(front_end, "FRAMES_ON_CPU", 2)
    monkeypatch.setattr(model, "LEARNED_AT_ONCE", 20)
    encoder = tiny(ALL, feat_extract_norm=norm, layerdrop=0.0)
    waveforms = [noise(length, number) for number, length in enumerate([samples, samples, samples, 700, samples])]
    seeds = list(range(len(waveforms)))
    together = gradients(encoder, waveforms, seeds)
    alone = [gradients(encoder, [waveform], [seed]) for waveform, seed in zip(waveforms, seeds, strict=True)]
    for name, gradient in together.items():
        expected = sum(one[name] for one in alone)
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()) + 1e-6)


def test_dropout_keeps_the_mean_and_repeats_itself() -> None:
    dropouts = dropout.Dropouts([5, 6], [2000, 1000])
    x = torch.ones(3000, 33)
    dropped = dropouts(x, 0.1, "somewhere")
    assert abs(float((dropped == 0).double().mean()) - 0.1) < 0.005
    assert abs(float(dropped.double().mean()) - 1.0) < 0.005
    assert torch.equal(dropped, dropouts(x, 0.1, "somewhere"))
    assert torch.equal(dropped[:2000], dropout.Dropouts([5], [2000])(x[:2000], 0.1, "somewhere"))
    assert not torch.equal(dropped, dropouts(x, 0.1, "elsewhere"))
    assert not torch.equal(dropped, dropouts.of_block(0)(x, 0.1, "somewhere"))
    assert not dropouts(x, 1.0, "somewhere").any()
    assert dropouts(x, 0.0, "somewhere") is x


def test_dropped_blocks_repeat_their_input(utterances: list[Tensor]) -> None:
    encoder = tiny(num_hidden_layers=8, layerdrop=0.5)
    dropped = []
    for seed in range(40):
        encoder.step_seed = seed
        with torch.no_grad():
            layers = encoder(utterances[2:], [0]).layers
        dropped += [index for index in range(8) if torch.equal(layers[index], layers[index + 1])]
    assert 0 not in dropped
    assert 0.4 < len(dropped) / (40 * 7) < 0.6


# ---------------------------------------------------------------- what learns


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Learned(), {"blocks.0", "blocks.1", "blocks.2", "feature_norm", "projection", "mask_embedding"}
        | {"positional_conv", "relative_positions", "norm"}),
        (Learned(from_layer=2), {"blocks.2"}),
    ],
)  # fmt: skip
def test_only_what_was_asked_for_learns(settings: Learned, expected: set[str], utterances: list[Tensor]) -> None:
    encoder = tiny(settings, layerdrop=0.0)
    found = gradients(encoder, utterances, SEEDS)
    parts = {name.removeprefix("model.").split(".parametrizations")[0] for name in found}
    assert {".".join(part.split(".")[: 2 if part.startswith("blocks") else 1]) for part in parts} == expected
    assert [name for name, _ in encoder.learned()] == list(found)
    frozen, before = encoder.frozen_digest(), encoder.learned()[0][1].clone()
    torch.optim.AdamW([parameter for _, parameter in encoder.learned()], lr=0.1).step()
    assert encoder.frozen_digest() == frozen
    assert not torch.equal(encoder.learned()[0][1], before)


def test_the_gradient_of_the_front_end_is_scaled(utterances: list[Tensor]) -> None:
    whole, tenth = (gradients(tiny(replace(ALL, front_end_scale=own)), utterances, SEEDS) for own in (1.0, 0.1))
    for name, expected in whole.items():
        factor = 0.1 if "front_end" in name else 1.0
        assert relative_error(tenth[name], factor * expected) < 1e-5, name


def test_a_frozen_front_end_is_that_of_the_present_weights(utterances: list[Tensor]) -> None:
    """It is computed by a copy, which has to follow what is loaded."""
    encoder, other = tiny().eval(), TrainableWavLM(drawn(NANO, 1), Learned(), CPU).eval()
    encoder(utterances)
    encoder.load_state_dict(other.state_dict())
    assert torch.equal(encoder(utterances).layers, other(utterances).layers)


LAYER_NORMS = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norms", [{}, LAYER_NORMS], ids=["group", "layer"])
def test_gradients_under_autocast_are_finite_and_near_those_of_float32(
    dtype: torch.dtype, norms: dict[str, Any], utterances: list[Tensor]
) -> None:
    """The last utterance is padded with silence, where gradients of layer norms overflow in float16."""
    encoder = tiny(ALL, **norms, layerdrop=0.0)
    exact = gradients(encoder, utterances, SEEDS)
    with torch.autocast("cpu", dtype):
        states = encoder(utterances, SEEDS)
    encoder.zero_grad()
    loss_of(states.layers).backward()
    infinite = [name for name, own in encoder.learned() if not bool(torch.isfinite(own.grad).all())]
    assert not infinite
    for name in ("model.blocks.1.feed_forward_in.weight", "model.front_end.layers.6.weight"):
        assert relative_error(encoder.get_parameter(name).grad, exact[name]) < 0.1, name


@pytest.mark.parametrize("norms", [{}, LAYER_NORMS], ids=["group", "layer"])
@pytest.mark.parametrize("standardised", [True, False])
def test_gradients_of_silence_and_of_a_constant_are_finite(norms: dict[str, Any], standardised: bool) -> None:
    """Their variance is zero, within a frame and over time; layer norms in a row make them as large as 1e17."""
    encoder = tiny(ALL, **norms, normalize_waveform=standardised, layerdrop=0.0)
    waveforms = [torch.zeros(3_000), torch.full((3_000,), 0.3), torch.full((400,), -0.7), torch.zeros(300)]
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        encoder.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            states = encoder(waveforms, range(4))
        loss_of(states.layers).backward()
        infinite = [name for name, own in encoder.learned() if not bool(torch.isfinite(own.grad).all())]
        assert not infinite, dtype


def kept_of(utterances: list[Tensor], settings: Learned, **changes: Any) -> tuple[int, int, int]:
    """Bytes that autograd keeps of a forward pass, weights aside; bytes of the states; bytes that were estimated."""
    encoder = tiny(settings, layerdrop=0.0, **changes)
    weights = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layers = encoder(utterances, SEEDS[: len(utterances)]).layers
    kept.pop(layers.untyped_storage().data_ptr(), None)
    numbers = sum(own.nbytes() for place, own in kept.items() if place not in weights)
    return numbers, layers.nbytes, encoder.activation_bytes([len(waveform) for waveform in utterances])


@pytest.mark.parametrize("settings", [Learned(), Learned(from_layer=1), Learned(checkpointing=True), ALL])
@pytest.mark.parametrize("changes", [{}, LAYER_NORMS, {"hidden_dropout": 0.0, "intermediate_size": 512}])
@pytest.mark.parametrize("seconds", [[0.5], [1.0, 0.9, 2.0]])
def test_the_estimated_memory_is_what_autograd_keeps(
    settings: Learned, changes: dict[str, Any], seconds: list[float]
) -> None:
    """Within an eighth; with the states and their gradient and, where blocks are computed again, the inside of one."""
    utterances = [noise(round(16_000 * own), 0) for own in seconds]
    kept, states, estimated = kept_of(utterances, settings, **changes)
    inside = kept_of(utterances, Learned(from_layer=2), **changes)[0] if settings.checkpointing else 0
    assert estimated == pytest.approx(kept + inside + 2 * states, rel=0.125)


def test_it_learns(utterances: list[Tensor]) -> None:
    encoder = tiny()
    optimizer = torch.optim.AdamW([parameter for _, parameter in encoder.learned()], lr=1e-2)
    losses = []
    for step in range(12):
        encoder.step_seed = step
        states = encoder(utterances, [100 * step + index for index in range(3)])
        loss = (states.means()[:, -1] - 1.0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3])


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learned_is_kept_and_frozen(kind: str, utterances: list[Tensor], tmp_path: Path) -> None:
    """Saved, loaded by transformers with nothing missing, loaded here with the fingerprint of the frozen copy."""
    from transformers import WavLMModel

    peer = transformers_model(KINDS[kind])
    loaded = upstream.load(str(save_transformers(peer, tmp_path / "first", do_normalize=False)))
    encoder = loaded.trainable(ALL).train()
    before = encoder.upstream("before", CPU, torch.float32)
    assert before.fingerprint == loaded.fingerprint
    gradients(encoder, utterances, SEEDS)
    torch.optim.SGD([parameter for _, parameter in encoder.learned()], lr=1e-5).step()
    after = encoder.upstream("after", CPU, torch.float32)
    encoder.save(tmp_path / "second")
    again = upstream.load(str(tmp_path / "second"))
    assert after.fingerprint == again.fingerprint != before.fingerprint
    assert torch.equal(after(utterances).layers, again(utterances).layers)
    assert relative_error(after(utterances).layers, encoder.eval()(utterances).layers.detach()) < 1e-5
    assert torch.equal(before(utterances).layers, loaded(utterances).layers), "the copy shares memory"
    _, report = WavLMModel.from_pretrained(tmp_path / "second", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with pytest.raises(UserError, match="Save that encoder"):
        after.trainable(ALL)
    save_transformers(transformers_model(KINDS[kind], seed=1), tmp_path / "first", do_normalize=False)
    with pytest.raises(UserError, match="has changed since"):
        loaded.trainable(ALL)


def test_the_digest_of_weights_in_memory_tells_frozen_from_changed(utterances: list[Tensor]) -> None:
    frozen = load_untrained("tiny", NANO, 0, CPU, torch.float32)
    before = frozen.weights_digest()
    frozen(utterances)
    assert frozen.weights_digest() == before == load_untrained("other", NANO, 0, CPU, torch.float32).weights_digest()
    assert load_untrained("tiny", NANO, 1, CPU, torch.float32).weights_digest() != before
    frozen.model.blocks[2].attention.gate.bias[3] += 1e-3
    assert frozen.weights_digest() != before


def test_what_cannot_learn_is_refused() -> None:
    frozen = load_untrained("tiny", NANO, 0, CPU, torch.float32)
    for settings, said in (
        (Learned(from_layer=3), "this encoder has 3 blocks. Choose 0 to 2"),
        (Learned(from_layer=-1), "Choose 0 to 2"),
        (Learned(from_layer=1, front_end=True), "lies below layer 1"),
        (Learned(front_end=True, front_end_scale=0.0), "leave the front end frozen"),
    ):
        with pytest.raises(UserError, match=said):
            frozen.trainable(settings)
    with pytest.raises(UserError, match="only WavLM has a training mode"):
        upstream.load("fbank").trainable(Learned())
