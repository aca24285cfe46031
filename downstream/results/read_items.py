"""Tested items of a run, read back from its folder: what scores can be recomputed from, and runs compared by."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from downstream.results.artifacts import PREDICTIONS, setting_name
from downstream.results.head_file import head_name
from downstream.results.names import slug
from downstream.results.record import FIX, HeadRecord, Result
from downstream.statistics import Items
from downstream.tasks import Family, HeadOnPart, family_of_record
from downstream.training import LayerSetting
from upstream.errors import UserError

Rows = Mapping[tuple[str, int, int | str], list[dict[str, Any]]]  # by fold, seed and layer


@dataclass(frozen=True)
class HeadItems:
    """A chosen head on one test part, and what was tested of it."""

    head: HeadRecord
    part: str
    items: Items


def items_of_heads(result: Result, setting: LayerSetting, family: type[Family] | None = None) -> list[HeadItems]:
    """Return the heads of a layer setting on each of their test parts, with their items.

    family: of the record; by default the one that it names, where that is trusted (`family_of_record`).
    Raises UserError where the record is not on disk, its files lack something, or its family is code of others.
    """
    if result.folder is None:
        raise UserError("This record is not on disk, and its predictions are nowhere; give the folder of its run.")
    kind, rows = family or family_of_record(result.task, result.folder), prediction_rows_of(result)
    return [
        HeadItems(head, place.part, kind.items(result.details, place, own))
        for head, place, own in heads_with_rows(result, rows)
        if head.setting == setting
    ]


def heads_with_rows(result: Result, rows: Rows) -> Iterator[tuple[HeadRecord, HeadOnPart, list[dict[str, Any]]]]:
    """Yield every head on each of its test parts, with its rows of predictions there."""
    for head in result.heads:
        own = rows.get((head.fold, head.seed, setting_name(head.setting)), [])
        for place in heads_on_parts(head, result):
            yield head, place, own if len(head.metrics) == 1 else [row for row in own if row.get("part") == place.part]


def heads_on_parts(head: HeadRecord, result: Result) -> list[HeadOnPart]:
    """Return a head on each of its test parts."""
    name = head_name(head.fold, head.seed, head.setting)
    return [
        HeadOnPart(
            fold=head.fold,
            seed=head.seed,
            part=part,
            metrics=metrics,
            details=head.details.get(part, {}),
            files=result.folder and result.folder / (f"{name}.{slug(part)}" if number else name),
        )
        for number, (part, metrics) in enumerate(head.metrics.items())
    ]


def prediction_rows_of(result: Result) -> Rows:
    """Return the rows of predictions.jsonl by head; none where the run has no such file.

    Raises UserError where the file is missing though the record lists it, or cannot be read.
    """
    assert result.folder is not None
    path, rows = result.folder / PREDICTIONS, defaultdict(list)
    if PREDICTIONS not in result.artifacts and not path.is_file():
        return {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[row["fold"], row["seed"], row["layer"]].append(row)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}). {FIX}") from error
    return rows
