"""Published scores beside a result: which it may be compared with and why with none, and how far it lies from each."""

from __future__ import annotations

from dataclasses import dataclass

from downstream.recipes import shipped
from downstream.report.published import ReferenceScore, published
from downstream.results import CHANGED, MetricRecord, Result, Score, UpstreamRecord
from downstream.tasks import find_family, is_external
from upstream.names import BY_REPOSITORY, NAMED
from upstream.shipped_tables import read_rows

SIZES = shipped("results/reference") / "superb_sizes.csv"


@dataclass(frozen=True)
class Comparison:
    """A score of a result and a published one of the same upstream and task.

    own: the score, as recorded. reference: the published one.
    difference: own minus published, as the metric is written: in percentage points where it is a share.
    within: whether the published score lies in the 95 % interval; None where there is none.
    """

    own: Score
    reference: ReferenceScore
    difference: float
    within: bool | None

    @property
    def place(self) -> str:
        """Where the published score lies, in words."""
        if self.within is None:
            return "no interval"
        return "within the interval" if self.within else "outside the interval"


def published_upstream(upstream: UpstreamRecord) -> str | None:
    """Return the catalogue's name of the published encoder that was loaded; None for any other one.

    What was loaded decides and not what was typed: hf:facebook/hubert-base-ls960 is hubert_base, whatever its capitals.
    A file or a folder is never taken for a published encoder: nothing in it says whether it was trained further, and
    fine-tuned models keep the name of what they were made from.
    """
    if upstream.random_init:
        return None
    source = upstream.source.casefold()
    for repository, row in BY_REPOSITORY.items():
        if repository is not None and repository.casefold() == source:
            return row.name
    plain = NAMED.get(upstream.source)  # filterbanks have no repository
    return plain.name if plain and not plain.has_weights and upstream.name == plain.name else None


def published_for(result: Result) -> list[ReferenceScore]:
    """Return the published scores that a result may be compared with, of every table that has them.

    None for an untrained upstream, for one that no table has, for a family from outside, for another protocol than the
    table's, and for a part of the corpus.
    """
    name = published_upstream(result.upstream)
    if name is None or is_external(result.task) or why_incomparable(result) is not None:
        return []
    named = find_family(result.task).published_as
    metrics = {named(metric, result.recipe.resolved) for metric in result.metric_types}
    return [score for score in published(result.recipe.name, name) if score.metric in metrics]


def why_incomparable(result: Result) -> str | None:
    """Return why a result of a published task was not made as the published scores were; None where it was."""
    if result.finetuning is not None:
        return "Its encoder was fine-tuned, and the published scores are of frozen ones."
    for caveat in result.caveats:
        if caveat.startswith(CHANGED):
            return caveat
    for row in read_rows(SIZES):
        if row["task"] == result.recipe.name:
            return smaller(result, row)
    return None


def smaller(result: Result, sizes: dict[str, str]) -> str | None:
    """Return a sentence on a training or test set that is smaller than the protocol's; None where neither is."""
    here = {
        "trained": min(fold.train.utterances for fold in result.folds),
        "tested": sum(fold.test.utterances for fold in result.folds),
    }
    for what, count in here.items():
        if sizes[what] and count < int(sizes[what]):
            return f"{count:,} utterances were {what} on, where the protocol has {int(sizes[what]):,}."
    return None


def compared(result: Result) -> list[Comparison]:
    """Return each published score of a result beside its own, in the order of the table."""
    return [comparison(result, reference) for reference in published_for(result)]


def comparison(result: Result, reference: ReferenceScore) -> Comparison:
    """Return a published score beside the result's own score of that metric on the primary test part."""
    named = find_family(result.task).published_as
    metric = next(name for name in result.metric_types if named(name, result.recipe.resolved) == reference.metric)
    own = result.layers[0].score(metric)
    return Comparison(own, reference, *distance(own.value, (own.low, own.high), result.metric_types[metric], reference))


def distance(
    own: float, interval: tuple[float | None, float | None], metric: MetricRecord, reference: ReferenceScore
) -> tuple[float, bool | None]:
    """Return a score minus a published one, as the metric is written, and whether the latter is in the interval.

    The second is None where there is no interval.
    """
    published, (low, high) = reference.percent / 100 if metric.percent else reference.value, interval
    within = None if low is None or high is None else low <= published <= high
    return (own - published) * metric.scale, within
