"""Windows of audio and of states: the same wherever they come from, and whole utterances where none is asked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

import upstream
from downstream.data.audio import AudioCut, AudioFile, Window
from downstream.data.corpus import Corpus, Utterance
from downstream.data.dataset import Dataset, Targets
from downstream.data.splits import Fold, Split
from downstream.recipes.sections import CropSettings, StoreSettings
from downstream.states.cache_plan import plan_cache
from downstream.states.preparation import prepare, read_whole
from downstream.states.sources import (
    Computed,
    Means,
    StateSource,
    StoredFrames,
    WithWindows,
    cut_of_states,
    interleaved,
    windowed,
)
from downstream.tasks.base import States
from downstream.tasks.verification.family import SpeakerTargets
from upstream.base import SAMPLE_RATE, HiddenStates, Upstream
from upstream.encode import Item
from upstream.ranks import ALONE
from upstream.store import StateStore, StoreKey

WINDOW = 0.2  # seconds
SAMPLES = [6_000, 2_000, 3_200, 9_999, 1_500, 3_201, 4_800]  # of the utterances; 3,200 are as long as a window
LONG = [index for index, samples in enumerate(SAMPLES) if samples > 3_200]
SHORT = [index for index in range(len(SAMPLES)) if index not in LONG]
LATEST = math.nextafter(1.0, 0.0)  # a place lies below one


class Toy(Upstream):
    """Two layers: some samples of each frame, and the same less the mean of the waveform."""

    name, num_layers, dim, stride, fingerprint = "toy", 2, 3, 320, "7" * 64

    def __init__(self) -> None:
        self.encoded: list[int] = []  # samples of each utterance

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        self.encoded += map(len, waveforms)
        local = [waveform.unfold(0, 400, 320)[:, :3] for waveform in waveforms]
        return HiddenStates.from_utterances(
            [torch.stack([own, own - waveform.mean()]) for own, waveform in zip(local, waveforms, strict=True)]
        )


@dataclass(frozen=True)
class Noise:
    """Audio of so many samples, each length with its own."""

    samples: int

    def load(self) -> Tensor:
        return torch.randn(self.samples, generator=torch.Generator().manual_seed(self.samples)) * 0.1


@dataclass(frozen=True)
class Ramp:
    """Audio in which the value of a sample is its position."""

    samples: int

    def load(self) -> Tensor:
        return torch.arange(float(self.samples))


ITEMS = [Item(f"u{i}", Noise(n), f"{i:064d}", n / SAMPLE_RATE) for i, n in enumerate(SAMPLES)]
GROUPS = [torch.tensor(group) for group in ([0, 1, 3, 2], LONG, SHORT, [5], [1], [4, 6, 1, 0, 2])]
PLACES = [torch.rand(len(g), generator=torch.Generator().manual_seed(i)).double() for i, g in enumerate(GROUPS)]


def by_hand(index: int, place: float | None) -> Tensor:
    """The states of an utterance, (2, T, 3), of a window of its audio where a place is given."""
    waveform = ITEMS[index].audio.load()
    if place is not None and len(waveform) > 3_200:
        first = math.floor(place * (len(waveform) - 3_200 + 1))
        waveform = waveform[first : first + 3_200]
    return Toy()([waveform]).utterance(0)


def stored(folder: Path, indices: list[int], reduction: str = "frames") -> StateStore:
    store = StateStore(folder, StoreKey.of(Toy(), reduction, "float32"), "toy")
    states = [by_hand(index, None) for index in indices]
    store.add([ITEMS[i].digest for i in indices], [s.mean(1) for s in states] if reduction == "means" else states)
    return store


def rows(states: States) -> list[Tensor]:
    """The states of each utterance of a batch: frames without the padding, or means."""
    if isinstance(states, HiddenStates):
        return [states.utterance(index) for index in range(len(states.lengths))]
    return list(states.unbind(dim=1))


def collected(source: StateSource, with_places: bool = True) -> list[list[Tensor]]:
    return [rows(states) for states in source.batches(GROUPS, PLACES if with_places else None)]


def expected(reduction: str = "frames", with_places: bool = True) -> list[list[Tensor]]:
    found = [
        [by_hand(index, place if with_places else None) for index, place in zip(group, places, strict=True)]
        for group, places in zip(map(Tensor.tolist, GROUPS), map(Tensor.tolist, PLACES), strict=True)
    ]
    return [[one.mean(1) for one in batch] for batch in found] if reduction == "means" else found


def assert_same(found: list[list[Tensor]], wanted: list[list[Tensor]]) -> None:
    assert [len(batch) for batch in found] == [len(batch) for batch in wanted]
    for number, (batch, other) in enumerate(zip(found, wanted, strict=True)):
        for row, (one, another) in enumerate(zip(batch, other, strict=True)):
            assert one.shape == another.shape, (number, row)
            assert torch.allclose(one, another, atol=1e-6), (number, row)


# ---------------------------------------------------------------- windows of audio


@pytest.mark.parametrize(("place", "first"), [(0.0, 0), (LATEST, 6), (1.0, 6), (0.5, 3), (1 / 7, 1)])
def test_a_window_begins_at_its_place_both_ends_included(place: float, first: int) -> None:
    """Ten samples, a window of four: seven places to begin."""
    assert Window(Ramp(10), place, 4).load().tolist() == [first, first + 1, first + 2, first + 3]


def test_windows_begin_equally_often_at_every_sample() -> None:
    starts = Counter(int(Window(Ramp(10), number / 7_000, 4).load()[0]) for number in range(7_000))
    assert starts == dict.fromkeys(range(7), 1_000)


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_what_is_no_longer_than_a_window_stays_whole(samples: int) -> None:
    for place in (0.0, 0.5, 1.0):
        assert Window(Ramp(samples), place, 4).load().tolist() == list(range(samples))


def test_one_sample_more_than_a_window_has_two_places() -> None:
    assert [int(Window(Ramp(5), place, 4).load()[0]) for place in (0.0, 0.499, 0.5, LATEST)] == [0, 0, 1, 1]


def test_only_longer_utterances_are_windowed() -> None:
    for index, item in enumerate(ITEMS):
        cut = windowed(item, 0.3, WINDOW)
        if index in SHORT:
            assert cut is item
        else:
            assert (cut.seconds, len(cut.audio.load())) == (WINDOW, 3_200)


# ---------------------------------------------------------------- windows of states


@pytest.mark.parametrize("name", ["toy", "fbank", "wavlm_nano"])
@pytest.mark.parametrize("seconds", [0.025, 0.2, 0.5, 0.777, 8.0])
def test_a_window_of_states_has_the_frames_of_as_much_audio(name: str, seconds: float) -> None:
    model = Toy() if name == "toy" else upstream.load(name, random_init=name == "wavlm_nano")
    frames = int(model([torch.zeros(round(seconds * SAMPLE_RATE))]).lengths[0])
    states = torch.arange(2_000.0)[None, :, None]
    assert cut_of_states(model, seconds)(states, 0.5).shape == (1, frames, 1)


def test_a_window_of_states_is_a_slice_that_may_begin_at_every_frame() -> None:
    states = torch.randn(2, 15, 3, generator=torch.Generator().manual_seed(0))
    cut = cut_of_states(Toy(), WINDOW)  # nine frames: seven places to begin
    slices = [states[:, first : first + 9] for first in range(7)]
    found = [cut(states, number / 700) for number in range(700)] + [cut(states, LATEST), cut(states, 1.0)]
    begun = [next(i for i, own in enumerate(slices) if torch.equal(own, one)) for one in found]
    assert Counter(begun[:700]) == dict.fromkeys(range(7), 100)
    assert begun == sorted(begun)
    assert begun[700:] == [6, 6]


@pytest.mark.parametrize("frames", [1, 8, 9])
def test_states_that_are_no_longer_than_a_window_stay_whole(frames: int) -> None:
    states = torch.randn(2, frames, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(cut_of_states(Toy(), WINDOW)(states, 0.7), states)


def test_a_window_shorter_than_a_frame_is_one_frame() -> None:
    assert cut_of_states(Toy(), 0.01)(torch.zeros(2, 5, 3), 0.9).shape == (2, 1, 3)


def test_stored_and_computed_states_are_cut_alike_out_of_the_whole_utterances(tmp_path: Path) -> None:
    cut = cut_of_states(Toy(), WINDOW)
    from_store = StoredFrames(stored(tmp_path, list(range(len(ITEMS)))), ITEMS, cut)
    model = Toy()
    computed = Computed(model, ITEMS, "frames", cut)
    wanted = []
    for group, places in zip(GROUPS, PLACES, strict=True):
        batch = []
        for index, place in zip(group.tolist(), places.tolist(), strict=True):
            whole = by_hand(index, None)
            first = math.floor(place * max(1, whole.shape[1] - 9 + 1))
            batch.append(whole[:, first : first + 9])
        wanted.append(batch)
    assert_same(collected(from_store), wanted)
    assert_same(collected(computed), wanted)
    assert model.encoded == [SAMPLES[index] for group in GROUPS for index in group.tolist()]


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("reduction", ["frames", "means"])
def test_computed_windows_are_those_cut_by_hand(reduction: str) -> None:
    source = Computed(Toy(), ITEMS, reduction, window=WINDOW)
    assert_same(collected(source), expected(reduction))


@pytest.mark.parametrize("reduction", ["frames", "means"])
def test_windows_beside_stored_utterances_come_in_the_order_of_the_batch(reduction: str, tmp_path: Path) -> None:
    """Mixed batches, batches of long utterances alone, and of short ones alone; the store has no long ones."""
    store = stored(tmp_path, SHORT, reduction)
    whole: StateSource
    if reduction == "frames":
        whole = StoredFrames(store, ITEMS)
    else:
        means = torch.full((2, len(ITEMS), 3), torch.nan)
        means[:, SHORT] = store.means([ITEMS[index].digest for index in SHORT])
        whole = Means(means)
    model = Toy()
    source = WithWindows(whole, Computed(model, ITEMS, reduction, window=WINDOW), ITEMS, WINDOW)
    assert_same(collected(source), expected(reduction))
    assert set(model.encoded) == {3_200}


@pytest.mark.parametrize("place", [0.0, 0.25, 1 / 3, LATEST])
def test_a_place_means_the_same_window_whatever_else_is_in_the_batch(place: float, tmp_path: Path) -> None:
    computed = Computed(Toy(), ITEMS, "frames", window=WINDOW)
    mixed = WithWindows(StoredFrames(stored(tmp_path, SHORT), ITEMS), computed, ITEMS, WINDOW)
    for source in (computed, mixed):
        for group in ([3], [3, 0], [1, 3], [4, 0, 3, 2]):
            places = torch.full((len(group),), 0.5, dtype=torch.float64)
            places[group.index(3)] = place
            (states,) = source.batches([torch.tensor(group)], [places])
            assert torch.allclose(rows(states)[group.index(3)], by_hand(3, place), atol=1e-6)


@pytest.mark.parametrize("reduction", ["frames", "means"])
def test_without_places_utterances_are_whole(reduction: str, tmp_path: Path) -> None:
    """As in every evaluation."""
    wanted = expected(reduction, with_places=False)
    everything = list(range(len(ITEMS)))
    store = stored(tmp_path, everything, reduction)
    whole: StateSource = StoredFrames(store, ITEMS, cut_of_states(Toy(), WINDOW))
    if reduction == "means":
        whole = Means(store.means([item.digest for item in ITEMS]))
    computed = Computed(Toy(), ITEMS, reduction, cut_of_states(Toy(), WINDOW), WINDOW)
    for source in (whole, computed, WithWindows(whole, computed, ITEMS, WINDOW)):
        assert_same(collected(source, with_places=False), wanted)


def test_seconds_are_of_the_audio_that_was_encoded(tmp_path: Path) -> None:
    cut = sum(min(SAMPLES[i], 3_200) for group in GROUPS for i in group.tolist()) / SAMPLE_RATE
    uncut = sum(SAMPLES[i] for group in GROUPS for i in group.tolist()) / SAMPLE_RATE
    long = sum(3_200 for group in GROUPS for i in group.tolist() if i in LONG) / SAMPLE_RATE
    computed = Computed(Toy(), ITEMS, "frames", window=WINDOW)
    collected(computed)
    assert computed.audio_seconds == pytest.approx(cut)
    collected(computed, with_places=False)
    assert computed.audio_seconds == computed.computed_seconds == pytest.approx(cut + uncut)
    fresh = Computed(Toy(), ITEMS, "frames", window=WINDOW)
    source = WithWindows(StoredFrames(stored(tmp_path, SHORT), ITEMS), fresh, ITEMS, WINDOW)
    collected(source)
    assert source.audio_seconds == pytest.approx(cut)
    assert source.computed_seconds == pytest.approx(long)


def test_no_batches_are_none(tmp_path: Path) -> None:
    computed = Computed(Toy(), ITEMS, "frames", window=WINDOW)
    for source in (computed, WithWindows(StoredFrames(stored(tmp_path, SHORT), ITEMS), computed, ITEMS, WINDOW)):
        assert list(source.batches([], [])) == []


@pytest.mark.parametrize("kind", [[True, False, True], [False, False, True], [True, False, False]])
def test_two_batches_become_one_in_the_order_told(kind: list[bool]) -> None:
    is_cut = torch.tensor(kind)
    short = [torch.full((2, length, 3), 10.0 + length) for length in range(1, 1 + kind.count(False))]
    long = [torch.full((2, length, 3), 20.0 + length) for length in range(4, 4 + kind.count(True))]
    sources = {False: iter(short), True: iter(long)}
    wanted = [next(sources[own]) for own in kind]
    both = interleaved(HiddenStates.from_utterances(short), HiddenStates.from_utterances(long), is_cut)
    assert_same([rows(both)], [wanted])
    means = interleaved(*(torch.stack([one.mean(1) for one in part], dim=1) for part in (short, long)), is_cut)
    assert_same([rows(means)], [[one.mean(1) for one in wanted]])


def test_one_batch_alone_stays_as_it_is() -> None:
    batch = torch.zeros(2, 3, 4)
    assert interleaved(batch, None, torch.zeros(3, dtype=torch.bool)) is batch
    assert interleaved(None, batch, torch.ones(3, dtype=torch.bool)) is batch


def test_states_of_lower_precision_join_the_others() -> None:
    whole = HiddenStates.from_utterances([torch.ones(2, 4, 3, dtype=torch.float16)])
    cut = HiddenStates.from_utterances([torch.ones(2, 2, 3, dtype=torch.bfloat16)])
    assert interleaved(whole, cut, torch.tensor([True, False])).layers.dtype == torch.float32


# ---------------------------------------------------------------- what is read as a whole, and where from


def dataset(*folds: tuple[list[int], list[int], list[int]], cohort: tuple[int, ...] = ()) -> Dataset:
    utterances = tuple(Utterance(item.name, AudioCut(AudioFile(Path(item.name))), "s") for item in ITEMS)
    made = tuple(Fold(f"fold{k}", *(tuple(part) for part in parts)) for k, parts in enumerate(folds))
    return Dataset(
        corpus=Corpus("toy", "Toy", "none", utterances, "nowhere"),
        column="label",
        utterances=utterances,
        items=tuple(ITEMS),
        split=Split(made, "by hand"),
        targets=SpeakerTargets((), (), {}, {"fold0": cohort}) if cohort else Targets(),
    )


def crop(of: str | None) -> CropSettings | None:
    return None if of is None else CropSettings.model_validate({"seconds": WINDOW, "of": of})


TRAIN, DEV, TEST = [0, 1, 2, 4, 6], [3], [5]


def test_long_training_utterances_alone_are_not_read_as_a_whole() -> None:
    one = dataset((TRAIN, DEV, TEST))
    assert read_whole(one, crop("audio")) == [1, 2, 3, 4, 5]
    assert read_whole(one, crop("states")) == read_whole(one, crop(None)) == [0, 1, 2, 3, 4, 5, 6]
    assert read_whole(dataset((TRAIN, DEV, [])), crop(None)) == [0, 1, 2, 3, 4, 6]  # 5 is of no fold


def test_what_another_fold_tests_or_a_cohort_has_is_read_as_a_whole() -> None:
    assert read_whole(dataset(([0, 1], [3], [5]), ([3, 5], [0], [1])), crop("audio")) == [0, 1, 3, 5]
    assert read_whole(dataset((TRAIN, DEV, TEST), cohort=(6,)), crop("audio")) == [1, 2, 3, 4, 5, 6]


def prepared(
    folder: Path, of: str | None, mode: str, needs: str, parts: Dataset
) -> tuple[StateSource, float, list[int]]:
    """What heads read from, seconds that were extracted for it, and samples that the upstream encoded for that."""
    model = Toy()
    items = [parts.items[index] for index in read_whole(parts, crop(of))]
    settings = StoreSettings.model_validate({"mode": mode, "codec": "float32"})
    plan = plan_cache(settings, needs, model, items, folder, limit=10**9)
    source, seconds = prepare(model, parts, crop(of), plan, progress=False, ranks=ALONE)
    return source, seconds, sorted(model.encoded)


def trained_on(source: StateSource) -> list[list[Tensor]]:
    groups = [torch.tensor(TRAIN), torch.tensor([6, 1])]
    return [rows(states) for states in source.batches(groups, [PLACES[5], PLACES[5][:2]])]


@pytest.mark.parametrize("of", [None, "audio", "states"])
def test_heads_learn_from_the_same_states_whether_these_are_kept_or_computed(of: str | None, tmp_path: Path) -> None:
    parts = dataset((TRAIN, DEV, TEST))
    kept, _, _ = prepared(tmp_path, of, "frames", "frames", parts)
    computed, seconds, encoded = prepared(tmp_path / "off", of, "off", "frames", parts)
    assert isinstance(kept, WithWindows if of == "audio" else StoredFrames)
    assert isinstance(computed, Computed)
    assert (seconds, encoded) == (0.0, [])
    assert_same(trained_on(kept), trained_on(computed))
    longest = max(one.shape[1] for one in trained_on(kept)[0])
    assert longest == (18 if of is None else 9)  # frames of 6,000 samples, and of a window


@pytest.mark.parametrize("of", [None, "audio"])
def test_means_of_long_training_utterances_are_computed_window_by_window(of: str | None, tmp_path: Path) -> None:
    parts = dataset((TRAIN, DEV, TEST))
    kept, _, _ = prepared(tmp_path, of, "means", "means", parts)
    computed, _, _ = prepared(tmp_path / "off", of, "off", "means", parts)
    assert isinstance(kept, WithWindows if of == "audio" else Means)
    assert_same(trained_on(kept), trained_on(computed))
    groups = [torch.tensor([*DEV, *TEST])]
    for source in (kept, computed):
        (states,) = source.batches(groups)
        assert_same([rows(states)], [[by_hand(index, None).mean(1) for index in (3, 5)]])


@pytest.mark.parametrize(("of", "indices"), [("audio", [1, 2, 3, 4, 5]), ("states", range(7)), (None, range(7))])
def test_the_store_is_filled_with_what_is_read_as_a_whole_once(
    of: str | None, indices: list[int], tmp_path: Path
) -> None:
    parts = dataset((TRAIN, DEV, TEST))
    _, seconds, encoded = prepared(tmp_path, of, "auto", "frames", parts)
    assert encoded == sorted(SAMPLES[index] for index in indices)
    assert seconds == pytest.approx(sum(encoded) / SAMPLE_RATE)
    assert prepared(tmp_path, of, "auto", "frames", parts)[1:] == (0.0, [])


@pytest.mark.parametrize(("mode", "needs"), [("frames", "frames"), ("means", "means")])
def test_windows_are_encoded_where_every_utterance_is_tested_in_another_fold(
    mode: str, needs: str, tmp_path: Path
) -> None:
    """With folds the store has all utterances whole, and still windows are what is trained on."""
    parts = dataset((TRAIN, DEV, TEST), (DEV, TEST, TRAIN), (TEST, TRAIN, DEV))
    kept, _, _ = prepared(tmp_path, "audio", mode, needs, parts)
    computed, _, _ = prepared(tmp_path / "off", "audio", "off", needs, parts)
    assert_same(trained_on(kept), trained_on(computed))
