"""Weights of transformers encoders: complete, of the right shapes, in float32, and never run as code."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_encoders import BLOCKS, CONVOLUTIONS, KINDS, Kind, alter_weights, edit_json, noise, safetensors_torch, save
from torch import Tensor

import upstream
from upstream import huggingface
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files


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
        with pytest.raises(UserError, match=f"lacks 1 tensor of the encoder: {own_name}"):
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

    def test_a_wrong_shape_is_refused(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        edit_json(folder / "config.json", intermediate_size=64)
        with pytest.raises(
            UserError, match=r"has encoder\.layers\.0\..* of shape \(48,\), where its config\.json describes \(64,\)"
        ):
            huggingface.load(str(folder))

    def test_a_torn_file_is_refused(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:2_000])
        with pytest.raises(UserError, match=r"model\.safetensors is cut short or damaged"):
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
        with pytest.raises(UserError, match=r"pytorch_model\.bin is not a file of plain tensors: it asks for"):
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


PRE_NORM_FRONT = {"feat_extract_norm": "layer", "conv_bias": True}
STRANGE = torch.zeros(3)


class TestNothingOfTheEncoderIsAHead:
    """Weights of one model under the configuration of another differ from both by a lot, and look harmless."""

    @pytest.mark.parametrize(
        ("kind", "change", "sentence"),
        [
            (
                "hubert",
                PRE_NORM_FRONT,
                r"lacks \d+ tensors of the encoder: feature_extractor\.conv_layers\.0\.conv\.bias",
            ),
            ("hubert", {"num_hidden_layers": 1}, r"\d+ tensors of the encoder .* encoder\.layers\.1\..* first"),
            ("hubert", {"num_hidden_layers": 3}, r"lacks 16 tensors of the encoder: encoder\.layers\.2\."),
            (
                "hubert",
                {
                    "num_feat_extract_layers": 6,
                    "conv_dim": [16] * 6,
                    "conv_kernel": [10, 3, 3, 3, 3, 2],
                    "conv_stride": [5, 2, 2, 2, 2, 2],
                },
                r"1 tensor of the encoder .*: feature_extractor\.conv_layers\.6|conv_layers\.6\.conv\.weight first",
            ),
            (
                "hubert",
                {"feat_proj_layer_norm": False},
                r"feature_projection\.layer_norm\.bias first; put the config\.json",
            ),
            ("wav2vec2-ctc", {"num_hidden_layers": 1}, r"wav2vec2\.encoder\.layers\.1\..* first"),
            (
                "wav2vec2-ctc",
                {"conv_kernel": [10, 3, 3, 3, 3, 3, 2]},
                r"conv_layers\.5\.conv\.weight of shape \(16, 16, 2\)",
            ),
            ("whisper", {"encoder_layers": 1}, r"model\.encoder\.layers\.1\..* first"),
            ("whisper", {"num_mel_bins": 128}, r"model\.encoder\.conv1\.weight of shape"),
            ("wav2vec2-bert", {"num_hidden_layers": 1}, r"encoder\.layers\.1\..* first"),
            ("wav2vec2-bert", {"position_embeddings_type": "rotary"}, r"distance_embedding\.weight first"),
            ("moonshine", {"encoder_num_hidden_layers": 1}, r"model\.encoder\.layers\.1\..* first"),
        ],
    )
    def test_another_configuration(self, kind: str, change: dict[str, object], sentence: str, tmp_path: Path) -> None:
        folder = save(KINDS[kind], tmp_path)
        edit_json(folder / "config.json", **change)
        with pytest.raises(UserError, match=sentence):
            huggingface.load(str(folder))

    def test_another_front_end_in_the_weights(self, tmp_path: Path) -> None:
        kind = Kind("Hubert", BLOCKS | CONVOLUTIONS | PRE_NORM_FRONT)
        folder = save(kind, tmp_path)
        edit_json(folder / "config.json", feat_extract_norm="group", conv_bias=False)
        with pytest.raises(UserError, match=r"has 19 tensors of the encoder that its config\.json does not describe"):
            huggingface.load(str(folder))

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            ("hubert", "feature_extractor.conv_layers.7.conv.weight"),
            ("hubert", "encoder.further.weight"),
            ("wav2vec2-ctc", "wav2vec2.head.weight"),
            ("wav2vec2-ctc", "wav2vec2.encoder.adapter.weight"),
            ("whisper", "model.encoder.layers.0.self_attn.further"),
            ("wav2vec2-bert", "feature_projection.further"),
        ],
    )
    def test_a_strange_tensor_below_the_encoder(self, kind: str, name: str, tmp_path: Path) -> None:
        folder = save(KINDS[kind], tmp_path)
        alter_weights(folder, lambda tensors: tensors.update({name: STRANGE}))
        with pytest.raises(UserError, match=rf"has 1 tensor of the encoder .*, {name} first"):
            huggingface.load(str(folder))

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            ("hubert", "my_head.weight"),
            ("hubert", "quantizer.codevectors"),
            ("hubert", "adapter.layers.0.conv.weight"),
            ("wav2vec2-ctc", "feature_extractor.weight"),  # of an x-vector head
            ("wav2vec2-ctc", "project_hid.bias"),
            ("whisper", "model.decoder.layers.7.fc1.weight"),
            ("whisper", "classifier.weight"),
        ],
    )
    def test_a_head_is_left_out_and_noted(self, kind: str, name: str, tmp_path: Path) -> None:
        folder = save(KINDS[kind], tmp_path)
        plain = huggingface.load(str(folder))
        alter_weights(folder, lambda tensors: tensors.update({name: STRANGE}))
        encoder = huggingface.load(str(folder))
        assert encoder.fingerprint == plain.fingerprint
        assert re.match(r"(1 tensor of a head was|3 tensors of a head were) left out", encoder.provenance.notes[0])

    def test_one_weight_twice(self, tmp_path: Path) -> None:
        folder = save(KINDS["wav2vec2-ctc"], tmp_path)
        name = "encoder.layer_norm.bias"
        alter_weights(folder, lambda tensors: tensors.update({f"wav2vec2.{name}_": STRANGE}))
        with pytest.raises(UserError, match="has 1 tensor of the encoder"):
            huggingface.load(str(folder))
        folder = save(KINDS["hubert"], tmp_path / "norm")
        old = "encoder.pos_conv_embed.conv.weight_g"
        alter_weights(folder, lambda tensors: tensors.update({old: torch.zeros(1, 1, 16)}))
        with pytest.raises(UserError, match=rf"the same weight twice, as .*original0 and {old}|as {old} and"):
            huggingface.load(str(folder))

    @pytest.mark.parametrize("kind", ["hubert", "wav2vec2-ctc", "whisper"])
    @pytest.mark.parametrize("wrapper", ["module.", "model.", "student.encoder."])
    def test_what_training_code_puts_before_all_names_is_no_matter(
        self, kind: str, wrapper: str, tmp_path: Path
    ) -> None:
        folder = save(KINDS[kind], tmp_path)
        plain = huggingface.load(str(folder))
        tensors = safetensors_torch.load_file(folder / "model.safetensors")
        wrapped = {f"{wrapper}{name}": tensor for name, tensor in tensors.items()} | {"encoder.of_another": STRANGE}
        torch.save({"state_dict": wrapped, "epoch": 3, "optimizer": {0: {"exp_avg": STRANGE}}}, folder / "last.ckpt")
        encoder = huggingface.load(str(folder / "last.ckpt"))
        assert encoder.fingerprint == plain.fingerprint
        assert "of a head were left out, " in encoder.provenance.notes[0]

    def test_two_encoders_are_one_too_many(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        tensors = safetensors_torch.load_file(folder / "model.safetensors")
        torch.save({"student": tensors, "teacher": tensors}, folder / "both.pt")
        with pytest.raises(UserError, match=r"has 2 encoders, whose names begin with 'student\.', 'teacher\.'; save"):
            huggingface.load(str(folder / "both.pt"))

    def test_names_of_another_package_are_named(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)

        def rename(tensors: dict[str, Tensor]) -> None:
            for name in list(tensors):
                tensors[name.replace("layers", "blocks")] = tensors.pop(name)

        alter_weights(folder, rename)
        with pytest.raises(UserError, match=r"lacks \d+ tensors .* It has \d+ others, .*blocks\..* first"):
            huggingface.load(str(folder))

    def test_a_model_much_larger_than_the_file(self, tmp_path: Path) -> None:
        """Nothing of it may take memory before it is refused."""
        folder = save(KINDS["whisper"], tmp_path)
        edit_json(folder / "config.json", vocab_size=2**31)
        with pytest.raises(UserError, match=r"has [\d,]+ numbers, where its config\.json describes 68,7"):
            huggingface.load(str(folder))
        with pytest.raises(UserError, match=r"describes 68,7.* parameters; at most 4,000,000,000 are drawn"):
            huggingface.load(str(folder), random_init=True)

    def test_a_decoder_of_another_shape_does_not_matter(self, tmp_path: Path) -> None:
        folder = save(KINDS["whisper"], tmp_path)
        plain = huggingface.load(str(folder))
        alter_weights(folder, lambda tensors: tensors.update({"model.decoder.layers.0.fc1.weight": STRANGE}))
        assert huggingface.load(str(folder)).fingerprint == plain.fingerprint

    def test_a_head_named_as_a_part_of_the_encoder(self, tmp_path: Path) -> None:
        """Where the encoder has its prefix, names without it are a head's."""
        folder = save(KINDS["wav2vec2-ctc"], tmp_path)
        plain = huggingface.load(str(folder))
        alter_weights(
            folder, lambda tensors: tensors.update({"feature_projection.projection.weight": torch.ones(32, 16)})
        )
        encoder = huggingface.load(str(folder))
        assert encoder.fingerprint == plain.fingerprint
        assert encoder.provenance.notes[0].startswith("3 tensors of a head were left out, feature_projection")

    def test_tables_that_are_computed_may_be_in_the_file(self, tmp_path: Path) -> None:
        """Older versions stored them; other numbers would be another model."""
        kind = replace(KINDS["wav2vec2-bert"], settings=BLOCKS | {"position_embeddings_type": "rotary"})
        folder = save(kind, tmp_path)
        plain = huggingface.load(str(folder))
        name = "encoder.embed_positions.inv_freq"
        table = dict(plain.encoder.named_buffers())[name].clone()
        alter_weights(folder, lambda tensors: tensors.update({name: table}))
        assert huggingface.load(str(folder)).fingerprint == plain.fingerprint
        alter_weights(folder, lambda tensors: tensors.update({name: 2 * table}))
        with pytest.raises(UserError, match=rf"has 1 tensor of the encoder .*, {name} first"):
            huggingface.load(str(folder))


