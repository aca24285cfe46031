"""Are there enough speakers, and utterances of one, in a training part for what a head is fitted to?"""

from __future__ import annotations

from collections import Counter

from downstream.data import Dataset, Fold
from downstream.tasks.verification.recipe import VerifierSettings
from upstream.errors import UserError


def refuse_too_few(dataset: Dataset, fold: Fold, head: VerifierSettings) -> None:
    """Raise UserError unless a fold's training part has the speakers and utterances that the head needs.

    Two speakers for what tells them apart, and two utterances of one of them for what varies within a speaker; the
    cosine of pooled states as they are needs nothing.
    """
    counts = Counter(dataset.utterances[index].speaker for index in fold.train)
    if head.kind != "cosine" and len(counts) < 2:
        raise UserError(
            f"The training part of {fold.name} has one speaker, {', '.join(counts)}, and there is nobody to tell "
            "them from. Put more speakers into it, or choose another split."
        )
    fitted_within = head.transform == "wccn" or head.kind in ("lda", "plda")
    if fitted_within and max(counts.values(), default=0) < 2:
        raise UserError(
            f"The training part of {fold.name} has one utterance of each speaker, and head."
            f"{'transform wccn' if head.kind == 'cosine' else f'kind {head.kind}'} is fitted to how utterances of "
            "one speaker differ. Put more of a speaker into it, or choose -o head.kind=cosine -o "
            "head.transform=whitened."
        )
    if head.transform in ("centred", "whitened") and sum(counts.values()) < 2:
        raise UserError(
            f"The training part of {fold.name} has one utterance, and head.transform {head.transform} needs several. "
            "Put more into it, or choose -o head.transform=none."
        )
