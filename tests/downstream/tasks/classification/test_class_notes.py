"""Parts of a split that cannot tell how well a classifier does, and those that cannot teach one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from small_datasets import small_dataset

from downstream.data.dataset import Dataset
from downstream.data.splits import Fold
from downstream.tasks.registry import family_of, load_recipe
from upstream.errors import UserError

EMOTION = family_of(load_recipe("emotion"))


def finished(labels: str, *folds: Fold, speakers: Sequence[str] = "abcdefgh") -> Dataset:
    """A dataset whose utterances have a class of one letter each, with the notes of its parts."""
    return EMOTION.finish(small_dataset(speakers[: len(labels)], folds, classes=tuple("xyz"), labels=tuple(labels)))


def test_parts_with_all_that_is_needed_are_not_mentioned() -> None:
    assert finished("xyzxyxyz", Fold("all", (0, 1, 2, 3), (4, 5), (6, 7, 3))).notes == ()


def test_a_part_of_one_class_is_said() -> None:
    (note,) = finished("xyxxyxxx", Fold("all", (0, 1, 2), (3, 4), (5, 6, 7))).notes
    assert note == "One class alone is in the test part of all (x), where always answering it makes no mistake."
    (note,) = finished("xyxxxxyx", Fold("all", (0, 1, 2), (3, 4), (5, 6, 7))).notes
    assert "One class alone is in the dev part of all (x)," in note
    folds = [Fold(name, (0, 1, 2), (), (3,)) for name in "abcde"]
    (note,) = finished("xyxx", *folds).notes
    assert "the test part of a (x), the test part of b (x), the test part of c (x) and 2 more," in note


def test_a_part_without_the_commonest_class_is_said() -> None:
    """Its chance is 0, and a score above that says little."""
    (note,) = finished("xxyyzyzz", Fold("all", (0, 1, 2), (), (3, 4, 5, 6, 7))).notes
    assert note == "The commonest class of training is not in the test part of all (x), so chance is 0 there."
    tied = finished("yxxyzyzz", Fold("all", (0, 1), (), (2, 4)))  # y comes first, which is what chance answers
    assert "(y)" in tied.notes[0]


def test_training_of_one_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"training part of second has one class, x,.* other classes \(x, y, z\)"):
        finished("xyxxyzzz", Fold("first", (0, 1), (), (4,)), Fold("second", (0, 2, 3), (), (4,)))


@pytest.mark.parametrize("fold", [Fold("all", (4, 5), (0, 1), (2, 3)), Fold("all", (0, 1), (2, 3), (4, 5))])
def test_a_part_of_noise_alone_is_refused(fold: Fold) -> None:
    with pytest.raises(UserError, match="Nothing but background noise is in the .* part of all, 2 windows"):
        finished("xyxyxy", fold, speakers=["a", "b", "c", "d", "", ""])
    assert finished("xyxyxy", Fold("all", (0, 1), (2, 3, 5), (4, 1)), speakers=["a", "b", "c", "d", "", ""]).notes == ()
