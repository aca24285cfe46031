"""How epochs are cut: what each covers, that any update can be had by itself, and s3prl's own batches and weights."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from downstream.data.sampling import class_weights, draw_balanced
from downstream.training.batching import (
    Balanced,
    Batching,
    OfSimilarLength,
    Shuffled,
    SuperbBalanced,
    by_seconds,
    superb_buckets,
)
from downstream.training.order import Order, Update

# Twenty-three utterances that are not numbered from zero, of three classes of eleven, eight and four.
UTTERANCES = list(range(100, 123))
CLASSES = [0] * 11 + [1] * 8 + [2] * 4
CLASS_OF = dict(zip(UTTERANCES, CLASSES, strict=True))
SAMPLES = [8_000 + 391 * (position * 7 % 23) for position in range(23)]

MAKERS: dict[str, Callable[[int], Batching]] = {
    "shuffled": lambda seed: Shuffled(UTTERANCES, 4, seed),
    "balanced": lambda seed: Balanced(UTTERANCES, CLASSES, 4, seed),
    "superb_balanced": lambda seed: SuperbBalanced(UTTERANCES, CLASSES, 4, seed),
    "of_similar_length": lambda seed: OfSimilarLength(by_seconds(UTTERANCES, SAMPLES, 60_000), seed),
}
every_batching = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def utterances_of(batching: Batching, number: int) -> list[int]:
    """The utterances of an epoch, one after the other."""
    return torch.cat(batching.epoch(number)).tolist()


def epochs(batching: Batching, count: int) -> list[int]:
    return [utterance for number in range(count) for utterance in utterances_of(batching, number)]


# ---------------------------------------------------------------- what holds for all


@every_batching
def test_an_epoch_is_a_function_of_seed_and_number_alone(make: Callable[[int], Batching]) -> None:
    in_turn = make(3)
    expected = [utterances_of(in_turn, number) for number in range(6)]
    for number in (5, 0, 3):
        assert utterances_of(make(3), number) == expected[number]
    assert len({tuple(epoch) for epoch in expected}) == 6
    assert all(utterances_of(make(4), number) != expected[number] for number in range(6))


@every_batching
def test_every_epoch_has_as_many_batches_none_larger_than_the_largest(make: Callable[[int], Batching]) -> None:
    batching = make(0)
    for number in range(5):
        batches = batching.epoch(number)
        assert len(batches) == batching.per_epoch
        assert max(map(len, batches)) == batching.largest
        assert set(torch.cat(batches).tolist()) <= set(UTTERANCES)


@every_batching
def test_batches_are_drawn_without_touching_the_global_generator(make: Callable[[int], Batching]) -> None:
    before = torch.get_rng_state()
    Order(make(0), accumulate=3).update(7)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- updates and places


def content(update: Update) -> tuple[list[list[int]], list[list[float]]]:
    return [part.tolist() for part in update.parts], [places.tolist() for places in update.places]


@every_batching
@pytest.mark.parametrize("accumulate", [1, 3, 20])
def test_any_update_and_its_places_can_be_had_without_those_before(
    make: Callable[[int], Batching], accumulate: int
) -> None:
    """Also where one update runs over several epochs, as with twenty micro-batches."""
    forward = Order(make(1), accumulate)
    in_turn = [content(forward.update(step)) for step in range(1, 16)]
    for step in (15, 2, 9, 1):
        assert content(Order(make(1), accumulate).update(step)) == in_turn[step - 1]


@every_batching
def test_updates_go_through_the_epochs_micro_batch_by_micro_batch(make: Callable[[int], Batching]) -> None:
    order, batching = Order(make(0), accumulate=4), make(0)
    count = 4 * batching.per_epoch
    expected = [batch.tolist() for epoch in range(count) for batch in batching.epoch(epoch)]
    updates = [order.update(step) for step in range(1, count + 1)]
    parts = [part.tolist() for update in updates for part in update.parts]
    assert parts == expected[: len(parts)]


@every_batching
def test_every_utterance_of_an_update_has_a_place(make: Callable[[int], Batching]) -> None:
    for step in range(1, 9):
        update = Order(make(0), accumulate=3).update(step)
        assert [len(places) for places in update.places] == [len(part) for part in update.parts]
        assert all(places.dtype == torch.float64 for places in update.places)


def test_places_are_uniform_and_differ_by_update_and_seed() -> None:
    def places(seed: int) -> list[float]:
        order = Order(Shuffled(range(50), 50, seed))
        return [place for step in range(1, 101) for place in order.update(step).places[0].tolist()]

    drawn = places(0)
    assert len(set(drawn)) == len(drawn) == 5_000
    assert not set(drawn) & set(places(1))
    assert 0.0 <= min(drawn) < 0.002
    assert 0.998 < max(drawn) < 1.0
    counts = np.histogram(drawn, bins=10, range=(0.0, 1.0))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 27.9  # chi-squared, nine degrees of freedom, p = 0.001


def test_a_place_says_nothing_of_the_order() -> None:
    """The seed of the places is one of their own: another batching of the same seed has the same places."""
    one, other = Order(Shuffled(range(8), 8, 5)).update(3), Order(Balanced(range(8), [0, 1] * 4, 8, 5)).update(3)
    assert one.parts[0].tolist() != other.parts[0].tolist()
    assert torch.equal(one.places[0], other.places[0])


def test_a_short_update_is_filled_up_with_utterances_of_no_weight() -> None:
    update = Order(OfSimilarLength([[1, 2, 3], [4]], 0), accumulate=2).update(1)
    assert update.size == len(update.utterances) == 6
    assert sorted(update.utterances[:4].tolist()) == [1, 2, 3, 4]
    weight = dict(zip(update.utterances[:4].tolist(), update.weights[:4].tolist(), strict=True))
    assert weight == pytest.approx({1: 1 / 6, 2: 1 / 6, 3: 1 / 6, 4: 1 / 2})
    assert update.weights[4:].tolist() == [0.0, 0.0]


# ---------------------------------------------------------------- shuffled


@pytest.mark.parametrize("batch", [1, 4, 23, 50])
def test_shuffled_has_every_utterance_once_an_epoch(batch: int) -> None:
    batching = Shuffled(UTTERANCES, batch, seed=0)
    for number in range(3):
        assert sorted(utterances_of(batching, number)) == UTTERANCES
    assert {len(part) for part in batching.epoch(0)[:-1]} <= {batch}


# ---------------------------------------------------------------- balanced


@pytest.mark.parametrize("batch", [3, 4, 7, 23, 64])
def test_balanced_has_every_class_equally_often(batch: int) -> None:
    """Up to one in an epoch, and up to one in all epochs together: what one has too few of the next makes up for."""
    batching = Balanced(UTTERANCES, CLASSES, batch, seed=0)
    size = 23 // min(batch, 23) * min(batch, 23)
    total: Counter[int] = Counter()
    for number in range(7):
        counts = Counter(CLASS_OF[utterance] for utterance in utterances_of(batching, number))
        assert sum(counts.values()) == size
        assert max(counts.values()) - min(counts.values()) <= 1
        total += counts
        assert max(total.values()) - min(total.values()) <= 1


@pytest.mark.parametrize("batch", [4, 5, 23])
def test_balanced_has_no_utterance_of_a_class_twice_before_all_once(batch: int) -> None:
    """At the end of every epoch the utterances of a class have come equally often, up to one."""
    batching = Balanced(UTTERANCES, CLASSES, batch, seed=0)
    for count in range(1, 14):
        times = Counter(epochs(batching, count))
        for own in set(CLASSES):
            members = [times[utterance] for utterance in UTTERANCES if CLASS_OF[utterance] == own]
            assert max(members) - min(members) <= 1, (count, own)


def test_balanced_shuffles_every_round_afresh() -> None:
    """Six of ten utterances an epoch: every fifth epoch begins a round, and has other six first."""
    batching = Balanced(range(12), [0] * 2 + [1] * 10, 12, seed=0)
    first = [frozenset(u for u in utterances_of(batching, number) if u > 1) for number in range(0, 50, 5)]
    assert {len(own) for own in first} == {6}
    assert len(set(first)) > 7


def test_balanced_mixes_the_classes_within_an_epoch() -> None:
    batching = Balanced(range(40), [0] * 20 + [1] * 20, 40, seed=0)
    pattern = [utterance < 20 for utterance in utterances_of(batching, 0)]
    assert pattern not in ([True, False] * 20, [False, True] * 20, [True] * 20 + [False] * 20)
    positions = [np.mean(np.flatnonzero([u < 20 for u in utterances_of(batching, number)])) for number in range(50)]
    assert np.mean(positions) == pytest.approx(19.5, abs=1.5)


# ---------------------------------------------------------------- SUPERB's balance


def test_superbs_balance_draws_with_replacement_every_class_equally_likely() -> None:
    batching = SuperbBalanced(UTTERANCES, CLASSES, 4, seed=0)
    assert batching.per_epoch == 5  # of 23 the last three are dropped
    assert all(len(batch) == 4 for batch in batching.epoch(0))
    drawn = epochs(batching, 500)
    counts = Counter(CLASS_OF[utterance] for utterance in drawn)
    assert all(count == pytest.approx(len(drawn) / 3, rel=0.05) for count in counts.values())
    assert any(max(Counter(utterances_of(batching, number)).values()) > 1 for number in range(3))
    each = Counter(drawn)
    assert set(each) == set(UTTERANCES)
    assert all(each[u] == pytest.approx(len(drawn) / 3 / CLASSES.count(CLASS_OF[u]), rel=0.25) for u in UTTERANCES)


def test_a_list_shorter_than_a_batch_is_one_batch() -> None:
    for batching in (SuperbBalanced(UTTERANCES, CLASSES, 64, 0), Balanced(UTTERANCES, CLASSES, 64, 0)):
        assert (batching.per_epoch, batching.largest) == (1, 23)
        assert len(utterances_of(batching, 0)) == 23


def test_drawing_balanced_gives_as_many_positions_as_there_are() -> None:
    weights = class_weights(CLASSES)
    drawn = draw_balanced(weights, torch.Generator().manual_seed(0))
    assert len(drawn) == 23
    assert torch.equal(drawn, draw_balanced(weights, torch.Generator().manual_seed(0)))
    assert not torch.equal(drawn, draw_balanced(weights, torch.Generator().manual_seed(1)))


def test_weights_are_those_of_s3prls_keyword_spotting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3prl's own data set, fed with words and a folder of noise."""
    unused = ModuleType("torchaudio.sox_effects")  # s3prl imports it to decode, and torchaudio has it no more
    unused.apply_effects_file = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchaudio.sox_effects", unused)
    peer = pytest.importorskip("s3prl.downstream.speech_commands.dataset")
    noise = tmp_path / "_background_noise_"
    noise.mkdir()
    for number in range(3):
        (noise / f"{number}.wav").touch()
    words = np.random.default_rng(0).choice(["bed", "cat", *peer.CLASSES[:10]], size=200)
    theirs = peer.SpeechCommandsDataset([(word, f"{word}.wav") for word in words], speech_commands_root=tmp_path)
    classes = [theirs.class2index[name] for name, _ in theirs.data]
    assert len(classes) == 203
    assert torch.allclose(class_weights(classes), torch.tensor(theirs.sample_weights, dtype=torch.float64))


