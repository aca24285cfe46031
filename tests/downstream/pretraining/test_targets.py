"""Targets of masked prediction: the nearest centres, kept in the store, and made again when anything else is asked."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import pairwise_distances_argmin
from small_pretraining import recipe_of, write_tones
from torch import Tensor

import upstream
from downstream.pretraining import targets
from downstream.pretraining.features import features
from downstream.pretraining.speech import HOP, WINDOW, Speech, Stream, read_speech
from downstream.pretraining.targets import Codebook, codebook, mean_run, nearest_centres, perplexity
from downstream.recipes import Target
from downstream.training import read_snapshot
from upstream.errors import UserError
from upstream.wavlm.config import WavLMConfig

MFCC = Target(features="mfcc", clusters=8)
LAYER = Target(features="layer", layer=1, clusters=6)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    corpus = write_tones(tmp_path_factory.mktemp("tones"))
    return read_speech(recipe_of(), {"tones": corpus}, corpus.parent / "store", progress=False)


@pytest.fixture(scope="module")
def model() -> upstream.Upstream:
    return upstream.load("wavlm_nano", random_init=True)


def made(target: Target, speech: Speech, store: Path, seed: int = 0, model: Any = None) -> Codebook:
    return codebook(target, speech, seed, store, model, progress=False)


def centres_of(book: Codebook) -> Tensor:
    found = read_snapshot(book.file)
    assert found is not None
    return found[0]["centres"]


@pytest.mark.parametrize("kind", ["mfcc", "log_mel", "pitch"])
def test_codes_are_the_nearest_centres(kind: Any, speech: Speech, tmp_path: Path) -> None:
    book = made(Target(features=kind, clusters=8), speech, tmp_path)
    centres = centres_of(book)
    assert centres.shape[0] == 8
    for stream, codes in zip(speech.streams, book.codes, strict=True):
        rows = features(kind, stream)
        assert codes.tolist() == pairwise_distances_argmin(rows.numpy(), centres.numpy()).tolist()
        assert len(codes) == stream.frames == WavLMConfig().frames(len(stream.samples))


def test_centres_are_means_of_their_frames(speech: Speech, tmp_path: Path) -> None:
    """That k-means has been fitted: each centre is near the mean of what is nearest to it."""
    book = made(MFCC, speech, tmp_path)
    rows = torch.cat([features("mfcc", stream) for stream in speech.learned])
    codes = torch.cat(book.codes[: len(speech.learned)])
    centres = centres_of(book)
    means = torch.stack([rows[codes == number].mean(dim=0) for number in codes.unique().tolist()])
    assert float((means - centres[codes.unique().long()]).norm(dim=1).mean()) < 0.1 * float(rows.norm(dim=1).mean())


def test_codes_of_a_layer_are_those_of_encoding_by_hand(
    speech: Speech, model: upstream.Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces that share no frame, each with all samples of its own frames."""
    monkeypatch.setattr(targets, "PIECE", 60)
    book = made(LAYER, speech, tmp_path, model=model)
    centres = centres_of(book)
    for stream, codes in zip(speech.streams, book.codes, strict=True):
        waveform, rows = stream.samples.float() / 2**15, []
        for first in range(0, stream.frames, 60):
            last = min(first + 60, stream.frames)
            rows.append(model([waveform[first * HOP : last * HOP + WINDOW - HOP]]).layers[1, 0])
        by_hand = torch.cat(rows)
        assert codes.tolist() == pairwise_distances_argmin(by_hand.numpy(), centres.numpy()).tolist()


