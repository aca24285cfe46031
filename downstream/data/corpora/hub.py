"""Reader of corpora from their copies on the Hugging Face hub; soundfile decodes the audio row by row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from downstream.data.audio import AudioCut
from downstream.data.corpora.cards import CorpusCard, HubCopy, HubPart
from downstream.data.corpora.files import left_out, shown
from downstream.data.corpora.folder import Parser, assemble
from downstream.data.corpora.row_audio import RowAudio
from downstream.data.corpus import Corpus, Utterance
from upstream.errors import UserError
from upstream.foreign import foreign_code
from upstream.text import counted

FETCH_AGAIN = "Remove it from the hub's cache, so that it is fetched again, or give --data the folder of the corpus."


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a copy: original file name, audio, transcript, and the part it belongs to."""

    name: str
    audio: RowAudio
    text: str | None
    part: HubPart


def read(card: CorpusCard, parse: Parser, cache: Path | None = None) -> Corpus:
    """Read the hub's copy of a corpus; labels come from the original file names in it.

    parse: the corpus's parser of file names.
    cache: where `datasets` keeps its tables; None for its default.

    Splits of the copy are used only if the card says so. Raises UserError if the hub cannot be reached and no copy is
    in the cache, and if the copy has changed.
    """
    assert card.hub is not None, card.name
    files, revision = fetch(card)
    with foreign_code(f"Reading the copy of {card.title} in {card.hub.repository}", FETCH_AGAIN):
        rows = [row for part in card.hub.parts for row in rows_of(card.hub, part, files[part], cache)]
    utterances, others, repeated = parse_rows(rows, parse)
    if not utterances:
        found = shown([row.name for row in rows]) or "no rows"
        raise UserError(
            f"None of the {len(rows)} recordings of {card.hub.repository} is named as in {card.title}; found {found}. "
            f"{by_hand(card)}"
        )
    notes = [*left_out(others, f"not named as in {card.title}"), *repeated_note(repeated)]
    if revision is None:
        notes.append(f"The revision of {card.hub.repository} could not be looked up.")
    return assemble(card, utterances, f"hub:{card.hub.repository}", notes, revision)


def fetch(card: CorpusCard) -> tuple[dict[HubPart, list[Path]], str | None]:
    """The Parquet files of each part of a card's copy, from the hub or the cache, and their commit.

    Raises UserError if there is neither a hub nor a copy in the cache, or the copy has other files.
    """
    assert card.hub is not None, card.name
    with foreign_code(f"Fetching {card.hub.repository}", by_hand(card)):
        from huggingface_hub import snapshot_download

        patterns = [part.files for part in card.hub.parts]
        try:
            snapshot = Path(snapshot_download(card.hub.repository, repo_type="dataset", allow_patterns=patterns))
        except network_errors() as error:
            raise UserError(
                f"The copy of {card.title} on the hub ({card.hub.repository}) could not be fetched and is not in the "
                f"cache ({type(error).__name__}). {by_hand(card)}"
            ) from error
    files = {part: sorted(snapshot.glob(part.files)) for part in card.hub.parts}
    absent = [part.files for part, found in files.items() if not found]
    if absent:
        raise UserError(f"{card.hub.repository} holds no file {' or '.join(absent)} any more. {by_hand(card)}")
    return files, commit_of(snapshot)


def network_errors() -> tuple[type[Exception], ...]:
    """Exceptions of the hub's client; derived from its own error, as the HTTP library differs between versions."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(kind for kind in HfHubHTTPError.__mro__ if issubclass(kind, Exception) and kind is not Exception)


def commit_of(snapshot: Path) -> str | None:
    """The commit of a snapshot in the hub's cache, from its folder's name; None if that is not a commit."""
    name = snapshot.name
    return name if len(name) == 40 and all(digit in "0123456789abcdef" for digit in name) else None


def rows_of(copy: HubCopy, part: HubPart, files: list[Path], cache: Path | None) -> list[Row]:
    """The rows of one part, in the order of its files."""
    table = open_table(copy, files, cache)
    names = file_names(copy, table)
    texts = [None] * len(names) if copy.text is None else table[copy.text][:]
    return [
        Row(name, RowAudio(table, index, copy.audio, f"{copy.repository}: {name}", FETCH_AGAIN), text, part)
        for index, (name, text) in enumerate(zip(names, texts, strict=True))
    ]


def open_table(copy: HubCopy, files: list[Path], cache: Path | None) -> Any:
    """Parquet files as one `datasets.Dataset`; audio stays encoded.

    Raises UserError if the copy has no longer the columns of its card.
    """
    from datasets import Audio, Dataset

    table = Dataset.from_parquet([str(file) for file in files], cache_dir=None if cache is None else str(cache))
    for column in (copy.audio, copy.names, copy.text):
        if column is not None and column not in table.column_names:
            raise UserError(
                f"{copy.repository} has no column {column!r} any more; found {', '.join(table.column_names)}. "
                "Read the corpus with --data from its published layout."
            )
    return table.cast_column(copy.audio, Audio(decode=False))


def file_names(copy: HubCopy, table: Any) -> list[str]:
    """The original file name of every row, read without the audio."""
    if copy.names is not None:
        paths = table[copy.names][:]
    else:
        chunks = table.data.column(copy.audio).chunks
        paths = [path for chunk in chunks for path in chunk.field("path").to_pylist()]
    return [Path(path or "").name for path in paths]


def parse_rows(rows: list[Row], parse: Parser) -> tuple[list[Utterance], list[str], Counter[str]]:
    """The utterances sorted by id, the names that are not the corpus's, and how often names were repeated."""
    utterances: dict[str, Utterance] = {}
    others: list[str] = []
    repeated: Counter[str] = Counter()
    for row in rows:
        utterance = parse(Path(row.name).stem, AudioCut(row.audio))
        if utterance is None:
            others.append(row.name)
        elif utterance.id in utterances:
            repeated[row.name] += 1
        else:
            utterances[utterance.id] = with_columns(utterance, row)
    return [utterances[name] for name in sorted(utterances)], others, repeated


def with_columns(utterance: Utterance, row: Row) -> Utterance:
    """The utterance with the row's text, part and split, where the row has them."""
    return replace(
        utterance,
        text=utterance.text if row.text is None else row.text,
        part=row.part.part or utterance.part,
        split=row.part.split or utterance.split,
    )


def repeated_note(repeated: Counter[str]) -> list[str]:
    """A sentence on file names that the copy holds more than once, if any."""
    if not repeated:
        return []
    rows = counted(repeated.total(), "row repeats", "rows repeat")
    return [f"{rows} a file name, left out: {shown(sorted(repeated))}."]


def by_hand(card: CorpusCard) -> str:
    """How to get the corpus without the hub, in words."""
    return f"Give --data the folder that holds {card.layout}. {card.where}"
