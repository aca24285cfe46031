"""Our WavLM against other implementations, and against itself in other batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peers import KINDS, microsoft_model, relative_error, save_transformers, transformers_model, transformers_states
from torch import Tensor

from upstream.wavlm import attention, attention_kernels, checkpoint, names
from upstream.wavlm.config import BASE, LARGE, NANO, WavLMConfig
from upstream.wavlm.model import untrained
from upstream.wavlm.standardisation import standardise
from upstream.wavlm.upstream import WavLMUpstream, load_checkpoint, load_untrained

CPU, FLOAT32 = torch.device("cpu"), torch.float32
TOLERANCE = 1e-5  # relative, every layer; ten times below what is asked for


def native(folder: Path) -> WavLMUpstream:
    return load_checkpoint("test", folder, None, "test", CPU, FLOAT32)


def assert_close(ours: Tensor, theirs: list[Tensor], tolerance: float = TOLERANCE) -> None:
    """Every layer of one utterance, (L, T, D) against L tensors (T, D)."""
    assert len(ours) == len(theirs)
    errors = [relative_error(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert max(errors) < tolerance, errors


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_batch_equals_transformers_utterance_by_utterance(
    kind: str, waveforms: list[Tensor], tmp_path: Path
) -> None:
    peer = transformers_model(KINDS[kind])
    ours = native(save_transformers(peer, tmp_path, do_normalize=False))
    states = ours(waveforms)
    assert states.lengths.tolist() == [50, 1, 99, 15]
    for index, waveform in enumerate(waveforms):
        assert_close(states.utterance(index), transformers_states(peer, waveform))


@pytest.mark.parametrize("kind", KINDS)
def test_long_utterances_reach_every_position_bucket(kind: str, tmp_path: Path) -> None:
    """Beyond 778 frames all distances share the last bucket; 850 frames pass that."""
    peer = transformers_model(KINDS[kind])
    waveform = torch.randn(850 * 320 + 80, generator=torch.Generator().manual_seed(1)) * 0.1
    states = native(save_transformers(peer, tmp_path, do_normalize=False))([waveform])
    assert_close(states.utterance(0), transformers_states(peer, waveform))


@pytest.mark.parametrize("config", [BASE, LARGE])
def test_the_published_sizes_equal_transformers(config: WavLMConfig) -> None:
    """Base and Large with all layers."""
    peer = transformers_model(config.to_hugging_face())
    ours = checkpoint.Checkpoint(config, peer.state_dict(), "", "").build().eval()
    waveform = torch.randn(12_345, generator=torch.Generator().manual_seed(2)) * 0.1
    with torch.no_grad():
        states = torch.stack(list(ours([waveform])))
    assert_close(states, transformers_states(peer, waveform))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_torchaudio(kind: str, waveforms: list[Tensor], tmp_path: Path) -> None:
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    hugging_face = transformers_model(KINDS[kind])
    peer = import_huggingface_model(hugging_face).eval()
    ours = native(save_transformers(hugging_face, tmp_path, do_normalize=False))
    states = ours(waveforms)
    for index, waveform in enumerate(waveforms):
        with torch.no_grad():
            blocks, _ = peer.extract_features(waveform[None])  # outputs of blocks 1 … N, un-normed
            output, _ = peer(waveform[None])
        assert_close(states.utterance(index)[1:], [b[0] for b in blocks[:-1]] + [output[0]])


@pytest.mark.parametrize("kind", KINDS)
def test_equals_microsoft(kind: str, waveforms: list[Tensor], tmp_path: Path) -> None:
    pytest.importorskip("s3prl")
    peer = microsoft_model(KINDS[kind])
    tensors = names.from_microsoft(peer.state_dict())
    config = WavLMConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in KINDS[kind].items()})
    checkpoint.write(tmp_path, config, tensors)
    states = native(tmp_path)(waveforms)
    depth = config.num_hidden_layers
    for index, waveform in enumerate(waveforms):
        with torch.no_grad():
            (_, layers), _ = peer.extract_features(waveform[None], output_layer=depth, ret_layer_results=True)
            output, _ = peer.extract_features(waveform[None])
        theirs = [layer.transpose(0, 1)[0] for layer, _ in layers[:-1]] + [output[0]]
        assert_close(states.utterance(index), theirs)


@pytest.mark.parametrize("config", [NANO, WavLMConfig(**(vars(NANO) | {"feat_extract_norm": "layer"}))])
def test_wavlm_states_do_not_depend_on_the_batch(config: WavLMConfig, waveforms: list[Tensor]) -> None:
    ours = load_untrained("tiny", config, 0, CPU, FLOAT32)
    together = ours(waveforms)
    reordered = ours(waveforms[::-1])
    for index, waveform in enumerate(waveforms):
        alone = ours([waveform]).utterance(0)
        assert relative_error(together.utterance(index), alone) < 1e-5
        assert relative_error(reordered.utterance(len(waveforms) - 1 - index), alone) < 1e-5


def test_attention_in_blocks_of_queries_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = load_untrained("tiny", NANO, 0, CPU, FLOAT32)
    waveform = torch.randn(20_000, generator=torch.Generator().manual_seed(3))
    whole = ours([waveform]).layers
    monkeypatch.setattr(attention_kernels, "LARGEST_BLOCK", 1000)
    monkeypatch.setattr(attention_kernels, "FEWEST_QUERIES", 7)
    assert relative_error(ours([waveform]).layers, whole) < 1e-6


def test_buckets_by_hand() -> None:
    """Worked by hand from the formula: 80 exact distances each way, then logarithmic up to 800."""
    table = attention.buckets(320, 800).tolist()
    by_distance = dict(zip(range(800, -801, -1), table, strict=True))
    assert [by_distance[r] for r in (0, -1, -79, -80, -777, -778, -800)] == [0, 1, 79, 80, 158, 159, 159]
    assert [by_distance[r] for r in (1, 79, 800)] == [161, 239, 319]


def test_bfloat16_stays_near_float32(waveforms: list[Tensor]) -> None:
    """1e-2 is the rounding error of transformers' bfloat16 on random weights."""
    exact = load_untrained("tiny", NANO, 0, CPU, FLOAT32)(waveforms)
    rounded = load_untrained("tiny", NANO, 0, CPU, torch.bfloat16)(waveforms)
    assert rounded.layers.dtype == torch.bfloat16
    for index in range(len(waveforms)):
        assert relative_error(rounded.utterance(index)[-1], exact.utterance(index)[-1]) < 3e-2


