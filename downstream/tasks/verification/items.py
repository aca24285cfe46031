"""Trials as tested items, and the lines of the file that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from downstream.statistics import FloatArray, Items
from downstream.tasks.evaluation import one_field
from downstream.tasks.verification.error_rates import Ranking
from downstream.tasks.verification.trials import Trials
from upstream.errors import UserError

TARGET, NONTARGET = "target", "nontarget"
FIELDS = 6  # of a line


@dataclass(frozen=True, eq=False)
class TrialItems(Items):
    """Trials with their scores; an answer is a score alone. scores: (N,)."""

    scores: FloatArray

    @cached_property
    def ranking(self) -> Ranking:
        """The trials by falling score."""
        return Ranking.of(self.scores, self.targets)

    @cached_property
    def targets(self) -> NDArray[np.bool_]:
        """True for the trials of one speaker, (N,)."""
        return np.array([truth == TARGET for truth in self.truths])

    def value(self, metric: str, weights: FloatArray | None = None) -> float:
        each = np.ones(len(self)) if weights is None else weights[self.ranking.order]
        return self.ranking.value(metric, each)


def trial_items(trials: Trials, scores: Tensor, ids: Sequence[str], speakers: Sequence[str]) -> TrialItems:
    """Return scored trials; scores: (N,) float32; ids, speakers: by utterance index."""
    pairs = list(zip(trials.enrolment.tolist(), trials.test.tolist(), strict=True))
    return TrialItems(
        ids=tuple(f"{one_field(ids[one])} {one_field(ids[other])}" for one, other in pairs),
        truths=tuple(TARGET if own else NONTARGET for own in trials.target.tolist()),
        answers=None,
        clusters=tuple((speakers[one], speakers[other]) for one, other in pairs),
        scores=scores.double().numpy(),
    )


def trial_lines(items: TrialItems) -> str:
    """Return a line per trial: enrolment, test, score, target or nontarget, and the speakers of both.

    Scores have all digits that a float32 has; ids and speakers are written by `one_field`.
    """
    columns = zip(items.ids, items.scores.tolist(), items.truths, items.clusters, strict=True)
    return "".join(
        f"{pair} {score:.9g} {truth} {one_field(one)} {one_field(other)}\n"
        for pair, score, truth, (one, other) in columns
    )


def read_trial_items(path: Path) -> TrialItems:
    """Return the trials in a file of `trial_lines`; raise UserError for one of an earlier version."""
    lines = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
    if wrong := [number for number, line in enumerate(lines, 1) if len(line) != FIELDS]:
        raise UserError(
            f"Line {wrong[0]} of {path} does not have {FIELDS} fields: an earlier version wrote no speakers. Run the "
            "command that made it again with --fresh."
        )
    return TrialItems(
        ids=tuple(f"{line[0]} {line[1]}" for line in lines),
        truths=tuple(line[3] for line in lines),
        answers=None,
        clusters=tuple((unquote(line[4]), unquote(line[5])) for line in lines),
        scores=np.array([float(line[2]) for line in lines], dtype=np.float32).astype(np.float64),
    )
