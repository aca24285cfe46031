"""Transformers encoders: SUPERB's layers, valid frames, fingerprints, untrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_encoders import KINDS, Kind, alter_weights, edit_json, noise, save, transformers
from torch import Tensor

from upstream import huggingface
from upstream.huggingface.states import SHORTEST, shortest_utterance, valid_frames
from upstream.huggingface.window import equal_parts


@pytest.fixture(params=KINDS)
def any_kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def encoder_and_blocks(model: Any) -> tuple[Any, Any]:
    """The encoder inside a freshly built model, and its list of transformer blocks."""
    base = getattr(model, model.base_model_prefix, model)
    encoder = base.get_encoder() if model.config.is_encoder_decoder else base
    inner = getattr(encoder, "encoder", encoder)
    inner = getattr(inner, "encoder", inner)  # of SEW-D
    return encoder, inner.layer if hasattr(inner, "layer") else inner.layers


def hooked_states(kind: Kind, waveform: Tensor) -> Tensor:
    """The reference, (L, T, D): the input of each block, from hooks, then the encoder's output.

    Where that has more frames than the blocks (SEW), the output of the last block.
    """
    encoder, blocks = encoder_and_blocks(kind.build())
    entering: list[Tensor] = []
    leaving: list[Any] = []
    for block in blocks:
        block.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
    blocks[-1].register_forward_hook(lambda _, __, left: leaving.append(left[0] if isinstance(left, tuple) else left))
    features = kind.extractor()(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        output = encoder(**features).last_hidden_state
    return torch.cat([*entering, output if output.shape == entering[0].shape else leaving[0]])


def test_states_are_block_inputs_and_encoder_output(any_kind: Kind, tmp_path: Path) -> None:
    encoder = huggingface.load(str(save(any_kind, tmp_path)))
    assert (encoder.num_layers, encoder.dim, encoder.stride) == (3, 32, any_kind.stride)
    waveform = noise(11_200)
    states = encoder([waveform])
    expected = hooked_states(any_kind, waveform)
    own = int(states.lengths[0])
    assert abs(own - 11_200 / encoder.stride) < 3
    torch.testing.assert_close(states.utterance(0), expected[:, :own], rtol=1e-5, atol=1e-6)


def test_states_do_not_depend_on_the_batch(any_kind: Kind, tmp_path: Path) -> None:
    encoder = huggingface.load(str(save(any_kind, tmp_path)))
    waveforms = [noise(6_000, 1), 0.01 * noise(15_500, 2), noise(100, 3)]
    batch = encoder(waveforms)
    assert batch.layers.shape[2] == int(batch.lengths.max())
    assert bool(torch.isfinite(batch.layers).all())
    for index, waveform in enumerate(waveforms):
        assert torch.equal(batch.utterance(index), encoder([waveform]).utterance(0))


def test_the_last_state_of_a_pre_norm_model_is_normed(tmp_path: Path) -> None:
    """A fresh layer norm has weight 1 and bias 0: its output has mean 0 and variance 1 in every frame."""
    states = huggingface.load(str(save(KINDS["wav2vec2-pre-norm"], tmp_path)))([noise(8_000)]).layers
    last, before = states[-1, 0], states[-2, 0]
    assert last.mean(dim=-1).abs().max() < 1e-5
    assert (last.var(dim=-1, correction=0) - 1).abs().max() < 1e-2
    assert (before.var(dim=-1, correction=0) - 1).abs().max() > 0.1


def test_the_encoder_is_frozen(tmp_path: Path) -> None:
    encoder = huggingface.load(str(save(KINDS["hubert"], tmp_path)))
    assert not any(module.training for module in encoder.encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.encoder.parameters())
    assert not encoder([noise(8_000)]).layers.requires_grad


def test_half_precision(tmp_path: Path) -> None:
    folder = save(KINDS["wav2vec2-pre-norm"], tmp_path)
    exact = huggingface.load(str(folder))([noise(8_000)]).layers
    rounded = huggingface.load(str(folder), dtype=torch.bfloat16)([noise(8_000)]).layers
    assert rounded.dtype == torch.bfloat16
    assert 0 < (rounded.float() - exact).norm() / exact.norm() < 0.05


class TestLengths:
    def test_whisper_counts_frames_that_begin_in_the_utterance(self, tmp_path: Path) -> None:
        encoder = huggingface.load(str(save(KINDS["whisper"], tmp_path)))
        states = encoder([noise(n) for n in (3_200, 3_201, 15_999, 16_000)])
        assert states.lengths.tolist() == [10, 11, 50, 50]

    def test_whisper_sees_as_much_before_the_centre_of_a_frame_as_behind_it(self, tmp_path: Path) -> None:
        encoder = huggingface.load(str(save(KINDS["whisper"], tmp_path)))
        quiet = 0.01 * noise(8_000)
        for frame in (5, 12):
            clicked = quiet.clone()
            clicked[round(float(encoder.frame_times(20)[frame]) * 16_000)] += 0.9
            changed = (encoder([clicked]).utterance(0)[0] - encoder([quiet]).utterance(0)[0]).norm(dim=1)
            assert int(changed.argmax()) == frame

    def test_whisper_cuts_what_its_window_cannot_hold_into_equal_parts(self, tmp_path: Path) -> None:
        encoder = huggingface.load(str(save(KINDS["whisper"], tmp_path)))
        waveform = noise(40_000)  # two and a half windows, 125 frames: 42, 42 and 41
        long = encoder([waveform, noise(5_000, 1)])
        assert long.lengths.tolist() == [125, 16]
        parts = [encoder([part]).utterance(0) for part in torch.split(waveform, 42 * 320)]
        assert torch.equal(long.utterance(0), torch.cat(parts, dim=1))
        assert any("takes 1 s at once" in note for note in encoder.provenance.notes)

    @pytest.mark.parametrize("samples", [1, 320, 16_000, 16_001, 31_999, 32_000, 32_001, 480_123])
    def test_parts_cover_an_utterance_in_whole_frames(self, samples: int) -> None:
        parts = equal_parts(samples, 16_000, 320)
        starts, ends = zip(*parts, strict=True)
        assert (starts[0], ends[-1], ends[:-1]) == (0, samples, starts[1:])
        assert all(start % 320 == 0 for start in starts)
        assert all(0 < end - start <= 16_000 for start, end in parts)

    def test_features_filled_up_to_pairs_count_as_one(self) -> None:
        """w2v-BERT joins mel frames in pairs; a pair of which one frame is filling is masked."""
        mask = torch.tensor([[1, 1, 1, 0]])
        assert valid_frames(4, 1_360, None, mask) == 3

    def test_convolutions_state_their_receptive_field(self) -> None:
        assert shortest_utterance(KINDS["wav2vec2"].build().config) == 400
        assert shortest_utterance(transformers.Wav2Vec2BertConfig()) == SHORTEST


class TestNormalisation:
    """Only the checkpoint's feature extractor decides."""

    def test_standardised_input_does_not_depend_on_loudness(self, tmp_path: Path) -> None:
        encoder = huggingface.load(str(save(KINDS["wav2vec2-pre-norm"], tmp_path)))
        loud, quiet = encoder([noise(8_000)]).layers, encoder([0.5 * noise(8_000)]).layers
        torch.testing.assert_close(loud, quiet, rtol=1e-3, atol=1e-3)
        assert "which standardises each utterance" in encoder.provenance.notes[-1]

    def test_other_input_does_not(self, tmp_path: Path) -> None:
        folder = save(KINDS["wav2vec2-pre-norm"], tmp_path)
        standardising = huggingface.load(str(folder))
        edit_json(folder / "preprocessor_config.json", do_normalize=False)
        plain = huggingface.load(str(folder))
        assert not torch.allclose(standardising([noise(8_000)]).layers, plain([noise(8_000)]).layers, atol=1e-3)
        assert "does not standardise" in plain.provenance.notes[-1]
        assert standardising.fingerprint != plain.fingerprint


