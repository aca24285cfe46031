"""Transformers encoders: SUPERB's layers, complete weights, and UserErrors instead of tracebacks."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files

transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")

from upstream import huggingface  # noqa: E402

BLOCKS = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
CONVOLUTIONS = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
PRE_NORM = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
DECODER = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
WHISPER = {
    "d_model": 32,
    "max_source_positions": 50,  # a window of one second
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
MOONSHINE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 1,
    "encoder_num_attention_heads": 2,
    "decoder_num_attention_heads": 2,
}


@dataclass(frozen=True)
class Kind:
    """A family of encoders, cut down to two blocks of width 32."""

    family: str
    settings: dict[str, Any]
    model: str = "Model"
    extractor: Callable[[], Any] = lambda: transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    stride: int = 320

    def build(self) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = getattr(transformers, f"{self.family}Config")(**self.settings)
            return getattr(transformers, f"{self.family}{self.model}")(config).eval()


KINDS = {
    "wav2vec2": Kind("Wav2Vec2", BLOCKS | CONVOLUTIONS),
    "wav2vec2-pre-norm": Kind("Wav2Vec2", BLOCKS | CONVOLUTIONS | PRE_NORM),
    "wav2vec2-ctc": Kind("Wav2Vec2", BLOCKS | CONVOLUTIONS, model="ForCTC"),
    "hubert": Kind("Hubert", BLOCKS | CONVOLUTIONS),
    "wavlm-pre-norm": Kind("WavLM", BLOCKS | CONVOLUTIONS | PRE_NORM),
    "unispeech-sat": Kind("UniSpeechSat", BLOCKS | CONVOLUTIONS),
    "data2vec-audio": Kind("Data2VecAudio", BLOCKS | CONVOLUTIONS | {"num_conv_pos_embeddings": 5}),
    "wav2vec2-conformer": Kind("Wav2Vec2Conformer", BLOCKS | CONVOLUTIONS),
    "wav2vec2-bert": Kind("Wav2Vec2Bert", BLOCKS, extractor=transformers.SeamlessM4TFeatureExtractor),
    "whisper": Kind(
        "Whisper",
        WHISPER | DECODER,
        model="ForConditionalGeneration",
        extractor=lambda: transformers.WhisperFeatureExtractor(chunk_length=1),
    ),
    "moonshine": Kind("Moonshine", MOONSHINE | DECODER, model="ForConditionalGeneration", stride=384),
}


@pytest.fixture(params=KINDS)
def any_kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def save(kind: Kind, folder: Path) -> Path:
    kind.build().save_pretrained(folder)
    kind.extractor().save_pretrained(folder)
    return folder


def alter_weights(folder: Path, alter: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the saved state dict in place by `alter`."""
    file = folder / "model.safetensors"
    tensors = safetensors_torch.load_file(file)
    alter(tensors)
    safetensors_torch.save_file(tensors, file, metadata={"format": "pt"})


def edit_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def encoder_and_blocks(model: Any) -> tuple[Any, Any]:
    """The encoder inside a freshly built model, and its list of transformer blocks."""
    base = getattr(model, model.base_model_prefix, model)
    encoder = base.get_encoder() if model.config.is_encoder_decoder else base
    return encoder, encoder.layers if hasattr(encoder, "layers") else encoder.encoder.layers


