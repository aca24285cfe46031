"""segments.csv: timed segments of utterances, one a line, beside a manifest.csv.

    id,start,end,speaker,label,text
    meeting1,0.35,2.10,ann,,good morning
    meeting1,1.90,2.75,bob,,morning

`id` is an utterance's id; in its place `path` may name its recording as the manifest does. `start` and `end` are
seconds within the utterance, also if that is cut from a longer recording. `speaker`, `label` and `text` are optional.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from downstream.data.audio import CUT_TOLERANCE
from downstream.data.corpora.csv_table import read_table, seconds
from downstream.data.corpus import TimedSegment, Utterance
from upstream.errors import UserError
from upstream.nearest import either, nearest

FILE_NAME = "segments.csv"
KEYS = ("id", "path")
COLUMNS = ("start", "end", "speaker", "label", "text")


def read_segments(
    path: Path, utterances: Sequence[Utterance], paths: Mapping[str, Sequence[str]]
) -> dict[str, tuple[TimedSegment, ...]]:
    """The segments in a segments.csv by utterance id, sorted by time.

    utterances: the corpus's, whose ids the lines may name.
    paths: ids of the utterances of each path in the manifest.

    Raises UserError, with the line's number, for unknown utterances, malformed times, and segments that end after
    their utterance (if the manifest gives its duration).
    """
    durations = {u.id: u.audio.duration for u in utterances}
    found: dict[str, list[TimedSegment]] = defaultdict(list)
    for where, row in read_table(path, lambda columns: check_columns(columns, path), numbers=("start", "end")).rows:
        name = segment_owner(row, durations, paths, where)
        segment = timed_segment(row, where)
        duration = durations[name]
        if duration is not None and segment.end > duration + CUT_TOLERANCE:
            raise UserError(
                f"{where}: the segment ends at {segment.end:g} s, but {name!r} lasts {duration:g} s; write seconds "
                "from the start of the utterance, not of its recording."
            )
        found[name].append(segment)
    return {name: tuple(sorted(segments, key=by_time)) for name, segments in found.items()}


def by_time(segment: TimedSegment) -> tuple[float, float, str]:
    """Sort key: start, then end, then speaker."""
    return segment.start, segment.end, segment.speaker


def check_columns(columns: Sequence[str], path: Path) -> None:
    """Raise UserError unless the columns are id or path, start, end and known further ones."""
    found = ", ".join(columns) or "none"
    keys = [key for key in KEYS if key in columns]
    if len(keys) != 1:
        raise UserError(
            f"{path} has {'the columns id and path' if keys else 'no column id'}; found {found}. Its first line must "
            "name the utterance by one of id and path, for instance id,start,end,speaker,label,text."
        )
    absent = [column for column in ("start", "end") if column not in columns]
    if absent:
        raise UserError(
            f"{path} has no column {' and no column '.join(absent)}; found {found}. Write start and end in seconds, "
            "for instance id,start,end,speaker,label,text."
        )
    for column in columns:
        if column not in (*KEYS, *COLUMNS):
            near = nearest(column, COLUMNS)
            raise UserError(
                f"{path} has an unknown column {column!r}; {f'did you mean {either(near)}? ' if near else ''}"
                f"The columns are id or path, {', '.join(COLUMNS)}; rename or remove it."
            )


def segment_owner(
    row: Mapping[str, str], ids: Mapping[str, object], paths: Mapping[str, Sequence[str]], where: str
) -> str:
    """The id of the utterance that a line names; raise UserError if there is none, or more than one."""
    key = "id" if "id" in row else "path"
    cell = row[key]
    if not cell:
        raise UserError(f"{where}: the {key} is empty; name the utterance or remove the line.")
    matches = ([cell] if cell in ids else []) if key == "id" else list(paths.get(cell, ()))
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(
            f"{where}: {len(matches)} utterances are cut from {cell!r}; name one of them in a column id in place of "
            f"path, for instance {matches[0]}."
        )
    near = nearest(cell, ids if key == "id" else paths)
    raise UserError(
        f"{where}: the manifest lists no utterance with the {key} {cell!r}; "
        f"{f'did you mean {either(near)}? ' if near else ''}Fix the {key} or remove the line."
    )


def timed_segment(row: Mapping[str, str], where: str) -> TimedSegment:
    """The segment of one line; raise UserError if its times are missing or malformed."""
    start, end = seconds(row, "start", where), seconds(row, "end", where)
    if start is None or end is None:
        raise UserError(f"{where}: the {'start' if start is None else 'end'} is empty; write seconds, such as 1.25.")
    if start >= end:
        raise UserError(f"{where}: the segment starts at {start:g} s and ends at {end:g} s; the end must be later.")
    return TimedSegment(start, end, *(row.get(column, "") for column in ("speaker", "label", "text")))


def segments_csv(segments: Iterable[tuple[str, TimedSegment]]) -> bytes:
    """The content of a segments.csv with these (utterance id, segment); times are written to the millisecond."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", *COLUMNS])
    for name, segment in segments:
        times = [f"{segment.start:.3f}", f"{segment.end:.3f}"]
        writer.writerow([name, *times, segment.speaker, segment.label, segment.text])
    return text.getvalue().encode()
