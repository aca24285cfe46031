"""Checkpoints of s3prl's runs compute as task models, and as heads here, what s3prl computes."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from peers import relative_error
from s3prl_runs import DOWNSTREAMS, Recognition, Run, Utterance, Verification
from torch import Tensor

import downstream
import upstream
from downstream.conversion import convert
from downstream.prediction import applied_heads
from upstream.errors import UserError

WHOLE: dict[str, Any] = {}
ONE = {"upstream_layer_selection": 1}
LAST = {"upstream_feature_selection": "last_hidden_state"}
pytestmark = pytest.mark.filterwarnings("ignore")  # s3prl's, of what torch deprecates


@pytest.fixture
def recordings(tmp_path: Path) -> dict[str, Tensor]:
    """Two files of noise and their samples."""
    generator, folder = np.random.default_rng(0), tmp_path / "audio"
    folder.mkdir()
    found = {}
    for name, samples in (("one.wav", 9_000), ("two.wav", 21_234)):
        path = folder / name
        soundfile.write(path, 0.1 * generator.standard_normal(samples), 16_000, subtype="FLOAT")
        found[str(path)] = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    return found


def by_transformers(folder: Path, waveform: Tensor) -> Tensor:
    """Return the answer of transformers' own model in a directory to a waveform, standardised as in s3prl."""
    transformers = pytest.importorskip("transformers")
    (name,) = transformers.AutoConfig.from_pretrained(folder).architectures
    model = getattr(transformers, name).from_pretrained(folder).eval()
    if transformers.AutoFeatureExtractor.from_pretrained(folder).do_normalize:
        waveform = torch.nn.functional.layer_norm(waveform, waveform.shape)
    with torch.no_grad():
        output = model(waveform[None])
    answer: Tensor = output.embeddings.relu() if name == "WavLMForXVector" else output.logits
    return answer[0]


# ---------------------------------------------------------------- task models


@pytest.mark.parametrize(
    ("task", "kind", "arguments", "fine_tuned"),
    [
        ("emotion", "large", WHOLE, False),
        ("speech_commands", "base", WHOLE, True),
        ("fluent_commands", "large", ONE, True),
        ("voxceleb1", "large", LAST, False),
        ("sv_voxceleb1", "large", WHOLE, True),
        ("sv_voxceleb1", "base", ONE, False),
        ("diarization", "large", WHOLE, False),
        ("diarization", "base", LAST, True),
    ],
)
def test_a_task_model_computes_what_s3prl_does(
    task: str, kind: str, arguments: dict[str, Any], fine_tuned: bool, tmp_path: Path, recordings: dict[str, Tensor]
) -> None:
    run = Run(tmp_path, task, kind, **arguments)
    done = convert(run.save(tmp_path / "run.ckpt", fine_tuned), tmp_path / "model")
    answers = [run(waveform) for waveform in recordings.values()]
    assert relative_error(answers[0].mean(dim=0), answers[1].mean(dim=0)) > 1e-3  # the answer depends on the audio
    for waveform, answer in zip(recordings.values(), answers, strict=True):
        assert relative_error(by_transformers(tmp_path / "model", waveform), answer) < 1e-5
    assert "by transformers' own model" in done.sentence
    assert any("Optimizer" in note for note in done.notes)
    assert any("no encoder" in note for note in done.notes) != fine_tuned


def test_the_encoder_of_a_task_model_is_that_of_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, "emotion", "large")
    convert(run.save(tmp_path / "run.ckpt"), tmp_path / "model")
    own = upstream.load(str(tmp_path / "model"))
    assert own.fingerprint == upstream.load(str(run.microsoft)).fingerprint


def test_labels_are_those_of_the_task_or_of_a_file(tmp_path: Path) -> None:
    from upstream.wavlm.checkpoint import read_config

    convert(Run(tmp_path, "emotion").save(tmp_path / "er.ckpt"), tmp_path / "er")
    assert list(read_config(tmp_path / "er").id2label.values()) == ["neutral", "happy", "angry", "sad"]
    (tmp_path / "names.txt").write_text("ann\nbob\ncarol\ndave\neve\nfay\n")
    checkpoint = Run(tmp_path, "voxceleb1").save(tmp_path / "sid.ckpt")
    convert(checkpoint, tmp_path / "sid", labels=tmp_path / "names.txt")
    assert read_config(tmp_path / "sid").id2label[4] == "eve"
    (tmp_path / "names.txt").write_text("ann\nbob\n")
    with pytest.raises(UserError, match="2 names, and the head has 6 outputs"):
        convert(checkpoint, tmp_path / "other", labels=tmp_path / "names.txt")


