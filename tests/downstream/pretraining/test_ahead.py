"""The next update's windows are drawn in a thread, and nothing of what is learned differs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from small_pretraining import MASKED, NOTHING_DROPPED, pretrained, recipe_of, write_tones

from downstream.pretraining.ahead import Ahead
from downstream.pretraining.learner import StageLearner
from upstream.errors import UserError


def test_the_next_one_is_prepared_in_a_thread_and_none_after_the_last() -> None:
    here, prepared, ready = threading.get_ident(), dict[int, bool](), threading.Event()

    def prepare(number: int) -> int:
        prepared[number] = threading.get_ident() == here
        ready.set()
        return 10 * number

    ahead = Ahead(prepare)
    assert ahead(1, last=3) == 10
    assert ready.wait(10)
    assert [ahead(number, last=3) for number in (2, 3)] == [20, 30]
    assert prepared == {1: True, 2: False, 3: False}
    assert ahead(7, last=7) == 70  # another than the next
    assert prepared[7]


def test_what_fails_in_the_thread_is_raised_at_its_turn() -> None:
    def prepare(number: int) -> int:
        if number == 2:
            raise UserError("It cannot be read.")
        return number

    ahead = Ahead(prepare)
    assert ahead(1, last=3) == 1
    with pytest.raises(UserError, match="cannot be read"):
        ahead(2, last=3)


def test_the_same_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_tones(corpus)
    stages = [MASKED, MASKED | {"steps": 2, "batch": {"seconds": 1.0, "windows": [0.5], "accumulate": 2}}]
    recipe = recipe_of(model=NOTHING_DROPPED, stages=stages, mixing={"probability": 0.5})
    expected = pretrained(recipe, corpus, tmp_path, name="expected").record["history"]
    drawn: list[str] = []
    begin, draw = StageLearner.__init__, StageLearner._drawn

    def begin_as_on_a_gpu(self: StageLearner, *given: Any) -> None:
        begin(self, *given)
        self._ahead = Ahead(self._drawn)

    def noted(self: StageLearner, place: int) -> Any:
        drawn.append(f"{place} {threading.current_thread() is threading.main_thread()}")
        return draw(self, place)

    monkeypatch.setattr(StageLearner, "__init__", begin_as_on_a_gpu)
    monkeypatch.setattr(StageLearner, "_drawn", noted)
    assert pretrained(recipe, corpus, tmp_path, name="ahead").record["history"] == expected
    assert drawn == ["1 True", "2 False", "3 False", "4 False", "5 True", "6 False"]
