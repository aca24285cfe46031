"""Checkpoints of other implementations, intact and damaged."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peers import (
    KINDS,
    microsoft_cfg,
    microsoft_model,
    relative_error,
    save_transformers,
    transformers_model,
    transformers_states,
)
from places import REPOSITORY
from safetensors.torch import load_file, save_file
from torch import Tensor

import upstream
from upstream import hub
from upstream.errors import UserError
from upstream.wavlm import WavLMForCTC, checkpoint, convert, names, shapes
from upstream.wavlm.config import BASE, LARGE, NANO
from upstream.wavlm.config_formats import conv_layers_from_text
from upstream.wavlm.upstream import WavLMUpstream


def loaded(path: Path) -> WavLMUpstream:
    model = upstream.load(str(path))
    assert isinstance(model, WavLMUpstream)
    return model


@pytest.fixture
def microsoft_file(tmp_path: Path) -> Path:
    pytest.importorskip("s3prl")
    settings = KINDS["large"]
    path = tmp_path / "WavLM-Small.pt"
    torch.save({"cfg": microsoft_cfg(settings, True), "model": microsoft_model(settings).state_dict()}, path)
    return path


@pytest.fixture
def hugging_face_folder(tmp_path: Path) -> Path:
    return save_transformers(transformers_model(KINDS["base"]), tmp_path / "hf", do_normalize=False)


# ---------------------------------------------------------------- formats that are read


def test_the_published_sizes_have_the_published_counts() -> None:
    """Names and parameters of section 8 and 1 of the architecture's reference: 248 and 488 tensors."""
    for config, tensors, parameters in ((BASE, 248, 94_381_936), (LARGE, 488, 315_453_120)):
        expected = shapes.expected_shapes(config)
        assert len(expected) == tensors
        assert sum(torch.Size(shape).numel() for shape in expected.values()) == parameters


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_exactly_those_of_transformers(kind: str, tmp_path: Path) -> None:
    peer = transformers_model(KINDS[kind])
    read = checkpoint.read(save_transformers(peer, tmp_path, do_normalize=False))
    expected = {name: tuple(tensor.shape) for name, tensor in peer.state_dict().items()}
    assert shapes.expected_shapes(read.config) == expected


@pytest.mark.parametrize("older", [False, True])
def test_bin_with_either_weight_norm_spelling(older: bool, hugging_face_folder: Path) -> None:
    tensors = load_file(hugging_face_folder / "model.safetensors")
    expected = loaded(hugging_face_folder).fingerprint
    (hugging_face_folder / "model.safetensors").unlink()
    spelling = {new: old for old, new in names.OLDER_WEIGHT_NORM.items()} if older else {}
    renamed = {spelling.get(name, name): tensor for name, tensor in tensors.items()}
    torch.save(renamed, hugging_face_folder / "pytorch_model.bin")
    assert loaded(hugging_face_folder).fingerprint == expected


def test_sharded_safetensors(hugging_face_folder: Path) -> None:
    expected = loaded(hugging_face_folder).fingerprint
    peer = transformers_model(KINDS["base"])
    (hugging_face_folder / "model.safetensors").unlink()
    peer.save_pretrained(hugging_face_folder, max_shard_size="100KB")
    assert len(list(hugging_face_folder.glob("model-*.safetensors"))) > 1
    assert loaded(hugging_face_folder).fingerprint == expected
    next(hugging_face_folder.glob("model-*.safetensors")).unlink()
    with pytest.raises(UserError, match="which is missing"):
        loaded(hugging_face_folder)


def test_the_encoder_of_a_task_model(tmp_path: Path, waveforms: list[Tensor]) -> None:
    from transformers import WavLMConfig, WavLMForXVector

    settings = KINDS["base"] | {"tdnn_dim": [8] * 5, "xvector_output_dim": 8}
    model = WavLMForXVector(WavLMConfig(**settings)).eval()
    model.save_pretrained(tmp_path)
    ours = loaded(tmp_path)
    assert any("Ignored" in note for note in ours.provenance.notes)
    theirs = transformers_states(model.wavlm, waveforms[0])
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    states = loaded(tmp_path)([waveforms[0]]).utterance(0)
    assert max(relative_error(a, b) for a, b in zip(states, theirs, strict=True)) < 1e-5


