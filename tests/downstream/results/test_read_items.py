"""Tested items read back from a run's folder give the scores of its record, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_runs import FAMILIES, small_run, write_words

from downstream.results.read_items import items_of_heads
from downstream.results.record import Result
from upstream.errors import UserError


@pytest.fixture(scope="module", params=FAMILIES)
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("items")
    short = ("training.steps=4", "training.evaluate_every=2") if request.param == "text" else ()
    return small_run(request.param, write_words(folder), folder, *short)


def test_values_of_items_are_those_of_the_record(result: Result) -> None:
    found = items_of_heads(result, result.layers[0].layer)
    assert len(found) == len(result.primary_heads())
    for one in found:
        assert {name: one.items.value(name) for name in one.head.metrics[one.part]} == one.head.metrics[one.part]
        assert len(one.items) == len(one.items.truths) == len(one.items.clusters) > 0
        assert {speaker for clusters in one.items.clusters for speaker in clusters} == {"f", "g"}


def test_a_weight_of_two_is_an_item_twice(result: Result) -> None:
    items = items_of_heads(result, result.layers[0].layer)[0].items
    twice = items.value(result.primary.name, np.full(len(items), 2.0))
    assert twice == pytest.approx(result.primary_heads()[0].metrics[result.primary.part][result.primary.name])


def test_damaged_predictions_are_named(result: Result, tmp_path: Path) -> None:
    moved = result.model_copy()
    moved._folder = tmp_path
    with pytest.raises(UserError, match=r"cannot be read|is missing"):
        items_of_heads(moved, result.layers[0].layer)
    if "predictions.jsonl" in result.artifacts:
        (tmp_path / "predictions.jsonl").write_text('{"fold": "x"}\n')
        with pytest.raises(UserError, match="cannot be read"):
            items_of_heads(moved, result.layers[0].layer)
