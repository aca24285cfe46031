"""Windows of speech: drawn from the seed and the update's number alone, from everywhere, masked and mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from small_pretraining import MASKED, recipe_of
from torch import Tensor

from downstream.pretraining import load_pretraining
from downstream.pretraining import windows as drawing
from downstream.pretraining.speech import HOP, Speech, Stream, frames_of, samples_of
from downstream.pretraining.windows import WindowOfSpeech, Windows, held_windows
from downstream.recipes import BatchSettings

RATE = 16_000


def stream(name: str, seconds: float, weight: float = 1.0) -> Stream:
    generator = torch.Generator().manual_seed(len(name) + ord(name[0]))
    samples = (1_000 * torch.randn(round(seconds * RATE) // HOP * HOP, generator=generator)).to(torch.int16)
    return Stream(name, "here", samples, weight, name)


def speech(*learned: Stream, noises: Sequence[Stream] = ()) -> Speech:
    return Speech(learned, (), tuple(noises), (), ())


THREE = speech(stream("a", 2.0), stream("b", 4.0), stream("c", 2.0, weight=3.0))
CLEAN = {"probability": 0.0}


def windows(of: Speech = THREE, **changes: Any) -> Windows:
    return Windows(recipe_of(**{"mixing": CLEAN} | changes), of)


def facts(update: list[list[WindowOfSpeech]]) -> list[Any]:
    return [(one.stream, one.frame, one.samples, one.mask.tolist(), one.seed) for batch in update for one in batch]


def test_an_update_does_not_depend_on_those_before() -> None:
    used = windows()
    used.update(4)
    assert facts(used.update(5)) == facts(windows().update(5))
    assert facts(used.update(5)) != facts(used.update(6))
    assert facts(used.update(5)) != facts(windows(seed=1).update(5))


def test_streams_are_drawn_by_length_and_weight() -> None:
    """Frames times weight: 99, 199 and 3 x 99."""
    drawn = windows(batch={"seconds": 2_000.0, "windows": [1.0]}).update(1)[0]
    counts = Counter(one.stream for one in drawn)
    shares = torch.tensor([99.0, 199.0, 297.0])
    for number, share in enumerate((shares / shares.sum()).tolist()):
        assert counts[number] / len(drawn) == pytest.approx(share, abs=4 * (share * (1 - share) / len(drawn)) ** 0.5)


def test_windows_begin_at_every_frame_the_last_one_included() -> None:
    samples = samples_of(1.0)
    few = Stream("a", "here", torch.zeros(samples + 3 * HOP, dtype=torch.int16), 1.0, "a")
    drawn = windows(speech(few), batch={"seconds": 400.0, "windows": [1.0]})
    begins = Counter(one.frame for one in drawn.update(1)[0])
    assert sorted(begins) == [0, 1, 2, 3]
    assert min(begins.values()) > 60  # of 400
    assert {len(drawn.waveform(one)) for one in drawn.update(1)[0]} == {samples}


def test_micro_batches_have_as_many_windows_as_fit() -> None:
    """Of one second and 80 samples, so that its frames are whole, two fit into three seconds."""
    drawn = windows(batch={"seconds": 3.0, "windows": [0.5, 0.5, 1.0], "accumulate": 2})
    lengths: Counter[int] = Counter()
    for step in range(1, 201):
        update = drawn.update(step)
        assert len(update) == 2
        for batch in update:
            (samples,) = {one.samples for one in batch}
            assert len(batch) == {samples_of(0.5): 5, samples_of(1.0): 2}[samples]
            lengths[samples] += 1
    assert lengths[samples_of(0.5)] / 400 == pytest.approx(2 / 3, abs=0.1)
    assert facts([drawn.update(1)[0]]) != facts([drawn.update(1)[1]])


def test_a_stage_may_have_batches_of_its_own() -> None:
    """Four updates of the first stage, then those of the second, whose windows are the longest of the recipe."""
    stages = [MASKED, MASKED | {"steps": 3, "batch": {"seconds": 3.1, "windows": [1.0], "accumulate": 2}}]
    recipe = recipe_of(batch={"seconds": 2.0, "windows": [0.5]}, stages=stages)
    assert [recipe.batch_at(place).windows for place in range(1, 8)] == [(0.5,)] * 4 + [(1.0,)] * 3
    assert recipe.longest_window == 1.0
    drawn = windows(batch={"seconds": 2.0, "windows": [0.5]}, stages=stages)
    assert [[[one.samples for one in batch] for batch in drawn.update(place)] for place in (4, 5)] == [
        [[samples_of(0.5)] * 3],  # which are 80 samples longer
        [[samples_of(1.0)] * 3] * 2,
    ]
    with pytest.raises(ValueError, match=r"a window of 3 s is longer than a batch of 2 s"):
        recipe_of(
            batch={"seconds": 2.0, "windows": [0.5]}, stages=[MASKED | {"batch": {"seconds": 2.0, "windows": [3.0]}}]
        )


def test_the_batch_of_a_stage_says_what_differs() -> None:
    """Also from what is changed on the command line, which names the recipe's batch alone."""
    stages = [MASKED, MASKED | {"batch": {"seconds": 3.1}}]
    recipe = recipe_of(batch={"seconds": 2.0, "windows": [0.5], "accumulate": 4}, stages=stages)
    assert recipe.stages[1].batch == BatchSettings(seconds=3.1, windows=(0.5,), accumulate=4)
    (_, second) = load_pretraining("wavlm_tiny", ["batch.windows=[1.5]", "batch.seconds=48"]).stages
    assert second.batch == BatchSettings(seconds=24.0, windows=(1.5,))