# ---------------------------------------------------------------- batches of similar length


def test_batches_of_similar_length_stay_together_and_come_in_another_order_each_epoch() -> None:
    batches = [[1, 2, 3], [4, 5], [6], [7, 8, 9, 10]]
    batching = OfSimilarLength(batches, seed=0)
    assert (batching.per_epoch, batching.largest) == (4, 4)
    orders = [[batch.tolist() for batch in batching.epoch(number)] for number in range(12)]
    assert all(sorted(order) == batches for order in orders)
    assert len({str(order) for order in orders}) > 5


@pytest.mark.parametrize("most", [1.0, 3.5, 12.0, 1e9])
def test_padded_batches_last_no_longer_than_they_may(most: float) -> None:
    seconds = np.random.default_rng(0).uniform(0.5, 5.0, size=60).tolist()
    batches = by_seconds(range(60), seconds, most)
    assert sorted(utterance for batch in batches for utterance in batch) == list(range(60))
    for batch in batches:
        padded = len(batch) * max(seconds[utterance] for utterance in batch)
        assert padded <= most or len(batch) == 1
    # Longest first, and none is closed while the next utterance would still fit.
    ordered = [utterance for batch in batches for utterance in batch]
    assert [seconds[u] for u in ordered] == sorted(seconds, reverse=True)
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * seconds[batch[0]] > most
        assert seconds[following[0]] <= seconds[batch[-1]]


