"""Comparison of runs: paired tests of all pairs, corrected for their number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from tqdm import tqdm

from downstream.comparison.comparison import Comparison
from downstream.comparison.exact_tests import holm
from downstream.comparison.labels import labels_of
from downstream.comparison.pairs import Asked, Named, pairs_of
from downstream.comparison.side import Side

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Comparisons:
    """Paired tests that were made together; left_out: sentences on what had no partner, or could not be read."""

    all: tuple[Comparison, ...]
    left_out: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def __getitem__(self, number: int) -> Comparison:
        return self.all[number]

    def to_frame(self) -> pandas.DataFrame:
        """Return a DataFrame, one row a comparison; scores and differences are shares from 0 to 1, not percent."""
        import pandas

        return pandas.DataFrame([one.row() for one in self.all])

    def to_json(self) -> str:
        """Return the rows, and what was left out, as one JSON object; null for what is not defined."""
        rows = [
            {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in one.row().items()
            }
            for one in self.all
        ]
        content = {"comparisons": rows, "left_out": list(self.left_out)}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def compare_runs(
    named: Sequence[Named],
    layers: Sequence[str] = (),
    metric: str | None = None,
    part: str | None = None,
    progress: bool = True,
) -> Comparisons:
    """Return the paired tests of runs, or of folders of results, with p values that hold for all of them together.

    Raises UserError where there is nothing to compare.
    """
    found = pairs_of(named, Asked(layers, metric, part))
    labels = labels_in(found.pairs)
    bar = tqdm(found.pairs, "comparing", unit="pair", disable=None if progress and len(found.pairs) > 1 else True)
    tested = [Comparison.of(one, other, (labels[one], labels[other])) for one, other in bar]
    corrected = holm([one.p for one in tested])
    return Comparisons(tuple(replace(one, p_holm=p) for one, p in zip(tested, corrected, strict=True)), found.left_out)


def labels_in(pairs: Sequence[tuple[Side, Side]]) -> dict[Side, str]:
    """Return the name of each side; those of one corpus, metric and part are named so that they can be told apart."""
    tests: dict[tuple[str, str, str], list[Side]] = {}
    for side in dict.fromkeys(chain.from_iterable(pairs)):
        tests.setdefault((side.result.corpus.fingerprint, side.metric, side.part), []).append(side)
    named = (zip(sides, labels_of(sides), strict=True) for sides in tests.values())
    return dict(chain.from_iterable(named))
