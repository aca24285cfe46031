"""Names of columns and rows, as short as they can be told apart by."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from downstream.leaderboards.board import Column, Row, Section
from downstream.report import flat, layer_words, recipes_layer, settings_named
from downstream.results import short_name
from upstream.text import one_line

T = TypeVar("T")
SHOWN_DIGEST = 8  # letters


@dataclass(frozen=True)
class ColumnLabel:
    """The words over a column.

    corpus: "" where nothing was run. reads: "best layer" where the recipe reads that in place of the weighted sum.
    marks: what sets the column apart from the recipe as it is: settings, version.
    """

    task: str
    metric: str
    corpus: str
    reads: str
    marks: tuple[str, ...]
    is_synthetic: bool

    @property
    def text(self) -> str:
        """All of it in one line, without the metric."""
        return "; ".join(filter(None, (self.task, self.corpus, *self.marks)))


@dataclass(frozen=True)
class RowLabel:
    """The words before a row; marks: untrained, precision, layer, and a digest where two have the same name."""

    name: str
    marks: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it in one line."""
        return ", ".join((self.name, *self.marks))


def column_labels(section: Section) -> dict[Column, ColumnLabel]:
    """Return the words over each column; those that would read alike say in which setting, or corpus, they differ."""
    labels = {column: label_of(column) for column in section.columns}
    for alike in groups_of(section.columns, lambda column: (labels[column].text, labels[column].metric)):
        for column, more in zip(alike, told_apart(alike), strict=True):
            labels[column] = replace(labels[column], marks=(*labels[column].marks, *more))
    return labels


def label_of(column: Column) -> ColumnLabel:
    """Return the words over a column by itself."""
    if column.first is None or column.question is None:
        return ColumnLabel(column.task, published_metric(column.metric), "", "", (), False)
    result = column.first
    metric, corpus = result.metric_types[column.metric], result.corpus
    marks = list(map(one_line, settings_named(result)))
    own = recipes_layer(result)
    return ColumnLabel(
        one_line(column.task),
        one_line(metric.heading),
        one_line(corpus.title),
        "" if own is None else layer_words(own),
        tuple(marks),
        corpus.synthetic,
    )


def told_apart(columns: Sequence[Column]) -> list[tuple[str, ...]]:
    """Return for each of several columns that read alike what sets it apart."""
    questions = [column.question for column in columns if column.question is not None]
    if len(questions) < len(columns):
        return [() for _ in columns]
    found: list[list[str]] = [[] for _ in questions]

    def add(values: Sequence[Hashable], words: Sequence[str]) -> None:
        if len(set(values)) > 1:
            for more, word in zip(found, words, strict=True):
                more.append(word)

    versions = [one.version for one in questions]
    add(versions, [f"version {version}" for version in versions])
    corpora = [one.fingerprint for one in questions]
    add(corpora, [f"corpus {digest[:SHOWN_DIGEST]}" for digest in corpora])
    parts = [one.part for one in questions]
    add(parts, [f"part {one_line(part)}" for part in parts])
    settings = [flat(one.settings) for one in questions]
    for key in sorted(set().union(*settings)):
        values = [one.get(key, "absent") for one in settings]
        add(values, [one_line(f"{key}={value}") for value in values])
    return [tuple(more) for more in found]


def published_metric(name: str) -> str:
    """Return the title of a metric that no record here has."""
    short = {"per", "wer", "cer", "eer", "der", "mtwv"}
    words = [word.upper() if word in {*short, "lm"} else word for word in name.split("_")]
    return " ".join(words).replace("f1", "F1")


def row_labels(section: Section) -> dict[Row, RowLabel]:
    """Return the words before each row; those that would read alike have a digest of their states."""
    labels = {row: RowLabel(short_name(row.name), row.asked.marks if row.asked else ()) for row in section.rows}
    for alike in groups_of(section.rows, lambda row: labels[row].text):
        for row in alike:
            old, digest = labels[row], row.first.upstream.fingerprint[:SHOWN_DIGEST] if row.first else "published"
            labels[row] = RowLabel(old.name, (*old.marks, digest))
    return labels


def groups_of(values: Sequence[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Return the values that share a key, where there is more than one."""
    found: dict[Hashable, list[T]] = {}
    for value in values:
        found.setdefault(key(value), []).append(value)
    return [group for group in found.values() if len(group) > 1]
