"""Scores of verification trials: comparison of two embeddings, normalised against a cohort."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from downstream.tasks.verification.comparison import Comparison, cosine
from downstream.tasks.verification.trials import Trials
from upstream.errors import UserError

Rows = Mapping[int, int] | Tensor  # row of the embeddings, by utterance index

# Numbers that scoring holds at a time beside embeddings, trials and scores: 16 MiB of float32, or twice that in
# float64. Larger blocks are no faster.
BLOCK = 1 << 22

ALIKE = 1e-9  # deviation of scores below which they are equal but for rounding


def score_trials(embeddings: Tensor, rows: Rows, trials: Trials, compare: Comparison = cosine) -> Tensor:
    """Return the score of each trial, (N,) float32 on the CPU; by default the cosine, which is SUPERB's.

    embeddings: (U, E); rows: the row of each utterance index. Products are taken trial by trial, so the time grows with
    the trials, not with pairs of utterances, and no score depends on which trials share a block.
    """
    return pair_scores(embeddings, rows_of(rows, trials.enrolment), rows_of(rows, trials.test), compare)


def pair_scores(embeddings: Tensor, one: Tensor, other: Tensor, compare: Comparison = cosine) -> Tensor:
    """Return the score of each pair of rows of `embeddings` (U, E), (N,) float32 on the CPU; one, other: (N,)."""
    vectors, offsets = compare(embeddings.float())
    one, other = one.to(vectors.device), other.to(vectors.device)
    block = max(1, BLOCK // (3 * vectors.shape[1]))
    scores = torch.empty(len(one))
    for start in range(0, len(one), block):
        part = slice(start, start + block)
        own = (vectors[one[part]] * vectors[other[part]]).sum(dim=1)
        scores[part] = own if offsets is None else own + offsets[one[part]] + offsets[other[part]]
    return scores


def normalise_scores(
    scores: Tensor,
    trials: Trials,
    rows: Rows,
    embeddings: Tensor,
    cohort: Tensor,
    top: int | None,
    compare: Comparison = cosine,
) -> Tensor:
    """Return symmetrically normalised scores, (N,) float32, in deviations above the cohort's mean.

    Each side of a trial is scored against the cohort; the score minus the mean of those scores, divided by their
    (population) deviation, is averaged over both sides (s-norm; Kenny, Odyssey 2010). With `top`, mean and deviation
    are those of each side's `top` highest cohort scores alone: AS-norm1 of Matějka et al., Interspeech 2017.

    scores: (N,) of `trials`; rows, embeddings (U, E), compare: as in `score_trials`; cohort: (C, E) embeddings of
    others, such as the mean of each training speaker's. Scores of a side with equal scores against the whole cohort are
    centred and not divided. Raises UserError where `top` is not in 2 … C, or C is below two.
    """
    if not 2 <= (len(cohort) if top is None else top) <= len(cohort):
        raise UserError(
            f"Score normalisation asks for the {len(cohort) if top is None else top} most similar of a cohort "
            f"of {len(cohort)}; take two or more, and no more than there are."
        )
    used = trials.utterances
    mean, deviation = cohort_statistics(embeddings[rows_of(rows, used)], cohort, top, compare)
    deviation = torch.where(deviation > ALIKE, deviation, 1.0)
    sides = [torch.searchsorted(used, side.contiguous()) for side in (trials.enrolment, trials.test)]
    return torch.stack([(scores.double() - mean[side]) / deviation[side] for side in sides]).mean(dim=0).float()


def cohort_statistics(
    embeddings: Tensor, cohort: Tensor, top: int | None, compare: Comparison = cosine
) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each embedding's (`top` highest) scores with a cohort, (U,) float64 on the CPU.

    embeddings: (U, E); cohort: (C, E).
    """
    others, offsets = compare(cohort.to(embeddings.device).double())
    means, deviations = [], []
    for block in torch.split(embeddings, max(1, BLOCK // max(cohort.shape))):
        vectors, own = compare(block.double())
        scores = vectors @ others.T
        if own is not None and offsets is not None:
            scores += own[:, None] + offsets
        chosen = scores if top is None else scores.topk(top, dim=1).values
        means.append(chosen.mean(dim=1))
        deviations.append(chosen.std(dim=1, correction=0))
    return torch.cat(means).cpu(), torch.cat(deviations).cpu()


def rows_of(rows: Rows, utterances: Tensor) -> Tensor:
    """Return the rows of utterance indices, (N,) -> (N,)."""
    if isinstance(rows, Tensor):
        return rows[utterances]
    return torch.tensor([rows[which] for which in utterances.tolist()])