def test_they_are_read_again_and_not_computed(speech: Speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(MFCC, speech, tmp_path)
    monkeypatch.setattr(targets, "features", None)
    again = made(MFCC, speech, tmp_path)
    assert (again.file, again.perplexity, again.run) == (first.file, first.perplexity, first.run)
    for one, other in zip(first.codes, again.codes, strict=True):
        assert torch.equal(one, other)


def test_whatever_changes_them_makes_another_file(
    speech: Speech, model: upstream.Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavier = replace(speech, learned=(replace(speech.learned[0], weight=2.0), *speech.learned[1:]))
    fewer = replace(speech, held=speech.held[1:])
    other = upstream.load("wavlm_nano", random_init=True, seed=1)
    files = [
        made(MFCC, speech, tmp_path),
        made(MFCC, speech, tmp_path, seed=1),
        made(MFCC, heavier, tmp_path),
        made(MFCC, fewer, tmp_path),
        made(Target(features="mfcc", clusters=9), speech, tmp_path),
        made(Target(features="pitch", clusters=8), speech, tmp_path),
        made(LAYER, speech, tmp_path, model=model),
        made(Target(features="layer", layer=2, clusters=6), speech, tmp_path, model=model),
        made(LAYER, speech, tmp_path, model=other),
    ]
    monkeypatch.setattr(targets, "FEATURES_VERSION", 0)
    files.append(made(MFCC, speech, tmp_path))
    assert len({book.file for book in files}) == len(files)


def test_a_torn_file_is_made_again(speech: Speech, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = made(MFCC, speech, tmp_path)
    first.file.write_bytes(first.file.read_bytes()[:-100])
    again = made(MFCC, speech, tmp_path)
    assert "is damaged; what it held is computed again" in caplog.text
    for one, other in zip(first.codes, again.codes, strict=True):
        assert torch.equal(one, other)
    assert read_snapshot(again.file) is not None


def test_what_cannot_be_made_is_refused(speech: Speech, model: upstream.Upstream, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pitch-10000 has more clusters than there are frames"):
        made(Target(features="pitch", clusters=10_000), speech, tmp_path)
    with pytest.raises(UserError, match="is made of layer 9, and wavlm_nano.* has layers 0 to 3"):
        made(Target(features="layer", layer=9, clusters=6), speech, tmp_path, model=model)
    with pytest.raises(UserError, match="fbank has frames of .* samples, 160 apart; targets need frames of 400"):
        made(Target(features="layer", layer=0, clusters=6), speech, tmp_path, model=upstream.load("fbank"))
    assert not list(tmp_path.rglob("*-*"))


def test_frames_are_drawn_as_training_draws_them(
    speech: Speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source of three times the weight gives three times the frames to k-means."""
    monkeypatch.setattr(targets, "FITTED", 60)
    one, *others = speech.learned[:2]
    seen: dict[str, Tensor] = {}

    def marked(kind: str, stream: Stream) -> Tensor:
        return torch.full((stream.frames, 1), 1.0 if stream.name == one.name else 0.0) + torch.rand(
            stream.frames, 1
        ).mul(1e-3)

    class Fitted:
        def __init__(self, *_: object, **__: object) -> None:
            self.inertia_ = 0.0

        def fit(self, sample: Any) -> Any:
            seen["sample"] = torch.from_numpy(sample)
            self.cluster_centers_ = sample[:2]
            return self

    monkeypatch.setattr(targets, "features", marked)
    monkeypatch.setattr("sklearn.cluster.MiniBatchKMeans", Fitted)
    weighted = replace(speech, learned=(replace(one, weight=3.0), *others))
    made(Target(features="mfcc", clusters=2), weighted, tmp_path)
    assert int((seen["sample"] > 0.5).sum()) == pytest.approx(45, abs=2)
    assert len(seen["sample"]) == pytest.approx(60, abs=2)


def test_figures_of_a_codebook_by_hand() -> None:
    codes = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3], dtype=torch.int16)
    assert perplexity(codes, 10) == pytest.approx(4.0)
    assert perplexity(torch.zeros(5, dtype=torch.int16), 10) == pytest.approx(1.0)
    assert perplexity(torch.tensor([0, 1, 1, 1]), 2) == pytest.approx(
        math.exp(0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    )
    assert mean_run([codes, torch.tensor([5, 5, 5, 6])]) == pytest.approx(12 / 6)


def test_the_nearest_centre_by_hand() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = torch.tensor([[1.0, 1.0], [7.0, 1.0], [4.0, 9.0], [-5.0, -50.0]])
    assert nearest_centres(rows, centres).tolist() == [0, 1, 2, 0]
