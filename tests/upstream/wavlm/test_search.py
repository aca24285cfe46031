"""Encoders below prefixes, beside other things and in several spellings; and files that have none, or two."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peers import KINDS, microsoft_cfg, microsoft_model, save_transformers, transformers_model
from safetensors.torch import load_file, save_file
from torch import Tensor

import upstream
from upstream.errors import UserError
from upstream.wavlm import checkpoint, convert, names
from upstream.wavlm.upstream import WavLMUpstream, load_checkpoint

VERSION = 1
POSITIONAL = names.POSITIONAL


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory; read it, never change it."""
    return save_transformers(transformers_model(KINDS["base"]), tmp_path_factory.mktemp("hf"), do_normalize=False)


@pytest.fixture
def tensors(base: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = load_file(base / "model.safetensors")
    return loaded


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        checkpoint.read(path)
    return str(refused.value)


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


# What training code puts around a state dict.
WRAPPERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda t: t,
    "DataParallel": lambda t: below("module.", t),
    "speechbrain": lambda t: below("model.", t),
    "Lightning": lambda t: {
        "epoch": 3,
        "state_dict": below("net.encoder.", t) | {"net.head.weight": torch.zeros(2)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
        "hyper_parameters": argparse.Namespace(rate=1e-4),
    },
    "nested": lambda t: {"model": {"module": below("wavlm.", t), "step": 7}, "loss": 0.1, "args": {"lr": 1}},
    "own head": lambda t: below("wavlm.", t) | {"my_head.0.num_batches_tracked": torch.tensor(5)},
    "twice the same": lambda t: below("wavlm.", t) | below("model.wavlm.", t),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_an_encoder_is_found_below_any_prefix(
    wrapper: str, base: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    """The same tensors have the same fingerprint, and the configuration is that of the shapes."""
    expected = checkpoint.read(base)
    found = checkpoint.read(saved(WRAPPERS[wrapper](tensors), tmp_path / "file.ckpt"))
    assert found.tensors.keys() == expected.tensors.keys()
    assert found.config.fingerprint_settings() == expected.config.fingerprint_settings()
    assert found.fingerprint(VERSION) == expected.fingerprint(VERSION)
    assert checkpoint.NO_CONFIGURATION in found.notes


def test_what_lies_beside_the_encoder_is_noted(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    content = below("wavlm.", tensors) | {"my_head.weight": torch.zeros(2), "counter": torch.tensor(3)}
    read = checkpoint.read(saved(content, tmp_path / "file.pt"))
    assert "Ignored 2 tensors beside the encoder (my_head.weight first)." in read.notes_on_encoder


def test_torchaudio_and_microsoft_below_a_prefix(base: Path, tmp_path: Path) -> None:
    """torchaudio's documented `WAVLM_LARGE.get_model()` wraps its model; UniSpeech's verification wraps Microsoft's."""
    pytest.importorskip("s3prl")
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    peer = import_huggingface_model(transformers_model(KINDS["base"])).state_dict()
    wrapped = checkpoint.read(saved(below("model.", peer), tmp_path / "audio.pth"))
    assert wrapped.format == "weights with torchaudio's names (audio.pth)"
    assert wrapped.fingerprint(VERSION) == checkpoint.read(base).fingerprint(VERSION)

    microsoft = microsoft_model(KINDS["base"]).state_dict()
    cfg = microsoft_cfg(KINDS["base"], False)
    expected = checkpoint.read(saved({"cfg": cfg, "model": microsoft}, tmp_path / "WavLM.pt"))
    assert expected.format == "Microsoft's checkpoint"
    verification = below("feature_extract.model.", microsoft) | {"instance_norm.weight": torch.zeros(3)}
    for content in (
        {"model": verification},
        {"cfg": argparse.Namespace(**cfg), "model": microsoft},
        {"cfg": {"model": argparse.Namespace(**cfg), "task": {"sample_rate": 16_000}}, "model": microsoft},
        {"cfg": {"lr": 1.0}, "model": microsoft},
    ):
        found = checkpoint.read(saved(content, tmp_path / "other.pt"))
        assert found.fingerprint(VERSION) == expected.fingerprint(VERSION)


# ---------------------------------------------------------------- the weight norm


def spelled(tensors: dict[str, Tensor], **positional: Tensor) -> dict[str, Tensor]:
    """Other tensors of the positional convolution, under their last names."""
    others = {name: tensor for name, tensor in tensors.items() if name not in (names.MAGNITUDE, names.DIRECTION)}
    return others | {f"{POSITIONAL}.{name}": tensor for name, tensor in positional.items()}


def test_both_spellings_of_a_weight_norm_must_agree(base: Path, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    g, v = tensors[names.MAGNITUDE], tensors[names.DIRECTION]
    older = {f"{POSITIONAL}.weight_g": g, f"{POSITIONAL}.weight_v": v}
    both = checkpoint.read(saved(tensors | older, tmp_path / "both.pt"))
    assert both.fingerprint(VERSION) == checkpoint.read(base).fingerprint(VERSION)
    older[f"{POSITIONAL}.weight_g"] = g + 1
    assert "two different tensors" in refusal(saved(tensors | older, tmp_path / "unequal.pt"))
    folded = {names.FOLDED: names.fold_weight_norm(g, v)}
    assert "unexpected" in refusal(saved(tensors | folded, tmp_path / "three.pt"))


def test_a_folded_weight_norm_is_read_and_converted(base: Path, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    from transformers import WavLMModel

    weight = names.fold_weight_norm(tensors[names.MAGNITUDE], tensors[names.DIRECTION])
    read = checkpoint.read(saved(spelled(tensors, weight=weight), tmp_path / "folded.pt"))
    state, expected = read.build().state_dict(), checkpoint.read(base).build().state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert convert.main([str(tmp_path / "folded.pt"), str(tmp_path / "converted")]) == 0
    _, report = WavLMModel.from_pretrained(tmp_path / "converted", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    again = checkpoint.read(tmp_path / "converted").build().state_dict()["positional_conv.weight"]
    torch.testing.assert_close(again, weight, rtol=1e-6, atol=0)


def test_folding_is_pytorchs_weight_norm(tensors: dict[str, Tensor]) -> None:
    g, v = tensors[names.MAGNITUDE], tensors[names.DIRECTION]
    exact = torch._weight_norm(v.double(), g.double(), 2).float()
    torch.testing.assert_close(names.fold_weight_norm(g, v), exact, rtol=1e-7, atol=0)


def test_a_weight_norm_without_a_direction_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    tensors[names.DIRECTION][:, :, 3] = 0
    read = checkpoint.read(saved(tensors, tmp_path / "zero.pt"))
    with pytest.raises(UserError, match="without a direction"):
        read.build()


# ---------------------------------------------------------------- refused


def test_two_encoders_are_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    teacher = {name: tensor + 1 for name, tensor in tensors.items()}
    message = refusal(saved({"student": tensors, "teacher": below("model.", teacher)}, tmp_path / "two.pt"))
    assert "2 different WavLM encoders" in message
    assert "'student.'" in message
    assert "'teacher.model.'" in message


def test_lora_that_is_not_merged_is_refused_by_its_name(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    name = "encoder.layers.1.attention.q_proj"
    wrapped = below("base_model.model.", tensors)
    wrapped[f"base_model.model.{name}.base_layer.weight"] = wrapped.pop(f"base_model.model.{name}.weight")
    wrapped[f"base_model.model.{name}.lora_A.default.weight"] = torch.zeros(4, 64)
    assert "LoRA" in refusal(saved(wrapped, tmp_path / "peft.pt"))
    assert "LoRA" in refusal(saved(tensors | {f"{name}.lora_B": torch.zeros(64, 4)}, tmp_path / "loralib.pt"))
    adapter = {f"base_model.model.{name}.lora_A.weight": torch.zeros(4, 64)}
    save_file(adapter, tmp_path / "adapter_model.safetensors")
    assert f"base_model.model.{name}.lora_A.weight first of 1" in refusal(tmp_path / "adapter_model.safetensors")


NAME = "encoder.layers.1.attention.k_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"wavlm.{NAME}"), ["1 missing", NAME]),
        (lambda t: t.update({"wavlm.encoder.layers.1.adapter.weight": torch.zeros(2)}), ["1 unexpected", "1.adapter"]),
        (
            lambda t: t.update({"wavlm.feature_extractor.gain": torch.zeros(2)}),
            ["unexpected", "feature_extractor.gain"],
        ),
        (lambda t: t.update({f"wavlm.{NAME}": t[f"wavlm.{NAME}"].to(torch.int8)}), [f"wavlm.{NAME} is int8"]),
        (lambda t: t.update({f"wavlm.{NAME}": torch.zeros(1).expand(10**5, 10**5)}), ["a view of 1 numbers"]),
        (lambda t: t.update({f"wavlm.{NAME}": t[f"wavlm.{NAME}"].to(torch.float8_e4m3fn)}), ["float8_e4m3fn"]),
        (lambda t: t.update({f"wavlm.{NAME}": torch.full((64, 64), 1e300, dtype=torch.float64)}), ["infinite", NAME]),
    ],
)
def test_what_is_wrong_within_the_encoder_is_named(
    change: Callable[[dict[str, Tensor]], Any], words: list[str], tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    content = below("wavlm.", tensors)
    change(content)
    message = refusal(saved(content, tmp_path / "file.pt"))
    assert all(word in message for word in words), message


def test_files_without_a_wavlm(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    hubert = {name: tensor for name, tensor in tensors.items() if "gru_rel" not in name and "rel_attn" not in name}
    message = refusal(saved(hubert, tmp_path / "hubert.pt"))
    assert "-u hf:DIRECTORY" in message
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))]).state_dict()
    assert "the state of an optimiser" in refusal(saved(optimizer, tmp_path / "optimizer.pt"))
    circle: dict[str, Any] = {"step": 1}
    circle["again"] = circle["more"] = circle
    assert "no tensors, but step, again, more" in refusal(saved(circle, tmp_path / "circle.pt"))


# ---------------------------------------------------------------- directories


def test_a_named_weight_file_is_the_one_that_is_read(base: Path, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    for file in base.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    moved = {name: tensor + 0.01 for name, tensor in tensors.items()}
    save_file(moved, tmp_path / "finetuned.safetensors", metadata={"format": "pt"})
    torch.save(moved, tmp_path / "pytorch_model.bin")
    saved(moved, tmp_path / "ema.bin")
    fingerprints = {
        name: checkpoint.read(tmp_path / name).fingerprint(VERSION)
        for name in ("", "config.json", "model.safetensors", "finetuned.safetensors", "pytorch_model.bin", "ema.bin")
    }
    assert fingerprints[""] == fingerprints["config.json"] == fingerprints["model.safetensors"]
    assert fingerprints["finetuned.safetensors"] == fingerprints["pytorch_model.bin"] == fingerprints["ema.bin"]
    assert fingerprints[""] != fingerprints["ema.bin"]
    assert convert.main([str(tmp_path / "ema.bin"), str(tmp_path)]) == 2  # would overwrite model.safetensors
    assert convert.main([str(tmp_path / "ema.bin"), str(tmp_path / "converted")]) == 0
    assert checkpoint.read(tmp_path / "converted").fingerprint(VERSION) == fingerprints["ema.bin"]
    named = load_checkpoint("x", tmp_path / "ema.bin", None, "x", torch.device("cpu"), torch.float32)
    assert named.provenance.format == "weights with Hugging Face's names (ema.bin)"
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "not merged" in refusal(tmp_path)
    assert checkpoint.read(tmp_path / "ema.bin")


def test_a_configuration_of_something_else_beside_a_file(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """A folder of experiments may have any config.json; beside files as transformers writes them it must fit."""
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    assert checkpoint.NO_CONFIGURATION in checkpoint.read(saved(tensors, tmp_path / "mine.pt")).notes
    assert isinstance(upstream.load(str(tmp_path / "mine.pt")), WavLMUpstream)
    assert "'hubert', not 'wavlm'" in refusal(saved(tensors, tmp_path / "mine.bin"))
    (tmp_path / "config.json").write_text('{"learning_rate": 1}')
    assert checkpoint.NO_CONFIGURATION in checkpoint.read(tmp_path / "mine.bin").notes


def test_how_the_waveform_is_prepared(base: Path, tmp_path: Path) -> None:
    """transformers 5 writes the feature extractor's settings into processor_config.json, and reads them there first."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    nested = tmp_path / "processor_config.json"
    nested.write_text('{"processor_class": "P", "feature_extractor": {"do_normalize": true, "sampling_rate": 16000}}')
    assert checkpoint.read(tmp_path).config.normalize_waveform
    assert not any("No preprocessor" in note for note in checkpoint.read(tmp_path).notes)
    assert convert.main([str(tmp_path), str(tmp_path / "converted")]) == 0
    assert checkpoint.read(tmp_path / "converted").config.normalize_waveform
    nested.write_text('{"feature_extractor": [1]}')
    assert "expected an object" in refusal(tmp_path)
    nested.write_text('{"feature_extractor": {"do_normalize": true}}')
    own = tmp_path / "preprocessor_config.json"
    own.write_text('{"do_normalize": false}')
    assert checkpoint.read(tmp_path).config.normalize_waveform
    assert any("disagree" in note for note in checkpoint.read(tmp_path).notes)
    nested.unlink()
    own.write_text('{"do_normalize": false, "sampling_rate": 8000}')
    assert "8000 Hz" in refusal(tmp_path)
    own.unlink()
    own.symlink_to("blobs/gone")
    assert "is a link to blobs/gone" in refusal(tmp_path)


def test_folders_around_a_checkpoint_name_the_one_within(base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "models--org--name"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    (cache / "snapshots").mkdir()
    (cache / "snapshots" / "abc").symlink_to(base)
    assert f"Name one of them: {cache}/snapshots/abc" in refusal(cache)
    assert checkpoint.read(cache / "snapshots" / "abc")
    training = tmp_path / "training"
    for step in (500, 1000):
        (training / f"checkpoint-{step}").mkdir(parents=True)
        (training / f"checkpoint-{step}" / "config.json").write_text("{}")
    assert "2 folders within" in refusal(training)
    assert f"{training}/checkpoint-" in refusal(training)