# ---------------------------------------------------------------- heads here


@pytest.mark.parametrize(("arguments", "fine_tuned"), [(WHOLE, False), (ONE, True)])
def test_a_head_of_classes_predicts_what_s3prl_does(
    arguments: dict[str, Any], fine_tuned: bool, tmp_path: Path, recordings: dict[str, Tensor]
) -> None:
    run = Run(tmp_path, "emotion", "large", **arguments)
    head = tmp_path / "head.safetensors"
    convert(run.save(tmp_path / "run.ckpt", fine_tuned), head)
    place = str(tmp_path / "run.ckpt" if fine_tuned else run.microsoft)
    rows = downstream.predict(head, list(recordings), upstream=place)
    for row, waveform in zip(rows, recordings.values(), strict=True):
        expected = run(waveform).softmax(dim=0)
        assert list(row["posteriors"]) == ["neutral", "happy", "angry", "sad"]
        assert list(row["posteriors"].values()) == pytest.approx(expected.tolist(), abs=2e-6)
    about = applied_heads(head, upstream=place)
    assert "learned by s3prl's emotion (step 30,000" in about.sentence
    assert list(about.heads) == ["fold2-seed1337" if not arguments else "fold2-seed1337-layer1"]


def test_a_head_for_transcripts_predicts_what_s3prl_does(tmp_path: Path, recordings: dict[str, Tensor]) -> None:
    run = Run(tmp_path, "asr", "base")
    head = tmp_path / "head.safetensors"
    convert(run.save(tmp_path / "run.ckpt"), head)
    applied = applied_heads(head, upstream=str(run.microsoft))
    (own,) = applied.heads.values()
    for waveform in recordings.values():
        with torch.no_grad():
            (ours,) = applied.predictor.predict(own, applied.upstream([waveform]))
        assert relative_error(ours, run(waveform)) < 1e-5
    with pytest.raises(UserError, match="ForCTC is one linear layer"):
        convert(tmp_path / "run.ckpt", tmp_path / "model")


