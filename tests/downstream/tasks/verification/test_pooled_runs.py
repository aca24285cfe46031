"""Whole runs of verification on pooled states: every layer with its interval, what is kept, and what is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from small_corpora import corpus, voices

import upstream
from downstream.experiment import run
from downstream.recipes.options import Options
from downstream.report.terminal import show
from downstream.results.record import Result
from downstream.tasks.registry import load_recipe

SMALL = ["split.train=[]", "split.dev=[]", "split.test=[]", "split.longer_than=0"]
LAYERS = 4  # of wavlm_nano


def carried_out(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Result:
    monkeypatch.setattr("downstream.data.dataset.load_corpus", lambda *_: corpus(voices()))
    options = Options(results=folder / "results", store=folder / "store", progress=False)
    encoder = upstream.load("wavlm_nano", random_init=True)
    outcome = run(encoder, load_recipe(name, [*SMALL, *overrides]), options)
    assert outcome is not None
    return outcome.result


def shown(result: Result) -> str:
    console = Console(file=io.StringIO(), width=120)
    show(result, None, console)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_every_layer_has_its_score_and_development_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = carried_out("sv", tmp_path, monkeypatch, "sweep.layer=[best, all]")
    assert result.states.mode == "statistics"
    assert [layers.layer for layers in result.layers] == ["best", None, *range(LAYERS)]
    assert all(layers.score("eer").interval for layers in result.layers)
    development = {fit.layer: fit.development for fit in result.grid}
    assert set(development) == {None, *range(LAYERS)}
    (head,) = result.primary_heads()
    assert (head.lr, head.step) == (None, 0)
    assert head.development == min(own for layer, own in development.items() if layer is not None and own is not None)
    text = shown(result)
    assert "EER by layer" in text
    assert text.count("1 of 1") == 1  # the chosen layer
    assert not {"step", "lr"} & set(text.split())  # of heads that take none


def test_means_and_statistics_are_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = carried_out("sv", tmp_path, monkeypatch, "head.pooling=mean")
    second = carried_out("sv", tmp_path, monkeypatch)
    assert first.timing.extracted_audio_seconds > 0
    assert second.timing.extracted_audio_seconds == 0
    linear = ("training.steps=4", "training.evaluate_every=4", "training.batch=4", "sweep.lr=[1e-3]")
    swept = carried_out("sv_linear", tmp_path, monkeypatch, "head.pooling=mean", *linear)
    monkeypatch.setattr("downstream.tasks.verification.family.Verification.needs", lambda self: "means")
    of_means = carried_out("sv_linear", tmp_path / "means", monkeypatch, "head.pooling=mean", *linear)
    assert (of_means.states.mode, swept.states.mode) == ("means", "statistics")
    assert swept.timing.extracted_audio_seconds == 0
    assert [fit.curve for fit in swept.grid] == [fit.curve for fit in of_means.grid]
    assert swept.primary.value == of_means.primary.value


def test_what_was_fitted_is_kept_with_the_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = carried_out("sv", tmp_path, monkeypatch, "head.kind=plda")
    assert result.folder is not None
    tensors = load_file(result.folder / "head.safetensors")
    kept = {name.rsplit("/", 1)[-1].rsplit(".", 1)[-1] for name in tensors}
    assert {"centre", "map", "middle", "rotation", "product", "square", "constant"} <= kept
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def test_scores_without_a_store_are_those_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And from stored frames, which are pooled by the heads."""
    of_store = carried_out("sv", tmp_path, monkeypatch)
    for mode in ("off", "frames"):
        other = carried_out("sv", tmp_path, monkeypatch, f"store.mode={mode}", "store.codec=float32")
        assert other.primary.value == pytest.approx(of_store.primary.value, abs=0.02)


def test_normalised_scores_take_the_heads_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = carried_out("sv", tmp_path, monkeypatch)
    second = carried_out("sv", tmp_path, monkeypatch, "trials.normalisation=s_norm", "trials.cohort=8")
    assert second.folder != first.folder
    assert any(said.startswith("The heads are those that the run") for said in second.caveats)


def test_linear_embeddings_of_every_layer_and_rate_are_one_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = carried_out(
        "sv_linear", tmp_path, monkeypatch, "training.steps=6", "training.evaluate_every=3", "training.batch=4"
    )
    assert len(result.grid) == 3 * LAYERS
    assert all(len(fit.curve) == 2 for fit in result.grid)
    (head,) = result.primary_heads()
    assert head.layer is not None
    assert head.step in (3, 6)
