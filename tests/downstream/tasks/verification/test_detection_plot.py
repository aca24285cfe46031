"""The picture and the table of a verification's errors."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from downstream.tasks.head_on_part import HeadOnPart
from downstream.tasks.verification.detection_plot import (
    LEAST,
    detection_pictures,
    detection_plot,
    detection_table,
    deviates,
    upper_limit,
)
from downstream.tasks.verification.error_rates import detection_curve, equal_error_rate
from upstream.errors import UserError


def drawn(apart: float, seed: int = 0, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = np.arange(count) % 2 == 0
    return generator.normal(apart * target, 1.0), target


def chunks(png: bytes) -> dict[bytes, bytes]:
    found, start = {}, 8
    while start < len(png):
        length = int.from_bytes(png[start : start + 4], "big")
        found[png[start + 4 : start + 8]] = png[start + 8 : start + 8 + length]
        start += 12 + length
    return found


def test_the_picture_is_a_png_of_its_curves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    curves = {f"upstream {number}": drawn(1 + number / 2) for number in range(5)}
    picture = detection_plot(curves)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert set(chunks(picture)) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}  # no text, no time
    assert detection_plot(curves) == picture
    assert detection_plot(curves | {"upstream 4": drawn(3.1)}) != picture
    assert "matplotlib.pyplot" not in sys.modules


def test_curves_and_marks_lie_where_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handed to matplotlib: each curve in normal deviates, then its equal error rate."""
    axes = pytest.importorskip("matplotlib.axes")
    plotted: list[tuple[Any, ...]] = []
    labels: list[str] = []
    plot = axes.Axes.plot

    def recorded(self: Any, *args: Any, **settings: Any) -> Any:
        plotted.append(args)
        labels.extend([settings["label"]] if "label" in settings else [])
        return plot(self, *args, **settings)

    monkeypatch.setattr(axes.Axes, "plot", recorded)
    apart, perfect = drawn(2.0), (np.arange(10.0), np.arange(10) > 4)
    detection_plot({"some": apart, "perfect": perfect})
    rate = equal_error_rate(*apart)[0]
    assert labels == [f"some: EER {100 * rate:.2f} %", "perfect: EER 0.00 %"]
    false_alarm, miss, _ = detection_curve(*apart)
    inner = (false_alarm > 0) & (miss > 0)
    x, y = plotted[0][0][inner], plotted[0][1][inner]
    np.testing.assert_allclose(x, [NormalDist().inv_cdf(each) for each in false_alarm[inner]], atol=1e-9)
    np.testing.assert_allclose(y, [NormalDist().inv_cdf(each) for each in miss[inner]], atol=1e-9)
    assert plotted[1][0] == pytest.approx(NormalDist().inv_cdf(rate))
    assert plotted[3][0] == pytest.approx(NormalDist().inv_cdf(LEAST / 100))  # on the edge


def test_rates_of_nought_and_one_lie_outside_of_any_picture() -> None:
    assert deviates(np.array([0.5])) == pytest.approx(0.0)
    none, all_ = deviates(np.array([0.0, 1.0]))
    assert none < -5
    assert all_ > 5


def test_the_picture_has_room_for_the_worst_curve() -> None:
    assert [upper_limit(rate) for rate in (0.0, 0.05, 0.3, 0.45, 0.6, 1.0)] == [40, 40, 60, 80, 95, 99]


def rows_of(table: str) -> list[tuple[float, ...]]:
    header, *rows = csv.reader(io.StringIO(table))
    assert header == ["threshold", "false_alarm", "miss"]
    return [tuple(map(float, row)) for row in rows]


def test_a_short_table_is_the_whole_curve_to_the_bit() -> None:
    scores, target = drawn(1.0, count=60)
    false_alarm, miss, thresholds = detection_curve(scores, target)
    assert rows_of(detection_table(scores, target)) == list(zip(thresholds, false_alarm, miss, strict=True))


def test_a_long_table_is_thinned_evenly_along_the_curve() -> None:
    scores, target = drawn(2.0, count=20_000)
    whole = set(zip(*(column.tolist() for column in reversed(detection_curve(scores, target))), strict=True))
    rows = rows_of(detection_table(scores, target, points=200))
    assert 100 < len(rows) <= 200
    assert {(threshold, miss, false_alarm) for threshold, false_alarm, miss in rows} <= whole
    assert rows[0] == (np.inf, 0.0, 1.0)
    assert rows[-1] == (scores.min(), 1.0, 0.0)
    rate = equal_error_rate(scores, target)[0]
    assert min(max(abs(false_alarm - rate), abs(miss - rate)) for _, false_alarm, miss in rows) < 0.01
    assert sum(1e-3 < false_alarm < 1e-2 for _, false_alarm, _ in rows) > 5  # rare errors are not thinned away


def test_scores_without_a_curve_are_refused() -> None:
    with pytest.raises(UserError, match="not finite"):
        detection_table([np.nan, 1.0], [1, 0])


def test_a_picture_from_tables_names_what_differs(tmp_path: Path) -> None:
    """Each curve of the table that lies beside a record is the one of the scores, under its fold and part."""
    heads = []
    for fold in ("fold1", "fold2"):
        for part, ending in (("test-clean", ""), ("test-other", ".test-other")):
            scores, target = drawn(2.0, seed=len(heads))
            name = f"{fold}-seed0{ending}"
            (tmp_path / f"{name}.det.csv").write_text(detection_table(scores, target))
            equal = equal_error_rate(scores, target)[0]
            heads.append(HeadOnPart(fold, 0, part, {"eer": equal}, {}, tmp_path / name))
    (picture,) = detection_pictures(heads)
    figure = pytest.importorskip("matplotlib.figure").Figure()
    picture.draw(figure)
    labelled = [line.get_label() for line in figure.axes[0].lines if ": EER" in str(line.get_label())]
    assert labelled == [f"{head.fold}, {head.part}: EER {100 * head.metrics['eer']:.2f} %" for head in heads]
    assert not detection_pictures([HeadOnPart("fold1", 0, "test-clean", {"eer": 0.1}, {}, None)])
    (picture,) = detection_pictures(heads[1:2])
    assert picture.text == "test-other"
