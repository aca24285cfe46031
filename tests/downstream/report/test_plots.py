"""Pictures of a record: what is handed to matplotlib, and what `wavprobe plot` writes of a finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from tones import write_emotions

import downstream
from downstream.cli import main as cli
from downstream.report.plots.learning_plot import chosen_fits
from downstream.report.plots.plots import pictures_of
from downstream.results import Result, read_result

FAST = {"training.steps": 40, "training.evaluate_every": 10, "split.folds": 3, "sweep.lr": [1e-2, 1e-3]}
EVERY = ["confusion", "learning_curves", "layer_weights", "layer_scores"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two records: the weighted sum and every layer of a small WavLM, and the one layer of filterbanks."""
    folder = tmp_path_factory.mktemp("runs")
    corpus = write_emotions(folder)
    common: dict[str, Any] = {"data": corpus, "corpus": "manifest", "store": folder / "store", "progress": False}
    layers = FAST | {"sweep.layer": "all"}
    for upstream, overrides in (("wavlm_nano", layers), ("fbank_no_cmvn", FAST)):
        downstream.run(
            "emotion",
            upstream,
            random_init=upstream == "wavlm_nano",
            overrides=overrides,
            results=folder / "results",
            name="run",
            **common,
        )
    return folder / "results" / "emotion"


@pytest.fixture
def swept(results: Path) -> Result:
    (path,) = results.glob("wavlm_nano*/run/result.json")
    return read_result(path)


def figure_of(result: Result, name: str) -> Figure:
    (picture,) = [one for one in pictures_of(result) if one.name == name]
    figure = Figure()
    picture.draw(figure)
    return figure


def test_the_command_writes_every_picture_twice(
    results: Path, swept: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [path.parent for path in sorted(results.rglob("result.json"))]
    assert cli.main(["plot", *map(str, folders)]) == 0
    said = capsys.readouterr().out
    assert "confusion, learning_curves, layer_weights, layer_scores (.png and .svg)" in said
    assert swept.folder is not None
    written = sorted(path.name for path in (swept.folder / "plots").iterdir())
    assert written == sorted(f"{name}.{ending}" for name in EVERY for ending in ("png", "svg"))
    one_layer = next(folder for folder in folders if folder != swept.folder)
    assert {path.stem for path in (one_layer / "plots").iterdir()} == {"confusion", "learning_curves"}
    before = {path: path.read_bytes() for path in (swept.folder / "plots").iterdir()}
    assert cli.main(["plot", str(swept.folder / "result.json")]) == 0
    assert {path: path.read_bytes() for path in before} == before


def test_learning_curves_are_those_of_the_chosen_heads(swept: Result) -> None:
    above, below = figure_of(swept, "learning_curves").axes
    heads = swept.primary_heads()
    fits = chosen_fits(swept)
    assert len(fits) == len(heads) == 3
    for fit, head, loss, score in zip(fits, heads, above.lines[::2], below.lines[::2], strict=False):
        steps, losses, scores = zip(*fit.curve, strict=True)
        assert tuple(loss.get_xdata()) == steps
        assert tuple(loss.get_ydata()) == losses
        np.testing.assert_allclose(score.get_ydata(), [100 * value for value in scores])
        (mark,) = [one for one in below.lines[1::2] if one.get_color() == score.get_color()][:1]
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (head.step, pytest.approx(100 * head.development))


def test_layer_weights_are_means_over_heads(swept: Result) -> None:
    (axes,) = figure_of(swept, "layer_weights").axes
    weights, shares = ([bar.get_height() for bar in bars] for bars in axes.containers)
    np.testing.assert_allclose(weights, swept.layer_weights)
    products = np.array(swept.layer_weights) * np.array(swept.layer_norms)
    np.testing.assert_allclose(shares, products / products.sum())
    assert len(axes.lines[0].get_xdata()) == 3 * swept.upstream.layers


def test_scores_by_layer_have_their_intervals(swept: Result) -> None:
    (axes,) = figure_of(swept, "layer_scores").axes
    (drawn,) = axes.containers
    alone = swept.layers[1:]
    values = [100 * layer.scores[0].value for layer in alone]
    assert list(drawn.lines[0].get_ydata()) == values
    segments = [segment[:, 1] for segment in drawn.lines[2][0].get_segments()]
    for layer, value, (low, high) in zip(alone, values, segments, strict=True):
        score = layer.scores[0]
        ends = [value if end is None else 100 * end for end in (score.low, score.high)]
        np.testing.assert_allclose([low, high], ends)


def test_a_confusion_matrix_is_in_percent_of_the_true_class(swept: Result) -> None:
    axes = figure_of(swept, "confusion").axes[0]
    counts = np.sum([head.details[swept.primary.part]["confusion"] for head in swept.primary_heads()], axis=0)
    np.testing.assert_allclose(axes.images[0].get_array(), 100 * counts / counts.sum(axis=1, keepdims=True))
    assert [label.get_text() for label in axes.get_yticklabels()] == swept.details["classes"]


def test_what_was_not_found_is_said(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plot", str(results)]) == 2
    assert "Below it there is" in capsys.readouterr().err
    assert cli.main(["plot", str(tmp_path)]) == 2
    assert "Name a run's folder" in capsys.readouterr().err
    runs = [str(path.parent) for path in results.rglob("result.json")]
    assert cli.main(["plot", *runs, "--to", str(tmp_path)]) == 2
    assert "would overwrite each other" in capsys.readouterr().err
    damaged = tmp_path / "result.json"
    damaged.write_text(json.dumps({"schema": 4}))
    assert cli.main(["plot", str(damaged)]) == 2
    assert "is not a record" in capsys.readouterr().err
