"""Files of two runs compared: weights of heads, and predictions line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from downstream.results import HEADS, Result, head_name, items_of_heads, opened_heads
from downstream.tasks import Family
from upstream.errors import UserError

TEXT = (".jsonl", ".txt", ".ref", ".hyp")  # endings of predictions; errors.txt and det.csv are made of these
MADE_OF_OTHERS = (".errors.txt",)


@dataclass(frozen=True)
class WeightsCompared:
    """Heads of a record, how many have the same tensors to the bit, and the largest difference of a weight."""

    heads: int
    equal: int
    largest: float


def weights_compared(record: Result, again: Result) -> WeightsCompared | None:
    """Compare the weights of all heads; None where one of the two has no file of them.

    Raises UserError for a damaged file.
    """
    paths = [one.folder and one.folder / HEADS for one in (record, again)]
    own, other = paths
    if own is None or other is None or not (own.is_file() and other.is_file()):
        return None
    equal, largest = 0, 0.0
    with opened_heads(own) as one, opened_heads(other) as two:
        for head in record.heads:
            name = head_name(head.fold, head.seed, head.setting)
            try:
                first, second = one.of(name), two.of(name)
            except UserError:
                largest = float("inf")
                continue
            shapes = [{key: tensor.shape for key, tensor in tensors.items()} for tensors in (first, second)]
            if shapes[0] != shapes[1]:
                largest = float("inf")
                continue
            differences = [
                float((first[key].double() - second[key].double()).abs().max()) for key in first if first[key].numel()
            ]
            equal += max(differences) == 0
            largest = max(largest, *differences)
    return WeightsCompared(len(record.heads), equal, largest)


@dataclass(frozen=True)
class FilesCompared:
    """Lines of the files of one kind, and how many differ; of_common_columns: where one has columns of its own."""

    name: str
    lines: int
    differing: int
    of_common_columns: bool = False


@dataclass(frozen=True)
class PredictionsCompared:
    """Predictions of two runs. answers: items and how many have another answer; None where there are scores alone."""

    files: tuple[FilesCompared, ...]
    answers: tuple[int, int] | None

    @property
    def are_identical(self) -> bool | None:
        """True where every line is; None where the record has no predictions."""
        if not self.files:
            return None
        return not any(one.differing for one in self.files)


def predictions_compared(record: Result, again: Result, family: type[Family]) -> PredictionsCompared:
    """Compare the predictions that a record has with those of the same run computed again."""
    assert record.folder is not None
    assert again.folder is not None
    names = sorted(path.name for path in record.folder.iterdir() if is_of_predictions(path))
    files = [compared_files(record.folder / name, again.folder / name) for name in names]
    return PredictionsCompared(tuple(summed(files)), answers_compared(record, again, family) if files else None)


def is_of_predictions(path: Path) -> bool:
    """Return True for a file of predictions, and not for one that is made of others."""
    return path.name.endswith(TEXT) and not path.name.endswith(MADE_OF_OTHERS)


def compared_files(one: Path, other: Path) -> FilesCompared:
    """Compare two files line by line; of tables with other numbers of columns, the columns that both have."""
    kind = one.name if one.suffix == ".jsonl" else "…." + one.name.partition(".")[2]
    own = one.read_text(encoding="utf-8").splitlines()
    if not other.is_file():
        return FilesCompared(kind, len(own), len(own))
    theirs = other.read_text(encoding="utf-8").splitlines()
    widths = [columns(lines) for lines in (own, theirs)]
    common = one.suffix == ".txt" and None not in widths and widths[0] != widths[1]
    if common:
        width = min(width for width in widths if width is not None)
        own, theirs = ([" ".join(line.split(" ")[:width]) for line in lines] for lines in (own, theirs))
    differing = sum(first != second for first, second in zip_longest(own, theirs))
    return FilesCompared(kind, max(len(own), len(theirs)), differing, common)


def columns(lines: Sequence[str]) -> int | None:
    """Return the number of columns of a table; None where lines have several numbers of them."""
    widths = {len(line.split(" ")) for line in lines}
    return widths.pop() if len(widths) == 1 else None


def summed(files: Sequence[FilesCompared]) -> Iterator[FilesCompared]:
    """Yield the files of each kind as one."""
    for name in dict.fromkeys(one.name for one in files):
        own = [one for one in files if one.name == name]
        lines, differing = sum(one.lines for one in own), sum(one.differing for one in own)
        yield FilesCompared(name, lines, differing, any(one.of_common_columns for one in own))


def answers_compared(record: Result, again: Result, family: type[Family]) -> tuple[int, int] | None:
    """Return the number of answered items, and of those with another answer; None where it is not known."""
    items = changed = 0
    for setting in (layer.layer for layer in record.layers):
        try:
            own, other = (items_of_heads(one, setting, family) for one in (record, again))
        except UserError:  # of an earlier version, or a family that keeps none
            return None
        theirs = {(one.head.fold, one.head.seed, one.part): one.items for one in other}
        for one in own:
            found = theirs.get((one.head.fold, one.head.seed, one.part))
            if one.items.answers is None:
                return None
            answers = {} if found is None or found.answers is None else dict(zip(found.ids, found.answers, strict=True))
            items += len(one.items)
            changed += sum(
                answers.get(name) != answer for name, answer in zip(one.items.ids, one.items.answers, strict=True)
            )
    return items, changed
