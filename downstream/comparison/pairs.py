"""Which scores are compared with each other: those of runs that were named, or of folders of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from pathlib import Path

from downstream.comparison.labels import upstream_label
from downstream.comparison.same_test import difference_of_tests, refuse_other_test
from downstream.comparison.side import Side, side_of
from downstream.results import RECORD, Result, read_result
from upstream.errors import UserError

Named = str | Path | Result


@dataclass(frozen=True)
class Asked:
    """What is compared of each run; None for its primary score.

    layers: none for the primary one, one for all runs, or one for each run; several of a single run are compared.
    """

    layers: Sequence[str] = ()
    metric: str | None = None
    part: str | None = None


@dataclass(frozen=True)
class Pairs:
    """Pairs of scores from the same test; left_out: a sentence on each run that could not be compared, and why."""

    pairs: tuple[tuple[Side, Side], ...]
    left_out: tuple[str, ...] = ()


def pairs_of(named: Sequence[Named], asked: Asked) -> Pairs:
    """Return the pairs among runs, or folders of results.

    Of runs every pair is compared, and they must have the same test. With a folder of results among them, scores of the
    same test are paired: across what was named, or across the upstreams of a single folder.

    Raises UserError where there is nothing to compare, or runs that were named have different tests.
    """
    found = [records_of(one) for one in named]
    if all(isinstance(one, Result) for one in found):
        return pairs_of_runs([one for one in found if isinstance(one, Result)], asked)
    if len(asked.layers) > 1:
        raise UserError("Several layers are of runs; of folders of results give one --layer, or name the runs.")
    return pairs_of_folders([[one] if isinstance(one, Result) else one for one in found], asked)


def records_of(named: Named) -> Result | list[Path]:
    """Return the run that a path names, or the records below a folder of results."""
    if isinstance(named, Result):
        return named
    path = Path(named)
    if path.is_file() or (path / RECORD).is_file():
        return read_result(path if path.is_file() else path / RECORD)
    below = sorted(path.rglob(RECORD)) if path.is_dir() else []
    if not below:
        what = f"no {RECORD} in {path}, nor below it" if path.is_dir() else f"no file or folder {path}"
        raise UserError(f"There is {what}. Name folders of runs, their {RECORD}, or a folder of results.")
    return below if len(below) > 1 else read_result(below[0])


# ---------------------------------------------------------------- runs


def pairs_of_runs(runs: Sequence[Result], asked: Asked) -> Pairs:
    """Return every pair of some runs, or of the layers of one; raise UserError where their tests differ."""
    sides = [
        side_of(run, layer, asked.metric, asked.part) for run, layer in zip(*runs_and_layers(runs, asked), strict=True)
    ]
    pairs = tuple(combinations(sides, 2))
    for one, other in pairs:
        refuse_same_score(one, other)
        refuse_other_test(one, other)
    return Pairs(pairs)


def runs_and_layers(runs: Sequence[Result], asked: Asked) -> tuple[list[Result], list[str | None]]:
    """Return runs and the layer of each: each its own one, one for all, or several of one run."""
    layers: list[str | None] = list(asked.layers)
    if len(layers) <= 1 < len(runs):
        return list(runs), (layers or [None]) * len(runs)
    if len(layers) > 1 and len(runs) in (1, len(layers)):
        return list(runs) * (len(layers) // len(runs)), layers
    if len(runs) == 1:
        there = ", ".join("mix" if one.layer is None else str(one.layer) for one in runs[0].layers)
        raise UserError(
            f"One run alone is nothing to compare: name two, or two layers of it with --layer (it has {there})."
        )
    raise UserError(
        f"There are {len(runs)} runs and {len(layers)} layers; give one --layer for all, or one for each in order."
    )


def refuse_same_score(one: Side, other: Side) -> None:
    """Raise UserError for a score that would be compared with itself."""
    if one.result.folder == other.result.folder and one.setting == other.setting and one.result.folder is not None:
        raise UserError(f"{one.place} was named twice; name another run, or another layer of it with --layer.")


# ---------------------------------------------------------------- folders of results


def pairs_of_folders(found: Sequence[Sequence[Result | Path]], asked: Asked) -> Pairs:
    """Return the pairs of scores of the same test, with what could not be read or has no partner."""
    left_out: list[str] = []
    groups = [list(sides_of(records, asked, left_out)) for records in found]
    candidates: Iterable[tuple[Side, Side]]
    if len(groups) > 1:
        candidates = (pair for one, other in combinations(groups, 2) for pair in product(one, other))
    else:
        candidates = (pair for pair in combinations(groups[0], 2) if upstreams_differ(*pair))
    pairs: list[tuple[Side, Side]] = []
    reasons: dict[Side, str] = {}
    for one, other in candidates:
        if (said := difference_of_tests(one, other)) is None:
            pairs.append((one, other))
        elif is_near(one, other):
            reasons |= {one: f" Beside {other.place}: {said}", other: f" Beside {one.place}: {said}"}
    paired = set(chain.from_iterable(pairs))
    for side in (side for group in groups for side in group if side not in paired):
        left_out.append(
            f"{upstream_label(side)} on {side.result.recipe.name} ({side.place}) has no partner: nothing else there is "
            f"of the same test.{reasons.get(side, '')}"
        )
    if not pairs:
        raise UserError("There is nothing to compare. " + " ".join(left_out))
    return Pairs(tuple(pairs), tuple(left_out))


def sides_of(records: Sequence[Result | Path], asked: Asked, left_out: list[str]) -> Iterable[Side]:
    """Yield a side for each record; what cannot be read, or has no such score, is added to `left_out`."""
    layer = asked.layers[0] if asked.layers else None
    for record in records:
        try:
            run = read_result(record) if isinstance(record, Path) else record
            yield side_of(run, layer, asked.metric, asked.part)
        except UserError as error:
            left_out.append(str(error))


def upstreams_differ(one: Side, other: Side) -> bool:
    return one.result.upstream.fingerprint != other.result.upstream.fingerprint


def is_near(one: Side, other: Side) -> bool:
    """Return True for scores of the same recipe and corpus, of which a reader would expect the same test."""
    return (one.result.recipe.name, one.result.corpus.name) == (other.result.recipe.name, other.result.corpus.name)