class TestAdapters:
    def test_a_lora_adapter_beside_the_weights(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        plain = huggingface.load(str(folder))
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        with pytest.raises(
            UserError, match=r"adapter_config\.json\. Merge it .* name the weight file itself: (.*)$"
        ) as error:
            huggingface.load(str(folder))
        typed = str(error.value).rpartition(": ")[2]
        assert huggingface.load(typed).fingerprint == plain.fingerprint

    def test_a_lora_adapter_within_the_weights(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        name = "encoder.layers.0.attention.q_proj"

        def split(tensors: dict[str, Tensor]) -> None:
            tensors[f"{name}.base_layer.weight"] = tensors.pop(f"{name}.weight")
            tensors[f"{name}.lora_A.default.weight"] = torch.zeros(4, 32)
            tensors[f"{name}.lora_B.default.weight"] = torch.zeros(32, 4)

        alter_weights(folder, split)
        with pytest.raises(UserError, match=r"LoRA weights that are not merged .* first of 3.* model.merge_and_unload"):
            huggingface.load(str(folder))


class TestPrecision:
    """Weights are loaded as they are in the file; config.json tells only how they were saved once."""

    @pytest.mark.parametrize("kind", ["hubert", "whisper"])
    @pytest.mark.parametrize("setting", ["dtype", "torch_dtype"])
    @pytest.mark.parametrize("precision", ["float16", "bfloat16"])
    def test_float32_weights_are_not_rounded(self, kind: str, setting: str, precision: str, tmp_path: Path) -> None:
        folder = save(KINDS[kind], tmp_path)
        expected = [huggingface.load(str(folder), random_init=random_init) for random_init in (False, True)]
        content = json.loads((folder / "config.json").read_text())
        content.pop("dtype", None)
        (folder / "config.json").write_text(json.dumps(content | {setting: precision}))
        for plain in expected:
            encoder = huggingface.load(str(folder), random_init=plain.provenance.random_init)
            assert encoder.fingerprint == plain.fingerprint
            assert torch.equal(encoder([noise(8_000)]).layers, plain([noise(8_000)]).layers)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_floats_are_read_exactly(self, dtype: torch.dtype, tmp_path: Path) -> None:
        """Tables that the model computes (rotary positions) are in float32, whatever the precision of the file."""
        kind = Kind("Wav2Vec2Conformer", BLOCKS | CONVOLUTIONS)
        kind.build().to(dtype).float().save_pretrained(tmp_path / "float32")
        kind.extractor().save_pretrained(tmp_path / "float32")
        kind.build().to(dtype).save_pretrained(tmp_path / "other")
        kind.extractor().save_pretrained(tmp_path / "other")
        expected, encoder = (huggingface.load(str(tmp_path / name)) for name in ("float32", "other"))
        assert torch.equal(encoder([noise(8_000)]).layers, expected([noise(8_000)]).layers)

    @pytest.mark.parametrize(
        "dtype", [torch.int8, torch.uint8, torch.bool, torch.int64, torch.complex64, torch.float8_e4m3fn], ids=str
    )
    def test_other_numbers_are_no_weights(self, dtype: torch.dtype, tmp_path: Path) -> None:
        folder = save(KINDS["wav2vec2-ctc"], tmp_path)
        name = "wav2vec2.encoder.layers.0.attention.q_proj.weight"
        alter_weights(folder, lambda tensors: tensors.update({name: tensors[name].to(dtype)}))
        with pytest.raises(UserError, match=rf"1 tensor that is no plain weight: {name} is "):
            huggingface.load(str(folder))

    def test_counters_of_a_head_do_not_matter(self, tmp_path: Path) -> None:
        folder = save(KINDS["wav2vec2-ctc"], tmp_path)
        alter_weights(folder, lambda tensors: tensors.update({"head.seen": torch.tensor([5])}))
        assert "head.seen" in huggingface.load(str(folder)).provenance.notes[0]


class TestNamedFiles:
    """The file that is named is loaded, with the settings beside it."""

    @pytest.mark.parametrize("name", ["finetuned.safetensors", "ema.bin", "pytorch_model.bin", "weights.pt"])
    @pytest.mark.parametrize("prefix", ["hf:", ""])
    def test_a_file_beside_others(self, name: str, prefix: str, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        plain = huggingface.load(str(folder))
        tensors = safetensors_torch.load_file(folder / "model.safetensors")
        tensors["encoder.layer_norm.bias"] = tensors["encoder.layer_norm.bias"] + 1
        if name.endswith(".safetensors"):
            safetensors_torch.save_file(tensors, folder / name)
        else:
            torch.save(tensors, folder / name)
        encoder = huggingface.load(f"{prefix}{folder / name}")
        assert encoder.fingerprint != plain.fingerprint
        assert encoder.provenance.source == str(folder / name)
        assert encoder.provenance.file_sha256 == fingerprint_files([folder / name])
        assert huggingface.load(f"{prefix}{folder / 'model.safetensors'}").fingerprint == plain.fingerprint
        assert huggingface.load(f"{prefix}{folder / 'config.json'}").fingerprint == plain.fingerprint

    def test_the_catalogue_takes_them_too(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        named = upstream.load(str(folder / "model.safetensors"))
        assert (named.fingerprint, named.provenance.format) == (
            upstream.load(f"hf:{folder}").fingerprint,
            "transformers HubertModel",
        )

    def test_a_file_without_its_configuration(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        (folder / "config.json").unlink()
        with pytest.raises(UserError, match=r"no config\.json; found model\.safetensors, prepro"):
            huggingface.load(f"hf:{folder / 'model.safetensors'}")

    def test_a_file_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="neither a directory or file that exists"):
            huggingface.load("hf:absent/finetuned.safetensors")

    def test_weights_that_the_configuration_names(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        plain = huggingface.load(str(folder))
        edit_json(folder / "config.json", transformers_weights="other.safetensors")
        with pytest.raises(UserError, match=r"names a weight file of its own, .*'other\.safetensors'; name the file"):
            huggingface.load(str(folder))
        assert huggingface.load(str(folder / "model.safetensors")).fingerprint == plain.fingerprint

    def test_what_is_no_dictionary_of_tensors(self, tmp_path: Path) -> None:
        folder = save(KINDS["hubert"], tmp_path)
        torch.save({"model": {}, "step": 7}, folder / "trainer.pt")
        with pytest.raises(UserError, match=r"trainer\.pt lacks 50 tensors of the encoder"):
            huggingface.load(str(folder / "trainer.pt"))
        (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        with pytest.raises(UserError, match="Git LFS pointer"):
            huggingface.load(str(folder))
