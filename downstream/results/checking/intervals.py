"""Intervals computed again from the tested items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from downstream.results.checking.numbers import alike, setting_in_words
from downstream.results.read_items import HeadItems
from downstream.results.record import LayerScores, Result, Score
from downstream.statistics import SeedItems, score_intervals
from downstream.tasks import Family

TOLERANCE = 1e-6  # of the ends of an interval
NO_INTERVAL = "none"  # beginning of the sentence on a score that has none
EARLIER = (
    "Its intervals were not computed again: they are of another method than this version's. Run its command again with "
    "--fresh for new ones."
)


class IntervalsAgain:
    """The intervals of a record, computed again from its items; `unchecked`: afterwards, of which method they are."""

    def __init__(self, record: Result, family: Family, found: Sequence[HeadItems]) -> None:
        self._record, self._family, self._found = record, family, found
        self.unchecked: list[str] = []

    def contradictions(self) -> Iterator[str]:
        """Yield a clause for each interval that the items do not give."""
        for layer in self._record.layers:
            for part in dict.fromkeys(score.part for score in layer.scores):
                yield from self._of_part(layer, part)

    def _of_part(self, layer: LayerScores, part: str) -> Iterator[str]:
        heads = [head for head in self._record.heads if head.setting == layer.layer]
        own = [one for one in self._found if one.part == part and one.head.setting == layer.layer]
        scores = [score for score in layer.scores if score.part == part]
        if not own or len(own) < len(heads):  # said already
            return
        values = {score.metric: score.value for score in scores}
        ranges = {name: self._family.metrics[name].range for name in values}
        again = score_intervals([SeedItems(one.head.seed, one.items) for one in own], values, ranges)
        for score in scores:
            found = again[score.metric]
            if score.interval != found.how:
                yield from self._of_another_method(score)
            elif not (alike(score.low, found.low, TOLERANCE) and alike(score.high, found.high, TOLERANCE)):
                yield (
                    f"the interval of {score.metric} on {setting_in_words(layer.layer)} and the part {part} is "
                    f"{written(score.low, score.high)}, and its predictions give {written(found.low, found.high)}"
                )

    def _of_another_method(self, score: Score) -> Iterator[str]:
        if score.interval.startswith(NO_INTERVAL) and (score.low, score.high) != (None, None):
            yield f"the {score.metric} has an interval, and it says that there is none"
        elif EARLIER not in self.unchecked:
            self.unchecked.append(EARLIER)


def written(low: float | None, high: float | None) -> str:
    """Return an interval as numbers."""
    return "none" if low is None or high is None else f"{low:.6g} to {high:.6g}"
