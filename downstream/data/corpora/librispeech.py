"""LibriSpeech: read English audio books in seven subsets (Panayotov et al., ICASSP 2015)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora.cards import LIBRISPEECH as CARD
from downstream.data.corpora.files import by_name, left_out, names_of, sort_out, walk
from downstream.data.corpora.folder import assemble, existing_folder
from downstream.data.corpora.genders import gender_of
from downstream.data.corpora.suggestions import ForeignFolderError
from downstream.data.corpus import Corpus, Utterance
from downstream.data.text_files import read_lines
from upstream.errors import UserError
from upstream.text import counted

CORPUS_FOLDER = "LibriSpeech"
SPEAKER_TABLE = "SPEAKERS.TXT"
TRANSCRIPTS = ".trans.txt"


@dataclass
class Subset:
    """Content of one subset's folder: recordings and transcripts by utterance id, and sentences on other files."""

    recordings: dict[str, Path]
    texts: dict[str, str]
    notes: list[str]


def read(folder: Path) -> Corpus:
    """Read the subsets of LibriSpeech that are there, from the folder that holds them or the one above LibriSpeech.

    `part` is the subset, `split` the first word of its name. Utterances have both a recording and a transcript. The
    readers' genders come from SPEAKERS.TXT beside the subsets, if it is there.

    Raises UserError for a folder without subsets, and for recordings without any transcript.
    """
    inside = existing_folder(folder) / CORPUS_FOLDER
    root = inside if inside.is_dir() else folder
    genders = read_genders(root / SPEAKER_TABLE)
    utterances: list[Utterance] = []
    notes: list[str] = []
    recordings = 0
    for name in (name for name in CARD.parts if (root / name).is_dir()):
        subset = read_subset(root / name)
        recordings += len(subset.recordings)
        utterances += subset_utterances(name, subset, genders)
        recorded, transcribed = subset.recordings.keys(), subset.texts.keys()
        notes += left_out(sorted(transcribed - recorded), f"transcribed in {name} but without a recording")
        notes += left_out(sorted(recorded - transcribed), f"recorded in {name} but without a transcript")
        notes += subset.notes
    if recordings and not utterances:
        raise UserError(
            f"Of {counted(recordings, 'recording')} in {root} none has a transcript; each chapter's folder must hold "
            f"a file such as 26-495{TRANSCRIPTS}. Unpack the archives again: {CARD.where}"
        )
    if not utterances:
        raise ForeignFolderError(CARD, folder)
    if not genders:
        notes.append(f"There is no {SPEAKER_TABLE} beside the subsets: the readers' genders are not known.")
    return assemble(CARD, utterances, str(folder), notes)


def utterance(stem: str, audio: AudioCut) -> Utterance | None:
    """The utterance of a file name (without suffix), without text and part; None if it is not LibriSpeech's."""
    fields = re.fullmatch(CARD.recording, stem)
    return None if fields is None else Utterance(id=stem, audio=audio, speaker=fields["speaker"])


def read_subset(folder: Path) -> Subset:
    """Read the recordings and transcripts under a subset's folder; folders in it may be links."""
    found = sort_out(walk(folder))
    named = [path for path in found.recordings if re.fullmatch(CARD.recording, path.stem)]
    others = set(found.recordings) - set(named)
    texts: dict[str, str] = {}
    for path in found.others:
        if path.name.endswith(TRANSCRIPTS):
            texts.update(read_transcripts(path))
    notes = left_out(sorted(names_of(others)), f"not named as in {CARD.title} (26-495-0004)")
    return Subset(by_name(named), texts, [*notes, *found.notes])


def read_transcripts(path: Path) -> dict[str, str]:
    """Transcripts of one chapter by utterance id ("26-495-0004 THE WORDS" a line); other lines are skipped."""
    rows = (line.partition(" ") for line in read_lines(path))
    return {name: text.strip() for name, _, text in rows if re.fullmatch(CARD.recording, name)}


def subset_utterances(name: str, subset: Subset, genders: dict[str, str]) -> list[Utterance]:
    """The utterances of a subset, sorted by id."""
    utterances = []
    for stem in sorted(subset.recordings.keys() & subset.texts.keys()):
        row = utterance(stem, AudioCut(AudioFile(subset.recordings[stem])))
        assert row is not None, stem  # read_subset keeps no other names
        split, gender = name.partition("-")[0], genders.get(row.speaker)
        utterances.append(replace(row, text=subset.texts[stem], split=split, part=name, gender=gender))
    return utterances


def read_genders(path: Path) -> dict[str, str]:
    """Gender of each reader from the corpus's table ("26 | M | train-clean-100 | ..."); empty if there is no table."""
    if not path.is_file():
        return {}
    lines = read_lines(path, tolerant=True)
    rows = ([cell.strip() for cell in line.split("|")] for line in lines if not line.startswith(";"))
    genders = {row[0]: gender_of(row[1]) for row in rows if len(row) > 1}
    return {reader: gender for reader, gender in genders.items() if gender is not None}
