"""Transcripts that no head can write, for want of frames or letters: counted before anything is learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from torch import Tensor

from downstream.data import Dataset, Fold
from upstream.errors import UserError

UNKNOWN_AT_MOST = 0.01  # share of the test's letters that need not be mentioned


def frames_needed(target: Tensor) -> int:
    """Return the fewest frames that CTC can align with a target (N,): one a token, and a blank between equal ones."""
    return len(target) + int((target[1:] == target[:-1]).sum())


def alignment_caveats(dataset: Dataset, targets: Sequence[Tensor], frames: Callable[[float], int]) -> list[str]:
    """Return sentences on training and test utterances whose target does not fit into their frames.

    frames: the frames of an utterance by its seconds. Raises UserError where no training utterance of a fold fits: the
    loss of each is zero then, and no gradient comes from it (`ctc.ctc_losses`).
    """
    short = {
        index: f"{dataset.utterances[index].id} has {len(targets[index])} tokens in {available} frames"
        for index in dataset.split.used
        if (available := frames(dataset.items[index].seconds)) < frames_needed(targets[index])
    }
    for fold in dataset.split.folds:
        refuse_without_any(fold, short)
    trained = dataset.split.trained
    tested = sorted({index for fold in dataset.split.folds for index in fold.test})
    kinds = [
        ("training", trained, "nothing is learned from them"),
        ("test", tested, "no head can write all of them"),
    ]
    return [
        f"More text than frames in {len(own)} of {len(indices)} {kind} utterances, so that {consequence}: "
        f"{short[own[0]]}, for example."
        for kind, indices, consequence in kinds
        if (own := [index for index in indices if index in short])
    ]


def refuse_without_any(fold: Fold, short: dict[int, str]) -> None:
    """Raise UserError unless a training utterance of the fold can be aligned."""
    if all(index in short for index in fold.train):
        raise UserError(
            f"CTC can align none of the {len(fold.train)} training transcripts of {fold.name} with its audio, since a "
            f"frame is one token at most: {short[fold.train[0]]}, for example. Check that recordings and transcripts "
            "belong together, or choose an upstream with more frames a second."
        )


def unknown_letters(texts: Sequence[str], tokens: Sequence[str], tested: Sequence[int]) -> list[str]:
    """Return a sentence where more than UNKNOWN_AT_MOST of the test's letters are no tokens; texts: normalised."""
    letters = Counter(letter for index in tested for letter in texts[index] if letter != " ")
    unknown = Counter({letter: count for letter, count in letters.items() if letter not in tokens})
    if unknown.total() <= UNKNOWN_AT_MOST * letters.total():
        return []
    shown = " ".join(letter for letter, _ in unknown.most_common(10))
    return [
        f"{unknown.total() / letters.total():.1%} of the test's letters are not among those that are learned "
        f"({shown}), and no head can write them."
    ]
