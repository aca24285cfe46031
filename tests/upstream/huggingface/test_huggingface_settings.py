"""config.json and feature extractors: what cannot be used is a UserError that says why, and no code is run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_encoders import BLOCKS, KINDS, Kind, edit_json, noise, save, transformers

import upstream
from upstream import huggingface
from upstream.encode import Item, encode
from upstream.errors import UserError
from upstream.huggingface.states import stack_states


class TestUnsuitable:
    def test_missing_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(UserError, match=r"pip install 'wavprobe\[hf\]'"):
            huggingface.load("hf:facebook/hubert-base-ls960")

    def test_not_a_repository(self) -> None:
        with pytest.raises(UserError, match="neither a directory or file that exists nor a repository"):
            huggingface.load("no such/folder/here")

    def test_two_revisions(self) -> None:
        with pytest.raises(UserError, match="keep one"):
            huggingface.load("hf:ORG/NAME@abc", revision="def")

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (None, r"no config\.json; found nothing"),
            ("{", r"config\.json is not valid JSON"),
            ("[" * 5_000, r"config\.json is not valid JSON"),
            ("{}", "its model_type is None"),
            ('{"model_type": ["hubert"]}', "its model_type is "),
            ('{"model_type": "unheard-of"}', r"no config\.json that transformers .* understands: .*'unheard-of'"),
        ],
        ids=["none", "torn", "nested", "empty", "list", "unheard-of"],
    )
    def test_bad_configuration(self, content: str | None, sentence: str, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match=sentence):
            huggingface.load(str(tmp_path))

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"conv_dim": [16, 16]}, "as hubert of transformers .* failed: .*convolutional layers is incorrect"),
            ({"hidden_act": "swoosh"}, "Building hubert of transformers .* failed: KeyError: 'swoosh'"),
            ({"feat_extract_activation": "swoosh"}, "failed: KeyError: 'swoosh'"),
            ({"hidden_size": "wide"}, "hubert of transformers .* failed: "),
            ({"num_attention_heads": 5}, "Building hubert .*embed_dim must be divisible by num_heads"),
            ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000; expected at most 1000"),
            ({"dtype": "float4"}, "failed: AttributeError: .*float4"),
            ({"conv_stride": [0] * 7}, "failed: .*(stride|zero)"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    @pytest.mark.parametrize("random_init", [False, True])
    def test_impossible_configuration(
        self, change: dict[str, object], sentence: str, random_init: bool, tmp_path: Path
    ) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "config.json", **change)
        with pytest.raises(UserError, match=sentence):
            huggingface.load(str(folder), random_init=random_init)

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

    def test_layers_of_differing_rate(self) -> None:
        states = [torch.zeros(1, frames, 8) for frames in (10, 10, 5)]
        output = transformers.modeling_outputs.BaseModelOutput(states[-1], hidden_states=tuple(states))
        with pytest.raises(UserError, match="differ in frame rate or width"):
            stack_states(output, "hf:a/b")

    def test_no_hidden_states(self) -> None:
        output = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=torch.zeros(1, 5, 8))
        with pytest.raises(UserError, match="hf:a/b gives no hidden states"):
            stack_states(output, "hf:a/b")

    def test_other_sample_rate_of_the_model_alone(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "config.json", sampling_rate=8_000)
        with pytest.raises(UserError, match="takes audio at 8000 Hz"):
            huggingface.load(str(folder))

    @pytest.mark.parametrize(
        "change",
        [
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
            {"quantization_config": {"quant_method": "no-such-method"}},
            {"compression_config": {"quant_method": "compressed-tensors"}},
        ],
    )
    @pytest.mark.parametrize("random_init", [False, True])
    def test_quantised_models(self, change: dict[str, object], random_init: bool, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "config.json", **change)
        with pytest.raises(
            UserError, match=r"is quantised \((bitsandbytes|no-such-method|compressed-tensors) in config"
        ):
            huggingface.load(str(folder), random_init=random_init)

    def test_code_of_its_own_is_named(self, tmp_path: Path) -> None:
        classes = {"AutoConfig": "configuration_x.XConfig", "AutoModel": "modeling_x.XEncoder"}
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": classes}))
        with pytest.raises(UserError, match=r"code of its own \(modeling_x\.XEncoder\), which is not run here; wrap"):
            huggingface.load(str(tmp_path))
        folder = save(KINDS["hubert"], tmp_path / "hubert")
        edit_json(
            folder / "preprocessor_config.json",
            feature_extractor_type="X",
            auto_map={"AutoFeatureExtractor": "x.Fbank"},
        )
        with pytest.raises(UserError, match=r"prepares audio by x\.Fbank, which transformers does not have"):
            huggingface.load(str(folder))

    def test_code_beside_a_known_model_is_noted(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "config.json", auto_map={"AutoModel": "modeling_x.XEncoder"})
        notes = huggingface.load(str(folder)).provenance.notes
        assert any("own code (modeling_x.XEncoder) was not run; the model is hubert" in note for note in notes)


class TestChosenHere:
    """What config.json says of how to call a model or compute its products changes nothing."""

    @pytest.mark.parametrize(
        "change",
        [
            {"attn_implementation": "org/kernel"},
            {"attn_implementation": "flash_attention_2"},
            {"attn_implementation": "paged|flash_attention_3"},
            {"_attn_implementation": "org/kernel@main:f"},
            {"attn_implementation": {"": "org/kernel"}},
            {"attn_implementation": 5},
        ],
    )
    def test_attention(self, change: dict[str, object], tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        expected = huggingface.load(str(folder))
        edit_json(folder / "config.json", **change)
        encoder = huggingface.load(str(folder))
        assert encoder.encoder.config._attn_implementation == "sdpa"
        assert encoder.fingerprint == expected.fingerprint
        assert torch.equal(encoder([noise(8_000)]).layers, expected([noise(8_000)]).layers)
        assert re.match("The attention is PyTorch's, not '.*' as config.json asks for", encoder.provenance.notes[0])

    def test_eager_attention_is_kept(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "config.json", attn_implementation="eager")
        for random_init in (False, True):
            encoder = huggingface.load(str(folder), random_init=random_init)
            assert encoder.encoder.config._attn_implementation == "eager"
            assert len(encoder.provenance.notes) == 1

    @pytest.mark.parametrize("kind", ["hubert", "wav2vec2-conformer", "whisper", "wav2vec2-bert"])
    @pytest.mark.parametrize("change", [{"use_return_dict": True}, {"return_dict": False}, {"use_return_dict": False}])
    def test_return_values(self, kind: str, change: dict[str, object], tmp_path: Path) -> None:
        folder = save(KINDS[kind], tmp_path)
        expected = huggingface.load(str(folder))([noise(8_000)]).layers
        edit_json(folder / "config.json", **change)
        assert torch.equal(huggingface.load(str(folder))([noise(8_000)]).layers, expected)

    @pytest.mark.parametrize("change", [{"output_attentions": True}, {"output_hidden_states": True}])
    def test_further_output(self, change: dict[str, object], tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        expected = huggingface.load(str(folder))([noise(8_000)]).layers
        edit_json(folder / "config.json", **change)
        torch.testing.assert_close(huggingface.load(str(folder))([noise(8_000)]).layers, expected)


class TestRandomFeatures:
    """Features that are drawn at each call would be stored as if they were fixed."""

    def test_dither_is_switched_off(self, tmp_path: Path) -> None:
        folder = save(KINDS["whisper"], tmp_path)
        expected = huggingface.load(str(folder))
        edit_json(folder / "preprocessor_config.json", dither=0.01)
        encoder = huggingface.load(str(folder))
        assert torch.equal(encoder([noise(8_000)]).layers, expected([noise(8_000)]).layers)
        assert encoder.fingerprint == expected.fingerprint
        assert encoder.provenance.notes[-2].startswith("The dither of the feature extractor (0.01) was switched off")

    def test_dither_that_is_the_same_at_each_call_is_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "preprocessor_config.json", dither=0.5)
        assert huggingface.load(str(folder)).extractor.dither == 0.5

    @pytest.mark.parametrize("longer_than", [0, 160_000])
    def test_other_randomness_is_refused(
        self, longer_than: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        plain = transformers.Wav2Vec2FeatureExtractor.__call__

        def cut_at_random(self: object, waveform: np.ndarray, **options: object) -> object:
            cut = np.random.randint(1, 2_000) if len(waveform) > longer_than else 0
            return plain(self, np.roll(waveform, cut), **options)

        monkeypatch.setattr(transformers.Wav2Vec2FeatureExtractor, "__call__", cut_at_random)
        with pytest.raises(UserError, match="gives other features at each call"):
            huggingface.load(str(folder))

    def test_a_random_encoder_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        plain = transformers.HubertModel.forward

        def with_dropout(self: object, input_values: torch.Tensor, **options: object) -> object:
            return plain(self, torch.nn.functional.dropout(input_values), **options)

        monkeypatch.setattr(transformers.HubertModel, "forward", with_dropout)
        with pytest.raises(UserError, match="gives other states at each call for the same audio; wrap the model"):
            huggingface.load(str(folder))


class TestPreparation:
    def test_settings_in_two_files(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        content = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": content}))
        assert len(huggingface.load(str(folder)).provenance.notes) == 1
        edit_json(folder / "preprocessor_config.json", do_normalize=False)
        encoder = huggingface.load(str(folder))
        assert encoder.extractor.do_normalize
        assert "disagree on do_normalize; the first holds" in encoder.provenance.notes[0]
        (folder / "preprocessor_config.json").unlink()
        assert huggingface.load(str(folder)).fingerprint == encoder.fingerprint

    def test_a_wavlm_is_read_without_if_hf_is_left_out(self, tmp_path: Path) -> None:
        folder = save(KINDS["wavlm-pre-norm"], tmp_path)
        (folder / "preprocessor_config.json").unlink()
        with pytest.raises(UserError, match=r"A WavLM without it is read if you leave out hf:\.$"):
            upstream.load(f"hf:{folder}")
        assert upstream.load(str(folder)).num_layers == 3


class TestWhileEncoding:
    def test_what_transformers_raises_names_the_utterance(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encoder = huggingface.load(str(save(KINDS["hubert"], tmp_path)))

        def beyond(*_: object, **__: object) -> None:
            raise IndexError("index 1024 is out of bounds\nfor dimension 0")

        monkeypatch.setattr(encoder.encoder, "forward", beyond)
        with pytest.raises(
            UserError, match=r"^long\.wav: .* on this audio failed: IndexError: .* bounds for dimension 0"
        ):
            encode(encoder, [Item("long.wav", Audio(), "digest", 1.0)], [noise(16_000)], "means")

    def test_an_encoder_that_hears_the_beginning_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = huggingface.load(str(save(KINDS["hubert"], tmp_path)))
        assert encoder([noise(64_000)]).lengths.tolist() == [199]
        plain = transformers.Wav2Vec2FeatureExtractor.__call__
        monkeypatch.setattr(
            transformers.Wav2Vec2FeatureExtractor,
            "__call__",
            lambda self, wave, **more: plain(self, wave[:32_000], **more),
        )
        with pytest.raises(UserError, match=r"99 frames for 4\.0 s; expected about 200 .* a part of long utterances"):
            encoder([noise(64_000)])

    def test_memory_still_halves_the_batch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = huggingface.load(str(save(KINDS["hubert"], tmp_path)))

        def full(*_: object, **__: object) -> None:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

        monkeypatch.setattr(encoder.encoder, "forward", full)
        with pytest.raises(UserError, match=r"long\.wav lasts 1\.0 s, which is more than .* can encode in the memory"):
            encode(encoder, [Item("long.wav", Audio(), "digest", 1.0)], [noise(16_000)], "means")


class Audio:
    def load(self) -> torch.Tensor:
        return noise(16_000)