class TestFingerprint:
    def test_does_not_depend_on_the_place(self, tmp_path: Path) -> None:
        first = huggingface.load(str(save(KINDS["hubert"], tmp_path / "here")))
        second = huggingface.load(str(save(KINDS["hubert"], tmp_path / "there")))
        assert first.fingerprint == second.fingerprint

    def test_depends_on_every_weight_and_setting(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        prints = {huggingface.load(str(folder)).fingerprint}
        alter_weights(folder, lambda tensors: tensors["encoder.layers.0.layer_norm.bias"].add_(1e-3))
        prints.add(huggingface.load(str(folder)).fingerprint)
        edit_json(folder / "config.json", layer_norm_eps=1e-6)
        prints.add(huggingface.load(str(folder)).fingerprint)
        assert len(prints) == 3
        # The precision is no part of it: the store keeps that beside the fingerprint.
        assert huggingface.load(str(folder), dtype=torch.bfloat16).fingerprint in prints


class TestRandomInit:
    def test_needs_no_weights_and_repeats(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        trained = huggingface.load(str(folder)).fingerprint
        (folder / "model.safetensors").unlink()
        drawn = [huggingface.load(str(folder), random_init=True, seed=seed) for seed in (1, 1, 2)]
        assert drawn[0].fingerprint == drawn[1].fingerprint
        assert len({trained, drawn[0].fingerprint, drawn[2].fingerprint}) == 3
        assert torch.equal(drawn[0]([noise(8_000)]).layers, drawn[1]([noise(8_000)]).layers)
        assert drawn[0].provenance.random_init
        assert drawn[0].provenance.file_sha256 is None

    def test_leaves_the_generator_alone(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        before = torch.random.get_rng_state()
        huggingface.load(str(folder), random_init=True)
        assert torch.equal(before, torch.random.get_rng_state())