def test_a_head_for_speakers_embeds_what_s3prl_does(
    tmp_path: Path, recordings: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of SUPERB's widths, which a recipe's heads have; of others there is a task model alone."""
    monkeypatch.setitem(DOWNSTREAMS, "sv_voxceleb1", lambda dim: Verification(dim, 512, 1500))
    run = Run(tmp_path, "sv_voxceleb1", "base")
    head = tmp_path / "head.safetensors"
    convert(run.save(tmp_path / "run.ckpt", fine_tuned=True), head)
    applied = applied_heads(head, upstream=str(tmp_path / "run.ckpt"))
    (own,) = applied.heads.values()
    (waveform, *_) = recordings.values()
    with torch.no_grad():
        assert relative_error(own(applied.upstream([waveform]))[0], run(waveform)) < 1e-5
    assert applied.recipe.corpus.effects.remove_silence
    assert len(applied.about.folds["whole"].outputs) == 5
    monkeypatch.setitem(DOWNSTREAMS, "sv_voxceleb1", Verification)
    other = Run(tmp_path, "sv_voxceleb1", "base").save(tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="is like none that superb/asv builds"):
        convert(other, tmp_path / "other.safetensors")


# ---------------------------------------------------------------- what is refused


def attentive(dim: int) -> Utterance:
    return Utterance(dim, pooling="AttentivePooling")


class Hostile:
    def __reduce__(self) -> Any:
        return (print, ("this code ran",))


def test_a_head_becomes_one_of_a_recipe_whose_heads_are_others(tmp_path: Path, recordings: dict[str, Tensor]) -> None:
    """Those of keyword are standardised and hear audio without a gain; s3prl's is not, and did not."""
    checkpoint, head = Run(tmp_path, "speech_commands").save(tmp_path / "run.ckpt", fine_tuned=True), "head.safetensors"
    done = convert(checkpoint, tmp_path / head, recipe="keyword")
    assert applied_heads(tmp_path / head, upstream=str(checkpoint)).recipe.name == "keyword"
    (tmp_path / "config.json").write_text("{}")  # of a task model beside it, which it is no part of
    assert len(downstream.predict(tmp_path / head, list(recordings), upstream=str(checkpoint))) == len(recordings)
    assert any("as superb/ks prepares it" in note for note in done.notes)
    assert not any("superb/ks" in note for note in convert(checkpoint, tmp_path / f"own_{head}").notes)


def test_the_folder_of_a_run_is_told_from_a_checkpoint(tmp_path: Path) -> None:
    for name in ("states-100.ckpt", "dev-best.ckpt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"wavprobe convert .*dev-best\.ckpt head\.safetensors"):
        downstream.predict(tmp_path / "dev-best.ckpt", ["any.wav"])
    with pytest.raises(UserError, match=r"2 checkpoints and no config\.json.*name one: .*dev-best\.ckpt"):
        convert(tmp_path, tmp_path / "out")


def test_what_is_refused_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    run = Run(tmp_path, "emotion", "large")
    path, to = tmp_path / "run.ckpt", tmp_path / "out"

    def refuses(words: str, to: Path = to, **given: Any) -> None:
        with pytest.raises(UserError, match=words):
            convert(path, to, **given)
        assert not to.exists()
        assert not list(tmp_path.glob(".writing*"))

    named = argparse.Namespace(**run.arguments | {"upstream": "wavlm_large", "upstream_ckpt": None})
    run.save(path, Args=named)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refuses("a frozen run: it has a head and no encoder, and says that this was wavlm_large")
    refuses("sums 4 layers, and fbank", upstream="fbank")
    run.save(path, Args=argparse.Namespace(**run.arguments | {"upstream_ckpt": "/gone/wavlm.pt"}))
    refuses("with the checkpoint /gone/wavlm.pt, which is not here. Name it with -u")
    (tmp_path / "evil.py").write_text("print('this code ran')")
    evil = f"{tmp_path}/evil.py:build"
    run.save(path, Args=argparse.Namespace(**run.arguments | {"upstream": evil, "upstream_ckpt": None}))
    refuses("evil.py:build, a function whose code would run")
    run.save(path, Args=None)
    refuses("does not say which upstream")
    run.save(path, fine_tuned=True)
    refuses("leave -u wavlm_base out", upstream="wavlm_base")
    refuses("has heads of another kind", recipe="superb/asv")
    refuses("--head has no meaning", head="fold1-seed0")
    run.save(path, Args=argparse.Namespace(**run.arguments, upstream_feature_normalize=True))
    refuses("--upstream_feature_normalize")
    run.save(path, Featurizer={"weights": torch.full((4,), torch.nan)})
    refuses("NaN or infinite numbers in Featurizer.weights")
    run.save(path, Featurizer={})
    refuses("no weights of layers")
    path.write_bytes(path.read_bytes()[:5_000])
    refuses("cut short or damaged")
    torch.save({"Downstream": Hostile()}, path)
    refuses("is not a file of plain tensors: it asks for print")
    path.write_bytes(pickle.dumps({"Downstream": Hostile()}))
    refuses("a plain pickle, which may run code")
    assert "this code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "words", "to"),
    [
        ("attentive", "has a head that is not read here, that of attentive", "out"),
        ("rnn", "an LSTM before its linear layer", "out"),
        ("diarization", "no recipe here has such heads", "out.safetensors"),
        ("fluent_commands", "three values", "out.safetensors"),
        ("voxceleb1", "There is no recipe for s3prl's voxceleb1", "out.safetensors"),
    ],
)
def test_heads_without_a_place_are_refused(
    task: str, words: str, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3prl_runs import Diarization

    monkeypatch.setitem(DOWNSTREAMS, "attentive", attentive)
    monkeypatch.setitem(DOWNSTREAMS, "rnn", lambda dim: Diarization(dim, rnn_layers=1))
    path = Run(tmp_path, task, "base").save(tmp_path / "run.ckpt", fine_tuned=True)
    with pytest.raises(UserError, match=words):
        convert(path, tmp_path / to)
    assert not (tmp_path / to).exists()


def test_an_lstm_that_leaves_frames_out_is_told_by_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recognition, "config", {"modelrc": {"RNNs": {"sample_rate": [2, 1]}}})
    path = Run(tmp_path, "asr", "base").save(tmp_path / "run.ckpt", fine_tuned=True)
    with pytest.raises(UserError, match="not read here"):
        convert(path, tmp_path / "head.safetensors")
