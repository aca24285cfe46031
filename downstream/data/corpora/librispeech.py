"""LibriSpeech: read English audio books in seven subsets (Panayotov et al., ICASSP 2015)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from downstream.data.audio import AUDIO_SUFFIXES, AudioCut, AudioFile
from downstream.data.corpora.cards import LIBRISPEECH as CARD
from downstream.data.corpora.folder import assemble, existing_folder, foreign_folder, gender_of, left_out
from downstream.data.corpus import Corpus, Utterance
from upstream.errors import UserError

CORPUS_FOLDER = "LibriSpeech"
SPEAKER_TABLE = "SPEAKERS.TXT"
TRANSCRIPTS = ".trans.txt"


@dataclass
class Subset:
    """Content of one subset's folder: recordings and transcripts by utterance id, and other audio files."""

    recordings: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


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
        notes += left_out(sorted(subset.others), f"not named as in {CARD.title} (26-495-0004)")
    if recordings and not utterances:
        raise UserError(
            f"None of the {recordings} recordings in {root} has a transcript; each chapter's folder must hold a file "
            f"such as 26-495{TRANSCRIPTS}. Unpack the archives again: {CARD.where}"
        )
    if not utterances:
        raise foreign_folder(CARD, folder)
    if not genders:
        notes.append(f"There is no {SPEAKER_TABLE} beside the subsets: the readers' genders are not known.")
    return assemble(CARD, utterances, str(folder), notes)


def utterance(stem: str, audio: AudioCut) -> Utterance | None:
    """The utterance of a file name (without suffix), without text and part; None if it is not LibriSpeech's."""
    fields = re.fullmatch(CARD.recording, stem)
    return None if fields is None else Utterance(id=stem, audio=audio, speaker=fields["speaker"])


def read_subset(folder: Path) -> Subset:
    """Read the recordings and transcripts under a subset's folder, in one pass."""
    subset = Subset()
    for parent, _, names in os.walk(folder):
        for name in names:
            stem, suffix = os.path.splitext(name)
            if name.endswith(TRANSCRIPTS):
                subset.texts.update(read_transcripts(Path(parent) / name))
            elif suffix.lower() in AUDIO_SUFFIXES and re.fullmatch(CARD.recording, stem):
                subset.recordings[stem] = Path(parent) / name
            elif suffix.lower() in AUDIO_SUFFIXES:
                subset.others.append(name)
    return subset


def read_transcripts(path: Path) -> dict[str, str]:
    """Transcripts of one chapter by utterance id ("26-495-0004 THE WORDS" a line); other lines are skipped."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = (line.partition(" ") for line in lines)
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
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = ([cell.strip() for cell in line.split("|")] for line in lines if not line.startswith(";"))
    genders = {row[0]: gender_of(row[1]) for row in rows if len(row) > 1}
    return {reader: gender for reader, gender in genders.items() if gender is not None}
