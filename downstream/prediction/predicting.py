"""Answers of heads on new recordings: a row each, or a row for each pair where recordings are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from downstream.prediction.applied import Applied
from downstream.prediction.opening import applied_heads
from downstream.prediction.pairs import Pairs, all_pairs, files_of, named_pairs, places_of
from downstream.prediction.recordings import NewRecording, Recordings, new_recordings
from downstream.prediction.task_models import applied_task_model, is_task_model, refuse_choices
from upstream.base import Upstream
from upstream.errors import UserError

DIGITS = 6  # of a similarity
PAIRS_AT_ONCE = 100_000

Found = TypeVar("Found")


@dataclass(frozen=True)
class Answers:
    """Rows of answers, computed when they are read; and sentences on who answers and what was left out."""

    rows: Iterable[dict[str, Any]]
    notes: tuple[str, ...]


def predict(
    run: str | Path,
    recordings: Recordings,
    *,
    heads: Sequence[str] = (),
    pairs: str | Path | Sequence[tuple[str, str]] | None = None,
    embeddings: bool = False,
    upstream: str | Path | Upstream | None = None,
    device: str = "auto",
    family: str | None = None,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> Answers:
    """Apply the heads of a run or of a file of heads, or a task model, to recordings; see `downstream.predict`."""
    if is_task_model(run):
        refuse_choices({"--head": heads, "-u": upstream, "--family": family})
        applied: Applied = applied_task_model(run, device)
    else:
        applied = applied_heads(run, heads, upstream, device, family)
    compares = applied.predictor.compares
    if not compares and (pairs is not None or embeddings):
        raise UserError(f"Heads of {applied.title} answer about one recording each: no pairs, no embeddings.")
    named = None if pairs is None else named_pairs(pairs)
    if named is not None and isinstance(recordings, list | tuple) and not recordings:
        recordings = files_of(named)
    found, notes = new_recordings(recordings, applied.effects, progress, skip_unreadable)
    notes = (*notes, *applied.notes, applied.sentence)
    if not compares or embeddings:
        return Answers(answered(applied, found, progress), notes)
    places = all_pairs(len(found)) if named is None else places_of(named, found)
    return Answers(compared(applied, found, for_each(applied, found, progress, list), places), notes)


def answered(applied: Applied, recordings: Sequence[NewRecording], progress: bool) -> list[dict[str, Any]]:
    """Return a row for each recording, in their order: its name, its length, and the family's answer."""
    answers = for_each(applied, recordings, progress, applied.predictor.answers)
    return [one.row | dict(answer) for one, answer in zip(recordings, answers, strict=True)]


def for_each(
    applied: Applied,
    recordings: Sequence[NewRecording],
    progress: bool,
    of_batch: Callable[[list[Tensor]], Iterable[Found]],
) -> list[Found]:
    """Return something for each recording, in their order; of_batch makes it of the predictions of a batch."""
    found: dict[str, Found] = {}
    for batch, predictions in applied.predictions([one.item for one in recordings], progress):
        found |= {item.digest: own for item, own in zip(batch, of_batch(predictions), strict=True)}
    return [found[one.item.digest] for one in recordings]


def compared(
    applied: Applied, recordings: Sequence[NewRecording], embeddings: Sequence[Tensor], pairs: Pairs
) -> Iterator[dict[str, Any]]:
    """Yield a row for each pair: both names, and how similar they are."""
    (head,) = (one.cpu() for one in applied.heads.values())
    for first in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[first : first + PAIRS_AT_ONCE]
        one, other = torch.tensor(part, dtype=torch.int64).T
        with torch.no_grad():
            scores = applied.predictor.similarities(head, embeddings, one, other).tolist()
        for (left, right), score in zip(part, scores, strict=True):
            names = {"one": recordings[left].name, "other": recordings[right].name}
            yield {**names, "similarity": round(score, DIGITS)}