class Letters:
    """What s3prl's data set asks of a dictionary, and bucketing does not look at."""

    def encode_line(self, line: str, line_tokenizer: Callable[[str], Sequence[str]]) -> torch.Tensor:
        return torch.zeros(len(line_tokenizer(line)))


def s3prl_buckets(samples: Sequence[int], folder: Path) -> list[list[int]]:
    """The batches of s3prl's own data set for utterances 0, 1 … of these lengths."""
    peer = pytest.importorskip("s3prl.downstream.asr.dataset")
    names = [f"1-1-{number:04d}" for number in range(len(samples))]
    chapter = folder / "train" / "1" / "1"
    chapter.mkdir(parents=True, exist_ok=True)
    (chapter / "1-1.trans.txt").write_text("".join(f"{name} A WORD\n" for name in names))
    rows = [f"train/1/1/{name}.flac,{length}" for name, length in zip(names, samples, strict=True)]
    (folder / "train.csv").write_text("\n".join(["file_path,length", *rows]) + "\n")
    theirs = peer.SequenceDataset("train", 32, Letters(), str(folder), str(folder), train=["train"])
    return [[int(Path(path).stem[-4:]) for path in batch] for batch in theirs.X]


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 64, 65, 66, 100, 171])
@pytest.mark.parametrize(("shortest", "longest"), [(16_000, 560_000), (500, 1_900), (1_000, 3_000)])
def test_buckets_are_s3prls(count: int, shortest: int, longest: int, tmp_path: Path) -> None:
    """Long utterances, as speech has; short enough not to be halved; and about the limit. Lengths differ."""
    generator = np.random.default_rng(count)
    samples = (shortest + generator.choice(longest - shortest, size=count, replace=False)).tolist()
    assert superb_buckets(range(count), samples) == s3prl_buckets(samples, tmp_path)


def test_buckets_of_utterances_that_are_not_numbered_from_zero() -> None:
    samples = [20_000 + 100 * number for number in range(65)]
    batches = superb_buckets([1_000 + number for number in range(65)], samples)
    assert [len(batch) for batch in batches] == [16, 16, 16, 16]  # the one that remains is dropped
    assert batches[0][0] == 1_064
    assert 1_000 not in {utterance for batch in batches for utterance in batch}


def test_librispeechs_hundred_hours_make_1783_batches() -> None:
    """28,539 utterances: 891 groups in halves, and the remainder of 27 as it is."""
    samples = np.random.default_rng(0).integers(22_000, 392_000, size=28_539).tolist()
    batches = superb_buckets(range(28_539), samples)
    assert len(batches) == 1_783
    assert Counter(map(len, batches)) == {16: 1_782, 27: 1}


def test_balanced_with_more_classes_than_an_epoch_has_utterances() -> None:
    batching = Balanced(range(12), range(12), batch=8, seed=0)
    drawn = torch.cat([batching.epoch(number)[0] for number in range(3)])
    assert sorted(drawn.tolist()) == sorted([*range(12), *range(12)])
