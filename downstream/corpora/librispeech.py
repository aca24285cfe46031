"""LibriSpeech: read English audio books in seven subsets (Panayotov et al., ICASSP 2015)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from downstream.audio import AudioFile, Segment
from downstream.corpora.cards import LIBRISPEECH as CARD
from downstream.corpora.folder import AUDIO_SUFFIXES, assemble, existing_folder, foreign_folder, left_out
from downstream.corpora.table import Corpus, Utterance
from upstream.errors import MendableError

CORPUS_FOLDER = "LibriSpeech"
SPEAKERS = "SPEAKERS.TXT"
TRANSCRIPTS = ".trans.txt"
GENDERS = {"F": "female", "M": "male"}


@dataclass
class Subset:
    """What lies in the folder of one subset: recordings and transcripts by utterance id, and other audio files."""

    recordings: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def read(folder: Path) -> Corpus:
    """Read those of LibriSpeech's subsets that are there, from the folder of the subsets or one that holds LibriSpeech.

    `part` is the subset, `split` what its name begins with; an utterance has a recording and a transcript. The
    readers' genders come from SPEAKERS.TXT beside the subsets, where it is.

    Raises MendableError for a folder without subsets, and for recordings without any transcript.
    """
    inside = existing_folder(folder) / CORPUS_FOLDER
    root = inside if inside.is_dir() else folder
    genders = read_genders(root / SPEAKERS)
    utterances: list[Utterance] = []
    notes: list[str] = []
    recordings = 0
    for name in (name for name in CARD.parts if (root / name).is_dir()):
        subset = read_subset(root / name)
        recordings += len(subset.recordings)
        utterances += subset_utterances(name, subset, genders)
        silent, untold = subset.texts.keys() - subset.recordings.keys(), subset.recordings.keys() - subset.texts.keys()
        notes += left_out(sorted(silent), f"transcribed in {name} but without a recording")
        notes += left_out(sorted(untold), f"recorded in {name} but without a transcript")
        notes += left_out(sorted(subset.others), f"not named as in {CARD.title} (26-495-0004)")
    if recordings and not utterances:
        raise MendableError(
            f"None of the {recordings} recordings in {root} has a transcript; each chapter's folder must hold a file "
            f"such as 26-495{TRANSCRIPTS}. Unpack the archives again: {CARD.where}"
        )
    if not utterances:
        raise foreign_folder(CARD, folder)
    if not genders:
        notes.append(f"There is no {SPEAKERS} beside the subsets: the readers' genders are not known.")
    return assemble(CARD, utterances, str(folder), notes)


def utterance(stem: str, audio: Segment) -> Utterance | None:
    """The utterance that a file name (without suffix) describes, text and part left open; None if it is none."""
    fields = re.fullmatch(CARD.recording, stem)
    return None if fields is None else Utterance(id=stem, audio=audio, speaker=fields["speaker"])


def read_subset(folder: Path) -> Subset:
    """The recordings and transcripts under the folder of a subset, in one pass over it."""
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
    """The transcript by utterance id of one chapter ("26-495-0004 THE WORDS" a line), other lines passed over."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = (line.partition(" ") for line in lines)
    return {name: text.strip() for name, _, text in rows if re.fullmatch(CARD.recording, name)}


def subset_utterances(name: str, subset: Subset, genders: dict[str, str]) -> list[Utterance]:
    """The utterances of a subset in the order of their ids."""
    utterances = []
    for stem in sorted(subset.recordings.keys() & subset.texts.keys()):
        row = utterance(stem, Segment(AudioFile(subset.recordings[stem])))
        assert row is not None, stem  # read_subset keeps no other names
        split, gender = name.partition("-")[0], genders.get(row.speaker)
        utterances.append(replace(row, text=subset.texts[stem], split=split, part=name, gender=gender))
    return utterances


def read_genders(path: Path) -> dict[str, str]:
    """Gender of each reader by the corpus's table ("26 | M | train-clean-100 | ..."); empty where it is missing."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = ([cell.strip() for cell in line.split("|")] for line in lines if not line.startswith(";"))
    return {row[0]: GENDERS[row[1]] for row in rows if len(row) > 1 and row[1] in GENDERS}