def test_microsoft_checkpoint(microsoft_file: Path, waveforms: list[Tensor]) -> None:
    ours = loaded(microsoft_file)
    assert ours.provenance.format == "Microsoft's checkpoint"
    assert ours.config.normalize_waveform
    assert ours.config.normalize_epsilon == 1e-5
    peer = microsoft_model(KINDS["large"])
    normed = torch.nn.functional.layer_norm(waveforms[0], waveforms[0].shape)  # as Microsoft's README does
    with torch.no_grad():
        expected, _ = peer.extract_features(normed[None])
    assert relative_error(ours([waveforms[0]]).utterance(0)[-1], expected[0]) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_torchaudio_state_dict(kind: str, tmp_path: Path) -> None:
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    hugging_face = transformers_model(KINDS[kind])
    folder = save_transformers(hugging_face, tmp_path / "hf", do_normalize=kind == "large")
    path = tmp_path / "wavlm_small.pth"
    torch.save(import_huggingface_model(hugging_face).state_dict(), path)
    ours, expected = checkpoint.read(path), checkpoint.read(folder)
    state, reference = ours.build().state_dict(), expected.build().state_dict()
    assert "torchaudio" in ours.format
    assert ours.config.stride == 320
    assert len(state) == len(reference) > 50
    assert all(torch.equal(state[name], reference[name]) for name in state if name != "mask_embedding")


def test_the_upstream_of_an_s3prl_checkpoint(microsoft_file: Path, tmp_path: Path) -> None:
    upstream_state = {f"model.{k}": v for k, v in torch.load(microsoft_file, weights_only=True)["model"].items()}
    content: dict[str, Any] = {
        "Featurizer": {"weights": torch.zeros(4)},
        "Downstream": {"projector.weight": torch.zeros(2, 2)},
        "Step": 10,
        "Epoch": 0,
        "Args": argparse.Namespace(upstream="wavlm_large", downstream="emotion"),
        "Config": {"runner": {"total_steps": 10}},
    }
    torch.save(content, tmp_path / "frozen.ckpt")
    with pytest.raises(UserError, match="frozen run"):
        loaded(tmp_path / "frozen.ckpt")
    torch.save(content | {"Upstream": upstream_state}, tmp_path / "tuned.ckpt")
    tuned = loaded(tmp_path / "tuned.ckpt")
    assert "s3prl" in tuned.provenance.format
    assert tuned.fingerprint == loaded(microsoft_file).fingerprint


