"""Heads of this harness become task models that give their predictions, or are refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from small_runs import small_run, write_words
from torch import Tensor

import downstream
import upstream
from downstream.conversion import convert
from downstream.conversion.folding import folded
from downstream.conversion.verifying import tones
from downstream.results.record import Result
from downstream.tasks import WeightedSum
from upstream.errors import UserError
from upstream.wavlm import load_task_model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def run_of(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    place = tmp_path_factory.mktemp("runs")
    return lambda family, *overrides: small_run(family, corpus, place, "sweep.seed=[0]", *overrides)


def posteriors_of(folder: Path, path: Path) -> list[float]:
    """Return the posteriors that the task model in a folder gives to a file, which its head heard 3 dB softer."""
    model: Any = load_task_model(folder)
    waveform = torch.from_numpy(soundfile.read(path, dtype="float32")[0]) * 10 ** (-3 / 20)
    with torch.no_grad():
        found: list[float] = model([model.prepare(waveform)]).logits[0].softmax(dim=0).tolist()
    return found


@pytest.mark.parametrize(
    ("overrides", "weighted"),
    [
        (("head.standardised=false",), True),
        (("sweep.layer=1",), True),  # standardised, which goes into the projector
        (("sweep.layer=-1",), False),  # the encoder's output, for which no sum is needed
    ],
)
def test_a_classifier_gives_the_same_predictions(
    overrides: tuple[str, ...], weighted: bool, corpus: Path, run_of: Callable[..., Result], tmp_path: Path
) -> None:
    record = run_of("class", *overrides)
    assert record.folder is not None
    done = convert(record.folder, tmp_path / "model")
    files = sorted(corpus.glob("*.wav"))[:3]
    rows = downstream.predict(record.folder, [str(path) for path in files], progress=False)
    for row, path in zip(rows, files, strict=True):
        assert posteriors_of(tmp_path / "model", path) == pytest.approx(list(row["posteriors"].values()), abs=3e-6)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["use_weighted_layer_sum"] == weighted
    assert list(config["id2label"].values()) == list(rows[0]["posteriors"])
    assert any("a gain of -3 dB" in note for note in done.notes)
    assert any("standardisation" in note for note in done.notes) == ("false" not in overrides[0])


def test_an_exported_head_is_converted_as_its_run(corpus: Path, run_of: Callable[..., Result], tmp_path: Path) -> None:
    folder = run_of("class", "head.standardised=false").folder
    assert folder is not None
    from downstream.prediction import export

    export(folder, tmp_path / "head.safetensors")
    convert(folder, tmp_path / "one")
    convert(tmp_path / "head.safetensors", tmp_path / "other", audio=[str(corpus / "a0-A.wav")])
    one, other = (load_task_model(tmp_path / name).state_dict() for name in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(UserError, match="is there already"):
        convert(folder, tmp_path / "one")


def test_from_s3prl_to_a_task_model_to_an_encoder_with_the_head(tmp_path: Path) -> None:
    """The encoder in the directory has the fingerprint of the run's, so that the head goes with either."""
    from s3prl_runs import Run

    run = Run(tmp_path, "emotion", "large")
    checkpoint = run.save(tmp_path / "run.ckpt")
    convert(checkpoint, tmp_path / "model")
    convert(checkpoint, tmp_path / "head.safetensors")
    audio = dict(enumerate(tones()))
    rows = downstream.predict(
        tmp_path / "head.safetensors", {str(key): one for key, one in audio.items()}, upstream=str(tmp_path / "model")
    )
    for row, waveform in zip(rows, audio.values(), strict=True):
        expected = run(waveform).softmax(dim=0).tolist()
        assert list(row["posteriors"].values()) == pytest.approx(expected, abs=2e-6)


def test_what_no_task_model_has_is_refused_with_the_reason(
    run_of: Callable[..., Result], tmp_path: Path, corpus: Path
) -> None:
    for family, overrides, words in (
        ("class", (), "deviations of its layers differ feature by feature"),
        ("class", ("head.pooling=attention",), r"no task model with a head like this \(AttentivePoolingClassifier\)"),
        ("speaker", (), "projection=8 before time-delay layers of 512"),
        ("text", (), "which is no WavLM"),
        ("fitted", (), "no task model with a head like this"),
    ):
        folder = run_of(family, *overrides).folder
        assert folder is not None
        with pytest.raises(UserError, match=words):
            convert(folder, tmp_path / "model")
        assert not (tmp_path / "model").exists()
    with pytest.raises(UserError, match="wavprobe export"):
        convert(folder, tmp_path / "head.safetensors")
    with pytest.raises(UserError, match="--labels has no meaning"):
        convert(folder, tmp_path / "model", labels=tmp_path / "names.txt")


def test_nothing_is_left_of_a_model_that_disagrees(
    run_of: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forms are compared, and not their tensors: here the encoder that is written loses a layer's bias."""
    folder = run_of("class", "head.standardised=false").folder
    assert folder is not None
    own = upstream.load("wavlm_nano", random_init=True, seed=3).checkpoint()  # type: ignore[attr-defined]
    name = "encoder.layers.1.feed_forward.output_dense.weight"
    monkeypatch.setattr(
        "upstream.wavlm.upstream.drawn",
        lambda *_: type(own)(own.config, own.tensors | {name: 2 * own.tensors[name]}, "", ""),
    )
    with pytest.raises(UserError, match="the limit: nothing was written"):
        convert(folder, tmp_path / "model")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- folding


def random_sum(layers: int, dim: int, layer: int | None, scales: Tensor | None) -> WeightedSum:
    generator = torch.Generator().manual_seed(0)
    made = WeightedSum(layers, layer, None if scales is None else dim)
    made.weights.data = torch.randn(layers, generator=generator)
    if scales is not None:
        made.standardise(torch.randn(layers, dim, generator=generator), scales)
    return made


@pytest.mark.parametrize("layer", [None, 0, 2])
@pytest.mark.parametrize("kind", ["plain", "a factor a layer", "a layer's own"])
def test_what_is_folded_is_equal_or_refused(layer: int | None, kind: str) -> None:
    generator, layers, dim = torch.Generator().manual_seed(1), 3, 5
    per_layer, per_feature = (
        torch.rand(layers, 1, generator=generator) + 0.5,
        torch.rand(dim, generator=generator) + 0.5,
    )
    free = torch.rand(layers, dim, generator=generator) + 0.5
    own = random_sum(layers, dim, layer, {"plain": None, "a factor a layer": per_layer * per_feature}.get(kind, free))
    weight, bias = torch.randn(4, dim, generator=generator), torch.randn(4, generator=generator)
    if kind == "a layer's own" and layer is None:
        with pytest.raises(UserError, match="feature by feature"):
            folded(own, weight, bias)
        return
    found, states = folded(own, weight, bias), torch.randn(layers, 7, dim, generator=generator)
    shares = torch.tensor([0.0, 0.0, 1.0]) if found.layer_weights is None else found.layer_weights.softmax(dim=0)
    mixed = torch.tensordot(shares, states, dims=1)
    expected = own(states) @ weight.T + bias
    assert torch.allclose(mixed @ found.weight.T + found.bias, expected, rtol=1e-5, atol=1e-5)
    assert (found.layer_weights is None) == (layer == 2)
