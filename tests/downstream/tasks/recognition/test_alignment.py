"""Which transcripts fit into their frames, against PyTorch's CTC."""

from __future__ import annotations

import math

import pytest
import torch
from small_datasets import small_dataset

from downstream.data.splits import Fold
from downstream.tasks.recognition.alignment import alignment_caveats, frames_needed, unknown_letters
from downstream.tasks.recognition.family import RecognitionTask, TextTargets
from downstream.tasks.recognition.recipe import RecognitionRecipe
from downstream.tasks.registry import family_of, load_recipe
from upstream.errors import UserError
from upstream.filterbank import load

FOLD = Fold("published", (0, 1, 2), (3,), (4, 5))
TARGETS = [torch.arange(length) for length in (3, 9, 2, 9, 3, 12)]
DATASET = small_dataset("aabbcc", [FOLD])


@pytest.mark.parametrize("target", [[1], [1, 2, 3], [1, 1], [2, 2, 2, 1, 1], [1, 2, 1, 2]])
def test_fewest_frames_are_ctcs(target: list[int]) -> None:
    """Its loss is finite from so many frames on."""
    needed = frames_needed(torch.tensor(target))
    for frames, fits in ((needed - 1, False), (needed, True)):
        log_posteriors = torch.zeros(max(1, frames), 1, 4).log_softmax(dim=2)
        sizes = torch.tensor([frames]), torch.tensor([len(target)])
        loss = torch.nn.functional.ctc_loss(log_posteriors, torch.tensor([target]), *sizes, reduction="sum")
        assert math.isfinite(loss) == fits


def test_what_does_not_fit_is_counted_with_an_example() -> None:
    assert alignment_caveats(DATASET, TARGETS, lambda seconds: 12) == []
    assert alignment_caveats(DATASET, TARGETS, lambda seconds: 8) == [
        "More text than frames in 1 of 3 training utterances, so that nothing is learned from them: u1 has 9 tokens "
        "in 8 frames, for example.",
        "More text than frames in 1 of 2 test utterances, so that no head can write all of them: u5 has 12 tokens in "
        "8 frames, for example.",
    ]


def test_a_fold_that_can_learn_nothing_is_refused() -> None:
    other = Fold("fold2", (1, 3, 5), (), (0,))
    with pytest.raises(UserError, match="none of the 3 training transcripts of fold2 .* u1 has 9 tokens in 8 frames"):
        alignment_caveats(small_dataset("aabbcc", [FOLD, other]), TARGETS, lambda seconds: 8)


def test_the_frames_are_those_of_the_upstream() -> None:
    """An utterance of 1.5 s has 148 frames of a filterbank."""
    recipe = load_recipe("asr")
    assert isinstance(recipe, RecognitionRecipe)
    texts = ["AB" * 74, "AB" * 74 + "A", "AABB" * 37, "A", "B", "A"]
    dataset = small_dataset("aabbcc", [FOLD], TextTargets(tuple(texts)))
    task = family_of(recipe).task(dataset, load("fbank"))
    (caveat,) = task.caveats()
    assert caveat.startswith("More text than frames in 2 of 3 training utterances")
    assert "u1 has 149 tokens in 148 frames" in caveat
    assert RecognitionTask(dataset, 2, 4, recipe).caveats() == []  # where the frames are not known


def test_letters_of_the_test_that_are_not_learned_are_said() -> None:
    tested = [2, 3]
    assert unknown_letters(["A", "B", "AB" * 99, "A B"], ["|", "A", "B"], tested) == []
    assert unknown_letters(["A", "B", "AB" * 99, "A C"], ["|", "A", "B"], tested) == []  # one in two hundred
    (said,) = unknown_letters(["A", "B", "ABC", "DC A"], ["|", "A", "B"], tested)
    assert said == (
        "50.0% of the test's letters are not among those that are learned (C D), and no head can write them."
    )


def test_audio_is_not_cut_under_its_transcript() -> None:
    with pytest.raises(UserError, match=r"training.crop cuts audio and not its transcript"):
        load_recipe("asr", ["training.crop={seconds: 1.0, of: states}"])