def test_a_converted_checkpoint_is_the_same_upstream(
    microsoft_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tensors keep their bits, standardisation is kept, and transformers can read the directory."""
    from transformers import WavLMModel

    assert convert.main([str(microsoft_file), str(tmp_path / "converted")]) == 0
    assert "Recognised Microsoft's checkpoint" in capsys.readouterr().out
    assert loaded(tmp_path / "converted").fingerprint == loaded(microsoft_file).fingerprint
    _, report = WavLMModel.from_pretrained(tmp_path / "converted", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_no_other_checkpoint_is_overwritten(hugging_face_folder: Path, tmp_path: Path) -> None:
    """A model that somebody fine-tuned, say; the same conversion may be typed again."""
    for _ in range(2):
        assert convert.main([str(hugging_face_folder), str(tmp_path / "converted")]) == 0
    WavLMForCTC.with_new_head(hugging_face_folder, vocab_size=5).save_pretrained(tmp_path / "recogniser")
    WavLMForCTC.untrained(NANO, seed=0).save_pretrained(tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"")
    for place in ("recogniser", "damaged", "hf"):
        before = (tmp_path / place / "model.safetensors").read_bytes()
        assert convert.main([str(hugging_face_folder), str(tmp_path / place)]) == 2
        assert (tmp_path / place / "model.safetensors").read_bytes() == before


def test_native_names_convert_both_ways(hugging_face_folder: Path) -> None:
    read = checkpoint.read(hugging_face_folder)
    there = names.to_native(read.tensors, read.config)
    back = names.to_native(names.from_native(there, read.config), read.config)
    assert set(back) == set(there)
    for name, tensor in there.items():
        assert torch.allclose(back[name], tensor, rtol=1e-6, atol=0), name


def test_half_precision_files_are_read_as_float32(hugging_face_folder: Path) -> None:
    file = hugging_face_folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    assert loaded(hugging_face_folder).model.projection.weight.dtype == torch.float32


# ---------------------------------------------------------------- checkpoints that are refused


def rewritten(folder: Path, change: Any) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


NAME = "encoder.layers.1.attention.k_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(NAME), ["1 missing", NAME]),
        (lambda t: t.update({"encoder.extra": torch.zeros(2)}), ["1 unexpected", "encoder.extra"]),
        (lambda t: t.update({NAME: torch.zeros(3, 64)}), ["wrong shape", NAME, "(3, 64)", "(64, 64)"]),
        (lambda t: t[NAME].fill_(float("nan")), ["NaN", NAME]),
    ],
)
def test_wrong_tensors_are_named(change: Any, words: list[str], hugging_face_folder: Path) -> None:
    with pytest.raises(UserError) as refusal:
        loaded(rewritten(hugging_face_folder, change))
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_the_untrained_copy_of_a_huge_configuration_is_refused(hugging_face_folder: Path) -> None:
    path = hugging_face_folder / "config.json"
    sizes = {"hidden_size": 65_536, "intermediate_size": 65_536, "num_hidden_layers": 100}
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes))
    with pytest.raises(UserError, match="parameters; at most"):
        upstream.load(str(hugging_face_folder), random_init=True)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_truncated_file_is_a_user_error(name: str, hugging_face_folder: Path) -> None:
    tensors = load_file(hugging_face_folder / "model.safetensors")
    torch.save(tensors, hugging_face_folder / "pytorch_model.bin")
    for other in {"model.safetensors", "pytorch_model.bin"} - {name}:
        (hugging_face_folder / other).unlink()
    file = hugging_face_folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match="cut short or damaged"):
        loaded(hugging_face_folder)


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"cfg": {}, "model": {}, "trap": Trap(tmp_path / "sprung")}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="not a file of plain tensors"):
        loaded(tmp_path / "evil.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"cfg": {}, "model": {"weight": 3}},
        {"cfg": {}, "model": [1, 2]},
        {"cfg": 7, "model": {}},
        {"Upstream": {1: torch.zeros(2)}, "Featurizer": {}},
        {"Upstream": {"model.encoder.pos_conv.0.weight_v": torch.zeros(2)}, "Featurizer": {}},
        {1: torch.zeros(2)},
        {"encoder.transformer.layer_norm.weight": "text"},
    ],
)
def test_wrong_dictionaries_are_user_errors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(UserError):
        loaded(tmp_path / "odd.pt")


@pytest.mark.parametrize("index", ["", "{}", '{"weight_map": {"a": "../elsewhere.safetensors"}}', '{"weight_map": 3}'])
def test_an_index_that_lists_no_files_beside_it_is_refused(index: str, hugging_face_folder: Path) -> None:
    (hugging_face_folder / "model.safetensors").rename(hugging_face_folder.parent / "elsewhere.safetensors")
    (hugging_face_folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json"):
        loaded(hugging_face_folder)


def test_an_untrained_copy_needs_the_configuration_alone(hugging_face_folder: Path) -> None:
    (hugging_face_folder / "model.safetensors").unlink()
    untrained = upstream.load(str(hugging_face_folder), random_init=True)
    assert (untrained.num_layers, untrained.provenance.random_init) == (4, True)


def test_a_directory_can_be_given_to_transformers(hugging_face_folder: Path, waveforms: list[Tensor]) -> None:
    """transformers computes what this implementation cannot; both agree where both can."""
    ours, theirs = loaded(hugging_face_folder), upstream.load(f"hf:{hugging_face_folder}")
    assert "transformers" in theirs.provenance.format
    assert relative_error(ours(waveforms[:1]).layers, theirs(waveforms[:1]).layers) < 1e-5


def test_other_dictionaries_and_folders(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="has no WavLM"):
        loaded(tmp_path / "other.pt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"has no config\.json; found nothing"):
        loaded(tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text("{broken")
    with pytest.raises(UserError, match="not valid JSON"):
        loaded(tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(UserError, match=r"no preprocessor_config\.json"):
        loaded(tmp_path / "folder")


def test_configurations_that_cannot_be_computed_are_refused(hugging_face_folder: Path) -> None:
    path = hugging_face_folder / "config.json"
    content = json.loads(path.read_text())
    for change, words in (
        ({"hidden_act": "gelu_new"}, "hidden_act = 'gelu_new'"),  # the tanh form
        ({"feat_extract_norm": "batch"}, "feat_extract_norm = 'batch'"),
        ({"add_adapter": True}, "add_adapter"),
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"hidden_size": 2**31}, "hidden_size = 2147483648"),
        ({"intermediate_size": 2**31}, "intermediate_size = 2147483648"),
        ({"conv_dim": [2**31] * 7}, "conv_dim.0 = 2147483648"),
        ({"conv_kernel": [60_000] * 7}, "make frames of"),
        ({"conv_stride": [60_000] * 7}, "make frames of"),
        ({"num_buckets": 2**31}, "num_buckets = 2147483648"),
        ({"layer_norm_eps": 1e300}, "layer_norm_eps"),
        ({"initializer_range": -1.0}, "initializer_range"),
        ({"hidden_act": "x" * 10_000}, "xxx…: input should be 'gelu'"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
        ({"num_attention_heads": 0}, "num_attention_heads = 0"),
        ({"num_hidden_layers": 30_000_000}, "num_hidden_layers = 30000000"),
        ({"hidden_size": "64"}, "hidden_size = '64'"),
        ({"conv_dim": 32}, "conv_dim = 32"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 0]}, "conv_stride.6 = 0"),
        ({"do_stable_layer_norm": "false"}, "do_stable_layer_norm = 'false'"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(UserError, match=words):
            loaded(hugging_face_folder)


CHAINED = "[(512,10,5)]" + " * 64" * 6  # would be 69 thousand million layers


def test_conv_layers_are_read_without_being_evaluated() -> None:
    text = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
    assert conv_layers_from_text(text) == [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2
    for text in (
        "__import__('os').getcwd()",
        "[(512,10)]",
        "[(1,2,3)] * 10**9",
        "[(1,2,'x')]",
        "[(",
        "[512]",
        "[]",
        CHAINED,
    ):
        with pytest.raises(UserError, match="conv_feature_layers"):
            conv_layers_from_text(text)


# ---------------------------------------------------------------- the hub and its cache


REVISION = "0123456789abcdef0123456789abcdef01234567"
LOAD_FROM_CACHE = """
import sys, upstream
from upstream.errors import UserError
try:
    model = upstream.load(sys.argv[1])
    print("loaded", model.provenance.revision, model.num_layers)
except UserError as error:
    print("refused", error)
"""


def load_offline(name: str, cache: Path) -> str:
    """Load in a separate process, without network."""
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "PATH": "", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", LOAD_FROM_CACHE, name]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_named_upstreams_come_from_the_local_cache_when_offline(hugging_face_folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "cache" / "models--microsoft--wavlm-base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    (repository / "snapshots").mkdir()
    hugging_face_folder.rename(repository / "snapshots" / REVISION)
    assert load_offline("wavlm_base", tmp_path / "cache") == f"loaded {REVISION} 4\n"
    assert load_offline(f"wavlm_base@{REVISION}", tmp_path / "cache") == f"loaded {REVISION} 4\n"
    refusal = load_offline("wavlm_base@0000000000000000000000000000000000000000", tmp_path / "cache")
    assert refusal.startswith("refused Cannot reach the Hugging Face hub")


def test_neither_hub_nor_cache_is_a_user_error_with_the_fix(tmp_path: Path) -> None:
    message = load_offline("wavlm_large", tmp_path)
    assert message.startswith("refused Cannot reach the Hugging Face hub")
    assert "hf download microsoft/wavlm-large" in message
    assert "--random-init" in message


@pytest.mark.network
def test_the_published_base_weights() -> None:
    """The files of the hub are read strictly and described as published."""
    repository = hub.fetch("microsoft/wavlm-base-plus")
    model = loaded(repository.folder)
    assert (model.num_layers, model.dim, model.config.normalize_waveform) == (13, 768, False)
