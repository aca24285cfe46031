"""A task model answers about new recordings as transformers does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from peers import KINDS, save_transformers, transformers_model
from task_peers import CTC, FRAME, LAYER_SUMS, SPEAKER, SUM, UTTERANCE, task_peer

import downstream
from downstream.cli.main import main
from upstream import UserError
from upstream.wavlm import load_task_model

TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C", "N", "'", "T")
LABELS = ("calm", "sad", "happy", "angry", "other")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings, and a folder with a model of each class."""
    folder = tmp_path_factory.mktemp("task_models")
    generator = np.random.default_rng(0)
    for name, samples in (("one", 9_000), ("two", 16_000), ("three", 12_345)):
        soundfile.write(folder / f"{name}.wav", 0.1 * generator.standard_normal(samples), 16_000)
    for name in (CTC, UTTERANCE, FRAME, SPEAKER):
        peer = peer_of(name)
        save_transformers(peer, folder / name, do_normalize=True)
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    (folder / CTC / "vocab.json").write_text(json.dumps(vocabulary))
    return folder


def peer_of(name: str) -> Any:
    peer = task_peer(name, KINDS["base"] | LAYER_SUMS[SUM])
    peer.config.id2label = dict(enumerate(LABELS))
    return peer


def files(place: Path) -> list[str]:
    return sorted(str(path) for path in place.glob("*.wav"))


def theirs(name: str, place: Path) -> list[Any]:
    """transformers' output for each recording alone, prepared by its feature extractor."""
    from transformers import Wav2Vec2FeatureExtractor

    peer, extractor = peer_of(name), Wav2Vec2FeatureExtractor.from_pretrained(place / name)
    with torch.no_grad():
        return [
            peer(
                extractor(
                    soundfile.read(file, dtype="float32")[0], sampling_rate=16_000, return_tensors="pt"
                ).input_values
            )
            for file in files(place)
        ]


def predicted(name: str, place: Path, **options: Any) -> list[dict[str, Any]]:
    return downstream.predict(place / name, files(place), device="cpu", progress=False, **options)


def test_transcripts_and_when_words_were_said(place: Path) -> None:
    from transformers import Wav2Vec2CTCTokenizer

    tokenizer = Wav2Vec2CTCTokenizer(str(place / CTC / "vocab.json"))
    rows = predicted(CTC, place)
    for row, output in zip(rows, theirs(CTC, place), strict=True):
        expected = tokenizer.decode(output.logits[0].argmax(-1), output_word_offsets=True)
        assert row["transcript"] == expected.text
        assert " ".join(word["word"] for word in row["words"]) == expected.text
        for word, offset in zip(row["words"], expected.word_offsets, strict=True):
            assert word["start"] == pytest.approx(offset["start_offset"] * 0.02)
            assert word["end"] == pytest.approx(offset["end_offset"] * 0.02)


def test_a_weight_file_of_any_name_a_name_twice_and_what_was_assumed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = peer_of(UTTERANCE)
    peer.config.id2label = dict(enumerate(("calm", "calm", *LABELS[2:])))
    peer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "best.safetensors")
    assert main(["predict", str(tmp_path / "best.safetensors"), files(place)[0], "--format", "jsonl"]) == 0
    told = capsys.readouterr()
    posteriors = json.loads(told.out)["posteriors"]
    assert list(posteriors) == ["calm (0)", "calm (1)", *LABELS[2:]]
    assert sum(posteriors.values()) == pytest.approx(1.0, abs=1e-5)
    assert "No preprocessor_config.json: waveforms are not standardised" in told.err


def test_classes_and_their_posteriors(place: Path) -> None:
    for row, output in zip(predicted(UTTERANCE, place), theirs(UTTERANCE, place), strict=True):
        expected = output.logits[0].softmax(dim=0)
        assert row["class"] == LABELS[int(expected.argmax())]
        assert list(row["posteriors"]) == list(LABELS)
        assert list(row["posteriors"].values()) == pytest.approx(expected.tolist(), abs=1e-5)
        assert row["posterior"] == max(row["posteriors"].values())


def test_labels_of_frames_and_their_segments(place: Path) -> None:
    for row, output in zip(predicted(FRAME, place), theirs(FRAME, place), strict=True):
        expected = [
            [label for label, on in zip(LABELS, own, strict=True) if on] for own in (output.logits[0] > 0).tolist()
        ]
        assert row["labels"] == expected
        again: list[list[str]] = [[] for _ in expected]
        for segment in row["segments"]:
            for frame in range(round(segment["start"] / 0.02), round(segment["end"] / 0.02)):
                again[frame].append(segment["label"])
        assert [sorted(labels, key=LABELS.index) for labels in again] == expected


