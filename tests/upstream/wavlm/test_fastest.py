"""The choice between ways to compute: the right numbers first, then the least time, then the same choice for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from upstream.wavlm import fastest, onednn, ways
from upstream.wavlm.fastest import compare, remembered

CPU = torch.device("cpu")
RIGHT = torch.arange(1.0, 5.0)


def clock(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, list[float]]) -> dict[str, Callable[[], Tensor]]:
    """Ways whose turns take these seconds, the last again and again."""
    turns = {name: iter([*own, *[own[-1]] * 50]) for name, own in seconds.items()}
    made = {name: (lambda name=name: RIGHT.clone()) for name in seconds}
    names = {id(way): name for name, way in made.items()}
    monkeypatch.setattr(fastest, "_seconds", lambda way, device: next(turns[names[id(way)]]))
    return made


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"fast": [1.0], "plain": [2.0]}, "fast"),
        ({"fast": [1.0], "plain": [0.9]}, "fast"),  # the preferred way, unless another is clearly faster
        ({"fast": [1.0], "plain": [0.5]}, "plain"),
        ({"fast": [50.0], "pieces": [1.0], "plain": [3.0]}, "pieces"),
        ({"fast": [9.0, 9.0, 1.0], "plain": [2.0]}, "fast"),  # delayed by something else at first
        ({"fast": [9.0, 9.0, 9.0, 9.0, 1.0], "plain": [2.5]}, "fast"),  # in all of the first turns
    ],
)
def test_the_fastest_way_is_chosen(
    seconds: dict[str, list[float]], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "HOPELESS", 100.0)
    assert compare(clock(monkeypatch, seconds), CPU).chosen == chosen


def test_a_hopeless_way_has_one_turn() -> None:
    turns = []

    def slow() -> Tensor:
        turns.append("slow")
        torch.linalg.svd(torch.ones(200, 200))
        return RIGHT

    seconds = fastest.take_turns({"fast": lambda: RIGHT, "slow": slow}, 5, CPU)
    assert turns == ["slow"]
    assert seconds["slow"] > seconds["fast"]


def raising() -> Tensor:
    raise RuntimeError("could not create a primitive")


@pytest.mark.parametrize("wrong", [lambda: RIGHT * 1.01, lambda: RIGHT * float("nan"), raising])
def test_a_way_that_is_wrong_or_fails_is_not_used(
    wrong: Callable[[], Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    outcome = compare({"fast": wrong, "plain": lambda: RIGHT}, CPU)
    assert outcome.chosen == "plain"
    assert set(outcome.seconds) == {"plain"}
    assert "fast is not used" in caplog.text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "wavprobe"


def never() -> Tensor:
    raise AssertionError("what was found before is not tried again")


def test_a_choice_is_kept(cache: Path) -> None:
    found = remembered("a", {"sum": {"plain": lambda: RIGHT}}, CPU)
    assert remembered("a", {"sum": {"plain": never}}, CPU) == found
    with pytest.raises(AssertionError):
        remembered("b", {"sum": {"plain": never}}, CPU)
    assert len(list(cache.iterdir())) == 1


def test_the_first_process_decides(cache: Path) -> None:
    """Two that begin together both compare; the later one takes over what the earlier one kept."""
    calls = []

    def other_is_faster() -> Tensor:
        calls.append(1)
        if len(calls) == 1:
            remembered("a", {"sum": {"plain": lambda: RIGHT}}, CPU)
        return RIGHT

    late = remembered("a", {"sum": {"plain": other_is_faster}}, CPU)
    (path,) = cache.iterdir()
    kept = json.loads(path.read_text())["outcomes"]["sum"]
    assert (late["sum"].chosen, late["sum"].seconds) == (kept["chosen"], kept["seconds"])


@pytest.mark.parametrize(
    "change", ["[]", '{"outcomes": {}}', "{", '{"outcomes": {"sum": {"chosen": "magic", "seconds": {}}}}']
)
def test_a_file_that_is_not_as_written_is_made_again(
    change: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = {"sum": {"plain": lambda: RIGHT}}
    remembered("a", found, CPU)
    (path,) = cache.iterdir()
    path.write_text(change)
    assert remembered("a", found, CPU)["sum"].chosen == "plain"
    assert "made again" in caplog.text
    assert json.loads(path.read_text())["outcomes"]["sum"]["chosen"] == "plain"


def test_without_a_cache_every_process_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert remembered("a", {"sum": {"plain": lambda: RIGHT}}, CPU)["sum"].chosen == "plain"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_ways_of_wavlm_are_tried_here(dtype: torch.dtype, cache: Path) -> None:
    """Each fast way that this machine has gives the plain numbers, and one of them is chosen for each operation."""
    if not onednn.available(dtype):
        pytest.skip("this PyTorch or this processor has plain ways alone")
    tried = ways.ways_of_operations(CPU, dtype)
    with torch.inference_mode(), ways.one_thread():
        for operation in (ways.CONVOLUTION, ways.PRODUCT):
            assert set(compare(tried[operation], CPU).seconds) == set(tried[operation])
    found = ways.outcomes.__wrapped__(CPU, dtype)
    assert set(found) == set(ways.TIMES)
    assert len(list(cache.iterdir())) == 1
    assert ways.seconds_of_base(CPU, dtype) > 0