def test_untrained_weights_follow_their_seed_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (untrained(NANO, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["projection.weight"], other["projection.weight"])
    assert (
        load_untrained("a", NANO, 0, CPU, FLOAT32).fingerprint != load_untrained("a", NANO, 1, CPU, FLOAT32).fingerprint
    )


def test_the_upstream_is_frozen_and_deterministic(waveforms: list[Tensor]) -> None:
    ours = load_untrained("tiny", NANO, 0, CPU, FLOAT32)
    assert not ours.model.training
    assert not any(parameter.requires_grad for parameter in ours.model.parameters())
    first, second = ours(waveforms), ours(waveforms)
    assert not first.layers.requires_grad
    assert torch.equal(first.layers, second.layers)


def test_gradients_equal_transformers(tmp_path: Path) -> None:
    """The same model can be fine-tuned: gradients of a scalar reach every parameter, and are transformers'."""
    peer = transformers_model(KINDS["base"])
    model = checkpoint.read(save_transformers(peer, tmp_path, do_normalize=False)).build().eval()
    waveform = torch.randn(8_000, generator=torch.Generator().manual_seed(4)) * 0.1
    *_, ours = model([waveform])
    ours.square().sum().backward()
    peer(waveform[None]).last_hidden_state.square().sum().backward()
    theirs = dict(peer.named_parameters())
    fused = model.blocks[1].attention.qkv.weight.grad
    separate = [theirs[f"encoder.layers.1.attention.{letter}_proj.weight"].grad for letter in "qkv"]
    assert relative_error(fused, torch.cat(separate)) < 1e-4
    first = model.front_end.layers[0].weight.grad
    assert relative_error(first, theirs["feature_extractor.conv_layers.0.conv.weight"].grad) < 1e-4
    table = model.relative_positions.weight.grad
    assert relative_error(table, theirs["encoder.layers.0.attention.rel_attn_embed.weight"].grad) < 1e-4


def test_standardise_by_hand() -> None:
    waveform = torch.tensor([1.0, 2.0, 3.0, 6.0])  # mean 3, population variance 3.5
    expected = (waveform - 3.0) / (3.5 + 1e-5) ** 0.5
    assert torch.allclose(standardise(waveform, 1e-5), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_waveforms_are_standardised_as_in_the_checkpoint(kind: str, waveforms: list[Tensor], tmp_path: Path) -> None:
    """The reference is transformers' feature extractor and model."""
    from transformers import Wav2Vec2FeatureExtractor

    peer = transformers_model(KINDS[kind])
    folder = save_transformers(peer, tmp_path, do_normalize=True)
    quiet = waveforms[0] * 0.01 + 0.02
    values = Wav2Vec2FeatureExtractor.from_pretrained(folder)(quiet.numpy(), sampling_rate=16_000).input_values[0]
    assert_close(native(folder)([quiet]).utterance(0), transformers_states(peer, torch.as_tensor(values)))


@pytest.mark.parametrize("config", [NANO, WavLMConfig(**(vars(NANO) | {"normalize_waveform": True}))])
def test_silence_gives_finite_states(config: WavLMConfig) -> None:
    states = load_untrained("tiny", config, 0, CPU, FLOAT32)([torch.zeros(4000), torch.full((4000,), 0.5)])
    assert bool(torch.isfinite(states.layers).all())


def test_the_folded_group_norm_is_exact_for_a_constant_offset(tmp_path: Path) -> None:
    """With an offset in the signal, Σ is a small difference of large numbers."""
    peer = transformers_model(KINDS["base"]).double()
    ours = native(save_transformers(transformers_model(KINDS["base"]), tmp_path, do_normalize=False))
    waveform = torch.randn(8_000, generator=torch.Generator().manual_seed(5)) * 1e-3 + 0.9
    assert_close(ours([waveform]).utterance(0), transformers_states(peer, waveform.double()), 1e-4)