def test_embeddings_and_their_cosines(place: Path) -> None:
    expected = torch.cat([output.embeddings for output in theirs(SPEAKER, place)])
    rows = predicted(SPEAKER, place, embeddings=True)
    assert torch.allclose(torch.tensor([row["embedding"] for row in rows]), expected, rtol=1e-4, atol=1e-4)
    cosines = torch.nn.functional.normalize(expected, dim=1) @ torch.nn.functional.normalize(expected, dim=1).T
    pairs = predicted(SPEAKER, place)
    assert [row["similarity"] for row in pairs] == pytest.approx(
        [float(cosines[i, j]) for i, j in ((0, 1), (0, 2), (1, 2))], abs=1e-5
    )


def changed_copy(place: Path, name: str, tmp_path: Path, **fields: object) -> Path:
    """A copy of a model with other fields of its config.json."""
    folder = shutil.copytree(place / name, tmp_path / "changed")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | fields))
    return folder


def test_the_problem_type_says_what_outputs_mean(place: Path, tmp_path: Path) -> None:
    (output, *_) = theirs(UTTERANCE, place)
    several = changed_copy(place, UTTERANCE, tmp_path, problem_type="multi_label_classification")
    (row,) = downstream.predict(several, files(place)[:1], device="cpu", progress=False)
    assert list(row["posteriors"].values()) == pytest.approx(output.logits[0].sigmoid().tolist(), abs=1e-5)
    values = changed_copy(place, UTTERANCE, tmp_path / "values", problem_type="regression")
    (row,) = downstream.predict(values, files(place)[:1], device="cpu", progress=False)
    assert list(row["values"].values()) == pytest.approx(output.logits[0].tolist(), abs=1e-5)
    single = changed_copy(place, FRAME, tmp_path / "single", problem_type="single_label_classification")
    (row,) = downstream.predict(single, files(place)[:1], device="cpu", progress=False)
    assert {len(labels) for labels in row["labels"]} == {1}


def test_the_command_takes_a_model_and_a_folder_of_recordings(place: Path, tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    shutil.copy(place / "one.wav", recordings)
    for named in (place / UTTERANCE, place / UTTERANCE / "model.safetensors"):
        assert (
            main(["predict", str(named), str(recordings), "--to", str(tmp_path / "answers.jsonl"), "--device", "cpu"])
            == 0
        )
        (row,) = map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines())
        assert row["class"] in LABELS
    array = tmp_path / "array.npy"
    speakers = ["predict", str(place / SPEAKER), str(recordings), "--embeddings", "--to", str(array), "--device", "cpu"]
    assert main(speakers) == 0
    assert np.load(array).shape == (1, 16)


def test_what_a_user_can_fix_is_said(place: Path, tmp_path: Path) -> None:
    encoder = save_transformers(transformers_model(KINDS["base"]), tmp_path / "encoder", False)
    silent = shutil.copytree(place / CTC, tmp_path / "silent")
    (silent / "vocab.json").unlink()
    other = changed_copy(place, UTTERANCE, tmp_path / "other", model_type="hubert")
    soundfile.write(tmp_path / "short.wav", np.full(4_000, 0.1), 16_000)
    one, short = str(place / "one.wav"), str(tmp_path / "short.wav")
    for model, recordings, options, words in (
        (place / UTTERANCE, [one], {"heads": ["fold1-seed0"]}, "--head is of the heads of a run"),
        (place / UTTERANCE, [one], {"upstream": "wavlm_base"}, "-u is of the heads of a run"),
        (place / UTTERANCE, [one], {"embeddings": True}, "answer about one recording each"),
        (place / SPEAKER, [one], {}, "nothing to be compared with"),
        (place / SPEAKER, [short], {"embeddings": True}, r"short.wav: It has 12 frames, and WavLMForXVector takes 16"),
        (silent, [one], {}, r"no vocab\.json beside the weights"),
        (encoder, [one], {}, "is a WavLMModel, which has no head"),
        (other, [one], {}, "is of another kind of model than WavLM, whose heads alone are known here"),
        (f"hf:{tmp_path}/nothing", [one], {}, "neither a directory or file that exists nor a repository"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            downstream.predict(model, recordings, device="cpu", progress=False, **options)


def test_a_model_that_was_packed_for_prediction_gives_the_same(place: Path) -> None:
    """In batches of several lengths, of the packed weights; and the loaded model itself."""
    model = load_task_model(place / SPEAKER)
    waveforms = [model.prepare(torch.tensor(soundfile.read(file, dtype="float32")[0])) for file in files(place)]
    with torch.no_grad():
        expected = model(waveforms).embeddings
    rows = predicted(SPEAKER, place, embeddings=True)
    assert torch.allclose(torch.tensor([row["embedding"] for row in rows]), expected, rtol=1e-4, atol=1e-4)