@pytest.mark.parametrize(("probability", "share"), [(0.8, 0.55), (0.3, 0.26)])
def test_masks_are_spans_of_a_share_of_the_frames(probability: float, share: float) -> None:
    """Spans that begin anywhere overlap: 1 - (1 - 0.1)^(0.8 * 10), near enough."""
    settings = {"probability": probability, "length": 10}
    long = speech(stream("a", 8.0))
    update = windows(long, mask=settings, batch={"seconds": 800.0, "windows": [4.0]}).update(1)[0]
    masks = torch.stack([one.mask for one in update])
    assert masks.shape[1] == frames_of(samples_of(4.0)) == 200
    assert float(masks.float().mean()) == pytest.approx(share, abs=0.02)
    changes = (masks[:, 1:] != masks[:, :-1]).sum(dim=1)
    assert float(changes.float().mean()) < 2 * probability * masks.shape[1] / 10 + 1


def test_nothing_is_mixed_at_probability_zero() -> None:
    drawn = windows()
    for one in drawn.update(1)[0]:
        clean = THREE.learned[one.stream].window(one.frame, one.samples)
        assert torch.equal(drawn.waveform(one), clean)


def mixed_share(drawn: Windows, count: int = 60) -> float:
    changed = [
        not torch.equal(drawn.waveform(one), THREE.learned[one.stream].window(one.frame, one.samples))
        for step in range(1, count)
        for one in drawn.update(step)[0]
    ]
    return sum(changed) / len(changed)


def test_the_asked_share_is_mixed_with_noise_and_streams_stay_as_they_are() -> None:
    before = [one.samples.clone() for one in THREE.learned]
    mixing = {"probability": 0.4, "noise": 1.0}
    assert mixed_share(windows(mixing=mixing)) == pytest.approx(0.4, abs=0.08)
    for one, other in zip(before, THREE.learned, strict=True):
        assert torch.equal(one, other.samples)


def test_a_second_speaker_is_another_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = windows(mixing={"probability": 1.0, "noise": 0.0})
    pairs = []

    def noted(clean: Tensor, other: Tensor, ratio: float, *_: object) -> Tensor:
        pairs.append((clean, other, ratio))
        return clean

    monkeypatch.setattr(drawing, "mixed", noted)
    update = [one for step in range(1, 40) for one in drawn.update(step)[0]]
    for one in update:
        drawn.waveform(one)
    own = [{tuple(row) for row in one.samples.float().div(2**15).unfold(0, 8, HOP).tolist()} for one in THREE.learned]
    for clean, other, ratio in pairs:
        (mine,) = [number for number, rows in enumerate(own) if tuple(clean[:8].tolist()) in rows]
        (theirs,) = [number for number, rows in enumerate(own) if tuple(other[:8].tolist()) in rows]
        assert mine != theirs
        assert -5.0 <= ratio <= 5.0
    assert 0.4 < len(pairs) / len(update) < 0.8  # in the others the same one was drawn: 1 - sum of squared shares


def test_recorded_noise_is_taken_as_often_as_noise_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    hum, short = stream("hum", 3.0), stream("short", 0.1)
    drawn = windows(speech(*THREE.learned, noises=[hum, short]), mixing={"probability": 1.0, "noise": 1.0})
    recorded = hum.samples.float() / 2**15
    others: list[Tensor] = []
    monkeypatch.setattr(drawing, "mixed", lambda clean, other, *_: (others.append(other), clean)[1])
    for step in range(1, 60):
        for one in drawn.update(step)[0]:
            drawn.waveform(one)
    heads = {tuple(row) for row in recorded.unfold(0, 8, HOP).tolist()}
    share = sum(tuple(one[:8].tolist()) in heads for one in others) / len(others)
    assert share == pytest.approx(0.5, abs=0.1)


def test_a_window_is_mixed_in_the_same_way_every_time() -> None:
    drawn, again = (windows(mixing={"probability": 1.0}) for _ in range(2))
    for one in drawn.update(1)[0]:
        assert torch.equal(drawn.waveform(one), again.waveform(one))


def test_held_back_windows_lie_side_by_side_with_masks_that_stay() -> None:
    recipe = recipe_of()
    held = (stream("a", 3.5), stream("b", 0.9), stream("c", 2.05))
    found = held_windows(held, 7, recipe.held_back, recipe.mask)
    assert [(one.stream, one.frame) for _, one in found] == [(7, 0), (7, 50), (7, 100), (9, 0), (9, 50)]
    for one, window in found:
        assert len(one.window(window.frame, window.samples)) == window.samples == samples_of(1.0)
        assert bool(window.mask.any())
    again = held_windows(held, 7, recipe.held_back, recipe.mask)
    assert facts([[window for _, window in found]]) == facts([[window for _, window in again]])
    assert not torch.equal(found[0][1].mask, found[1][1].mask)
