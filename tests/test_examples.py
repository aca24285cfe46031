"""The examples reach the harness's own numbers."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from places import REPOSITORY, SHARED_DATA
from safetensors.torch import load_file

import downstream
from upstream import files

PROBE = REPOSITORY / "examples" / "probe_emotion.py"
RAVDESS = SHARED_DATA / "ravdess"
LINES_OF_CODE = 113  # at most: the example is read in one sitting

# Names of the harness's weights, and of the example's.
WEIGHTS = {
    "weighted_sum.weights": "layer_weights",
    "projection.weight": "projection.weight",
    "projection.bias": "projection.bias",
    "output.weight": "output.weight",
    "output.bias": "output.bias",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo corpus is synthesised here once, for harness and example."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def six_actors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The normal-intensity recordings of six actors of RAVDESS, 192 utterances."""
    if not RAVDESS.is_dir():
        pytest.skip("shared/data/ravdess is not here")
    folder = tmp_path_factory.mktemp("ravdess")
    for actor in range(1, 7):
        (folder / f"Actor_{actor:02}").mkdir()
        for recording in RAVDESS.glob(f"*/Actor_{actor:02}/03-01-??-01-*.flac"):
            (folder / f"Actor_{actor:02}" / recording.name).symlink_to(recording)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, enough for what is small; the script sets it as well, for the rest of its process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run_probe(store: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, Any]:
    """Run the example as a script; return its variables."""
    monkeypatch.setattr(files, "DEFAULT_STORE", store)
    monkeypatch.setattr(sys, "argv", [str(PROBE), *arguments])
    return runpy.run_path(str(PROBE), run_name="__main__")


def run_harness(tmp_path: Path, store: Path, upstream: str, corpus: str, steps: int, **more: Any) -> downstream.Result:
    overrides = {"training.steps": steps, "sweep.layer": "mix"}
    folders = {"results": tmp_path / "results", "store": store}
    return downstream.run("emotion", upstream, corpus=corpus, overrides=overrides, progress=False, **folders, **more)


def check_equal(probe: dict[str, Any], printed: str, result: downstream.Result) -> None:
    """Check that the example and the harness's record of the fold have the same curve, choice, answers and score.

    Counts of right answers are equal. Losses and weights agree to rounding and no further: the harness learns the
    heads of all folds as one batched program with gradients worked out by hand, the example one head by autograd.
    """
    name = probe["fold"].name
    record = next(fold for fold in result.folds if fold.name == name)
    head = next(head for head in result.heads if head.fold == name)
    fit = next(fit for fit in result.grid if fit.fold == name)
    assert probe["classes"] == result.details["classes"]
    assert [len(probe["fold"].train), len(probe["fold"].dev), len(probe["fold"].test)] == [
        record.train.utterances,
        record.dev.utterances,
        record.test.utterances,
    ]

    curve = re.findall(r"^step +(\d+)  training loss ([\d.]+)  development accuracy ([\d.]+%)$", printed, re.MULTILINE)
    assert [(int(step), score) for step, _, score in curve] == [(step, f"{score:.2%}") for step, _, score in fit.curve]
    assert [float(loss) for _, loss, _ in curve] == pytest.approx([loss for _, loss, _ in fit.curve], abs=1e-3)

    assert probe["best_step"] == head.step
    assert probe["best_development"] == head.development
    assert probe["test_accuracy"] == record.metrics["test"]["accuracy"] == head.metrics["test"]["accuracy"]
    assert f"test accuracy {probe['test_accuracy']:.2%} of {name}, at step {head.step} " in printed

    assert result.folder is not None
    learned = load_file(result.folder / "head.safetensors")
    own = probe["head"].state_dict()
    for theirs, ours in WEIGHTS.items():
        torch.testing.assert_close(own[ours], learned[f"{name}-seed{head.seed}.{theirs}"], atol=1e-4, rtol=0.0)


def test_the_probe_reaches_the_harness_on_filterbanks(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # 150 updates: unscaled features amplify rounding tenfold in 50 updates, from 1e-7 at the start.
    result = run_harness(tmp_path, store, "fbank_no_cmvn", "demo", 150)
    capsys.readouterr()
    probe = run_probe(store, monkeypatch, "-u", "fbank_no_cmvn", "--steps", "150")
    check_equal(probe, capsys.readouterr().out, result)


def test_the_probe_reaches_the_harness_on_an_untrained_wavlm(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several layers, another fold than the first, a seed, and a step that is not the last one."""
    result = run_harness(tmp_path, store, "wavlm_nano", "demo", 350, random_init=True, seed=1)
    capsys.readouterr()
    arguments = ("-u", "wavlm_nano", "--random-init", "--fold", "3", "--seed", "1", "--steps", "350")
    probe = run_probe(store, monkeypatch, *arguments)
    check_equal(probe, capsys.readouterr().out, result)
    assert len(set(probe["head"].layer_weights.tolist())) == 4  # they have moved, each in its own way


def test_the_probe_reaches_the_harness_on_real_speech(
    tmp_path: Path, store: Path, six_actors: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_harness(tmp_path, store, "fbank_no_cmvn", "ravdess", 150, data=six_actors)
    capsys.readouterr()
    arguments = ("-u", "fbank_no_cmvn", "-c", "ravdess", "--data", str(six_actors), "--fold", "2", "--steps", "150")
    probe = run_probe(store, monkeypatch, *arguments)
    assert len(probe["utterances"]) == 6 * 32
    check_equal(probe, capsys.readouterr().out, result)


def test_the_probe_is_short() -> None:
    assert len(PROBE.read_text().splitlines()) <= LINES_OF_CODE
