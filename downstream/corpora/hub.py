"""A corpus from its copy on the Hugging Face hub: fetched once, decoded by soundfile, row by row."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from downstream.audio import Segment
from downstream.corpora.cards import CorpusCard, HubCopy
from downstream.corpora.folder import Parser, assemble, left_out, shown
from downstream.corpora.table import Corpus, Utterance
from upstream.errors import MendableError


@dataclass(frozen=True, eq=False)
class HubAudio:
    """One recording of a data set; its bytes are fetched from the row when they are read.

    rows: a `datasets.Dataset` whose column `column` is `Audio(decode=False)`.
    """

    rows: Any
    index: int
    column: str
    name: str

    def open(self) -> BinaryIO:
        cell = self.rows[self.index][self.column]
        if cell["bytes"] is None:
            raise MendableError(f"{self.name} holds a reference to a file and no audio; read the corpus with --data.")
        return io.BytesIO(cell["bytes"])


def read(card: CorpusCard, parse: Parser, cache: Path | None = None) -> Corpus:
    """Read the hub's copy of a corpus; the original file names in it say what each recording is.

    parse: the parser of file names of the corpus.
    cache: where `datasets` keeps its tables; None for its own place.

    A split that the copy was given is not used. Raises MendableError where the hub cannot be reached and no
    copy was fetched before, and where the copy is not what it was.
    """
    assert card.hub is not None, card.name
    files, revision = fetch(card)
    rows = open_rows(card.hub, files, cache)
    names = file_names(card.hub, rows)
    utterances, others, repeated = parse_rows(card.hub, rows, names, parse)
    if not utterances:
        raise MendableError(
            f"None of the {len(names)} recordings of {card.hub.repository} is named as in {card.title}; "
            f"found {shown(names) or 'no rows'}. {by_hand(card)}"
        )
    notes = [*left_out(others, f"not named as in {card.title}"), *repeated_note(repeated)]
    if revision is None:
        notes.append(f"The revision of {card.hub.repository} could not be looked up.")
    return assemble(card, utterances, f"hub:{card.hub.repository}", notes, revision)


def fetch(card: CorpusCard) -> tuple[list[Path], str | None]:
    """The Parquet files of a card's copy, from the hub or the cache, and the commit they are of."""
    from huggingface_hub import snapshot_download

    assert card.hub is not None, card.name
    try:
        snapshot = snapshot_download(card.hub.repository, repo_type="dataset", allow_patterns=[card.hub.files])
    except network_errors() as error:
        raise MendableError(
            f"The copy of {card.title} on the hub ({card.hub.repository}) could not be fetched and is not in the "
            f"cache ({type(error).__name__}). {by_hand(card)}"
        ) from error
    files = sorted(Path(snapshot).glob(card.hub.files))
    if not files:
        raise MendableError(f"{card.hub.repository} holds no file {card.hub.files} any more. {by_hand(card)}")
    return files, commit_of(Path(snapshot))


def network_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises. The HTTP library under it differs with its version, so its own errors say which."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(kind for kind in HfHubHTTPError.__mro__ if issubclass(kind, Exception) and kind is not Exception)


def commit_of(snapshot: Path) -> str | None:
    """The commit of a snapshot in the hub's cache, which is its folder's name; None if it is none."""
    name = snapshot.name
    return name if len(name) == 40 and all(digit in "0123456789abcdef" for digit in name) else None


def open_rows(copy: HubCopy, files: list[Path], cache: Path | None) -> Any:
    """The rows of Parquet files as one `datasets.Dataset`, its audio left encoded."""
    from datasets import Audio, Dataset

    rows = Dataset.from_parquet([str(file) for file in files], cache_dir=None if cache is None else str(cache))
    for column in (copy.audio, copy.names):
        if column is not None and column not in rows.column_names:
            raise MendableError(
                f"{copy.repository} has no column {column!r} any more; found {', '.join(rows.column_names)}. "
                "Read the corpus with --data from its published layout."
            )
    return rows.cast_column(copy.audio, Audio(decode=False))


def file_names(copy: HubCopy, rows: Any) -> list[str]:
    """The original file name of every row, read without touching the audio."""
    if copy.names is not None:
        paths = rows[copy.names][:]
    else:
        chunks = rows.data.column(copy.audio).chunks
        paths = [path for chunk in chunks for path in chunk.field("path").to_pylist()]
    return [Path(path or "").name for path in paths]


def parse_rows(
    copy: HubCopy, rows: Any, names: list[str], parse: Parser
) -> tuple[list[Utterance], list[str], Counter[str]]:
    """The utterances in the order of their ids, the names that are none, and how often one came again."""
    utterances: dict[str, Utterance] = {}
    others: list[str] = []
    repeated: Counter[str] = Counter()
    for index, name in enumerate(names):
        audio = HubAudio(rows, index, copy.audio, f"{copy.repository}: {name}")
        utterance = parse(Path(name).stem, Segment(audio))
        if utterance is None:
            others.append(name)
        elif utterance.id in utterances:
            repeated[name] += 1
        else:
            utterances[utterance.id] = utterance
    return [utterances[name] for name in sorted(utterances)], others, repeated


def repeated_note(repeated: Counter[str]) -> list[str]:
    """A sentence on file names that the copy holds more than once, or none."""
    if not repeated:
        return []
    return [f"{repeated.total()} rows repeat a file name and were left out: {shown(sorted(repeated))}."]


def by_hand(card: CorpusCard) -> str:
    """How to get the corpus without the hub."""
    return f"Give --data the folder that holds {card.layout}. {card.where}"