def hooked_states(kind: Kind, waveform: Tensor) -> Tensor:
    """The reference, (L, T, D): the input of each block, from hooks, then the encoder's output."""
    encoder, blocks = encoder_and_blocks(kind.build())
    entering: list[Tensor] = []
    for block in blocks:
        block.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
    features = kind.extractor()(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        output = encoder(**features).last_hidden_state
    return torch.cat([*entering, output])


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

    def test_whisper_refuses_what_its_window_cannot_hold(self, tmp_path: Path) -> None:
        encoder = huggingface.load(str(save(KINDS["whisper"], tmp_path)))
        with pytest.raises(UserError, match=r"1\.5 s does not fit .* at most 1 s"):
            encoder([noise(24_000)])

    def test_features_filled_up_to_pairs_count_as_one(self) -> None:
        """w2v-BERT joins mel frames in pairs; a pair of which one frame is filling is masked."""
        mask = torch.tensor([[1, 1, 1, 0]])
        assert huggingface.valid_frames(4, 1_360, None, mask) == 3

    def test_convolutions_state_their_receptive_field(self) -> None:
        assert huggingface.shortest_utterance(KINDS["wav2vec2"].build().config) == 400
        assert huggingface.shortest_utterance(transformers.Wav2Vec2BertConfig()) == huggingface.SHORTEST


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


class TestWeights:
    def test_provenance(self, tmp_path: Path) -> None:
        folder = save(KINDS["wav2vec2-ctc"], tmp_path)
        provenance = huggingface.load(str(folder)).provenance
        assert (provenance.source, provenance.format) == (str(folder), "transformers Wav2Vec2Model")
        assert (provenance.revision, provenance.random_init) == (None, False)
        assert provenance.file_sha256 == fingerprint_files([folder / "model.safetensors"])
        assert provenance.notes[0] == "2 tensors of a head were left out, lm_head.bias first."

    @pytest.mark.parametrize(
        ("kind", "tensor"),
        [
            ("hubert", "encoder.layers.1.feed_forward.output_dense.bias"),
            ("wav2vec2-ctc", "wav2vec2.feature_projection.projection.weight"),
            ("whisper", "model.encoder.layers.0.fc1.weight"),
        ],
    )
    def test_a_missing_tensor_is_named(self, kind: str, tensor: str, tmp_path: Path) -> None:
        folder = save(KINDS[kind], tmp_path)
        alter_weights(folder, lambda tensors: tensors.__delitem__(tensor))
        own_name = tensor.removeprefix("wav2vec2.").removeprefix("model.")
        with pytest.raises(UserError, match=f"lacks 1 tensors of the encoder: {own_name}"):
            huggingface.load(str(folder))

    def test_a_missing_decoder_does_not_matter(self, tmp_path: Path) -> None:
        folder = save(KINDS["whisper"], tmp_path)
        whole = huggingface.load(str(folder))
        alter_weights(folder, lambda tensors: tensors.__delitem__("model.decoder.layers.0.fc1.weight"))
        assert huggingface.load(str(folder)).fingerprint == whole.fingerprint

    def test_the_mask_vector_may_be_missing(self, tmp_path: Path) -> None:
        """It is drawn at random then, and must change neither fingerprint nor the caller's generator."""
        folder = save(KINDS["hubert"], tmp_path)
        whole = huggingface.load(str(folder))
        alter_weights(folder, lambda tensors: tensors.__delitem__("masked_spec_embed"))
        before = torch.random.get_rng_state()
        assert huggingface.load(str(folder)).fingerprint == whole.fingerprint
        assert torch.equal(before, torch.random.get_rng_state())

    @pytest.mark.parametrize(
        ("kind", "setting"),
        [("hubert", "num_hidden_layers"), ("wav2vec2-ctc", "num_hidden_layers"), ("whisper", "encoder_layers")],
    )
    def test_blocks_beyond_the_configuration_are_refused(self, kind: str, setting: str, tmp_path: Path) -> None:
        folder = save(KINDS[kind], tmp_path)
        edit_json(folder / "config.json", **{setting: 1})
        with pytest.raises(UserError, match=r"config\.json does not describe, .*encoder\.layers\.1\."):
            huggingface.load(str(folder))

    def test_a_wrong_shape_is_refused(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "config.json", intermediate_size=64)
        with pytest.raises(UserError, match="cannot be loaded as hubert"):
            huggingface.load(str(folder))

    def test_a_torn_file_is_refused(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:2_000])
        with pytest.raises(UserError, match="Download or save the checkpoint again"):
            huggingface.load(str(folder))

    def test_no_weights(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        (folder / "model.safetensors").unlink()
        with pytest.raises(UserError, match=r"expected model\.safetensors or pytorch_model\.bin"):
            huggingface.load(str(folder))

    def test_shards(self, tmp_path: Path) -> None:
        whole = huggingface.load(str(save(KINDS["hubert"], tmp_path / "whole")))
        folder = save(KINDS["hubert"], tmp_path / "shards")
        (folder / "model.safetensors").unlink()
        KINDS["hubert"].build().save_pretrained(folder, max_shard_size="20KB")
        shards = sorted(folder.glob("model-*.safetensors"))
        assert len(shards) > 1
        encoder = huggingface.load(str(folder))
        assert encoder.fingerprint == whole.fingerprint
        assert encoder.provenance.file_sha256 == fingerprint_files(shards)
        shards[-1].unlink()
        with pytest.raises(UserError, match=shards[-1].name):
            huggingface.load(str(folder))

    def test_pickled_weights_with_old_names(self, tmp_path: Path) -> None:
        """The hub's .bin files call the two parts of the positional convolution weight_g and weight_v."""
        whole = huggingface.load(str(save(KINDS["hubert"], tmp_path / "new")))
        folder = save(KINDS["hubert"], tmp_path / "old")
        tensors = safetensors_torch.load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        for new, old in (
            ("parametrizations.weight.original0", "weight_g"),
            ("parametrizations.weight.original1", "weight_v"),
        ):
            tensors = {name.replace(new, old): value for name, value in tensors.items()}
        assert any(name.endswith("weight_g") for name in tensors)
        torch.save(tensors, folder / "pytorch_model.bin")
        encoder = huggingface.load(str(folder))
        assert encoder.fingerprint == whole.fingerprint
        assert encoder.provenance.file_sha256 == fingerprint_files([folder / "pytorch_model.bin"])

    def test_a_pickle_is_never_executed(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        (folder / "model.safetensors").unlink()
        victim = tmp_path / "touched"
        torch.save({"payload": Touch(victim)}, folder / "pytorch_model.bin", pickle_module=pickle)
        with pytest.raises(UserError, match="cannot be loaded"):
            huggingface.load(str(folder))
        assert not victim.exists()

    def test_adapter_is_left_out(self, tmp_path: Path) -> None:
        kind = Kind("Wav2Vec2", BLOCKS | CONVOLUTIONS | {"add_adapter": True, "output_hidden_size": 32})
        encoder = huggingface.load(str(save(kind, tmp_path)))
        assert "adapter" in encoder.provenance.notes[0]
        assert encoder.stride == 320
        assert encoder([noise(16_000)]).lengths.tolist() == [49]


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


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


class TestUnsuitable:
    def test_missing_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(UserError, match=r"pip install 'wavprobe\[hf\]'"):
            huggingface.load("hf:facebook/hubert-base-ls960")

    def test_not_a_repository(self) -> None:
        with pytest.raises(UserError, match="neither a directory nor a repository"):
            huggingface.load("no such/folder/here")

    def test_two_revisions(self) -> None:
        with pytest.raises(UserError, match="keep one"):
            huggingface.load("hf:ORG/NAME@abc", revision="def")

    @pytest.mark.parametrize("content", [None, "{", '{"model_type": "unheard-of"}'])
    def test_bad_configuration(self, content: str | None, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match=r"no config\.json that transformers understands"):
            huggingface.load(str(tmp_path))

    def test_inconsistent_configuration(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "config.json", conv_dim=[16, 16])
        with pytest.raises(UserError, match=r"no config\.json that transformers understands"):
            huggingface.load(str(folder))

    def test_normalisation_is_never_guessed(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        (folder / "preprocessor_config.json").unlink()
        with pytest.raises(UserError, match=r"no preprocessor_config\.json"):
            huggingface.load(str(folder))

    def test_other_sample_rate(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "preprocessor_config.json", sampling_rate=24_000)
        with pytest.raises(UserError, match="24000 Hz; expected a speech encoder for 16000 Hz"):
            huggingface.load(str(folder))

    def test_no_speech_encoder(self, tmp_path: Path) -> None:
        kind = Kind("Bert", BLOCKS | {"vocab_size": 64})
        with pytest.raises(UserError, match="cannot be run on a waveform alone"):
            huggingface.load(str(save(kind, tmp_path)))

    def test_frames_that_do_not_follow_the_audio(self, tmp_path: Path) -> None:
        kind = Kind(
            "AST", BLOCKS | {"max_length": 128}, extractor=lambda: transformers.ASTFeatureExtractor(max_length=128)
        )
        with pytest.raises(UserError, match="expected an encoder whose frames follow the audio"):
            huggingface.load(str(save(kind, tmp_path)))

    def test_layers_of_differing_rate(self, tmp_path: Path) -> None:
        kind = Kind("SEW", BLOCKS | CONVOLUTIONS | {"conv_dim": (16,) * 13})
        with pytest.raises(UserError, match="differ in frame rate or width"):
            huggingface.load(str(save(kind, tmp_path)))

    def test_no_hidden_states(self) -> None:
        output = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=torch.zeros(1, 5, 8))
        with pytest.raises(UserError, match="hf:a/b gives no hidden states"):
            huggingface.stack_states(output, "hf:a/b")


class TestHub:
    REVISION = "0123456789abcdef0123456789abcdef01234567"

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty local cache and no network."""
        constants = pytest.importorskip("huggingface_hub.constants")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        return tmp_path

    def put(self, cache: Path) -> None:
        """Lay a checkpoint into the cache as the hub's client would."""
        repository = cache / "models--ORG--NAME"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(self.REVISION)
        save(KINDS["hubert"], repository / "snapshots" / self.REVISION)

    @pytest.mark.parametrize("typed", ["hf:ORG/NAME", "hf:ORG/NAME@main", f"hf:ORG/NAME@{REVISION}", "ORG/NAME"])
    def test_cached(self, typed: str, cache: Path) -> None:
        self.put(cache)
        encoder = huggingface.load(typed)
        assert (encoder.name, encoder.provenance.source) == (typed, "ORG/NAME")
        assert encoder.provenance.revision == self.REVISION

    @pytest.mark.parametrize("typed", ["hf:ORG/OTHER", "hf:ORG/NAME@v2"])
    def test_not_cached(self, typed: str, cache: Path) -> None:
        self.put(cache)
        repository = typed.removeprefix("hf:").partition("@")[0]
        with pytest.raises(UserError, match=f"not in the local cache.*hf download {repository}"):
            huggingface.load(typed)

    @pytest.mark.network
    def test_fetched(self) -> None:
        encoder = huggingface.load("hf:hf-internal-testing/tiny-random-Wav2Vec2Model")
        assert encoder.provenance.revision is not None
        assert encoder([noise(16_000)]).layers.shape[0] == encoder.num_layers
