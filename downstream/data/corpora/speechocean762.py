"""speechocean762: English sentences read by Mandarin speakers, children and adults (Zhang et al., Interspeech 2021)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora.cards import SPEECHOCEAN762 as CARD
from downstream.data.corpora.files import by_name, left_out, shown, sort_out, walk
from downstream.data.corpora.folder import assemble, existing_folder, missing, trial_names
from downstream.data.corpora.genders import gender_of
from downstream.data.corpora.suggestions import ForeignFolderError
from downstream.data.corpus import Corpus, Utterance
from downstream.data.text_files import read_lines
from upstream.errors import UserError

SPLITS = ("train", "test")
TABLES = ("wav.scp", "text", "utt2spk")
TRIAL_LIST = "trials_test.txt"  # not part of the corpus; read if the user made one


@dataclass(frozen=True)
class Tables:
    """The Kaldi tables of one split: recording, transcript and speaker by utterance, gender by speaker."""

    recordings: dict[str, str]
    texts: dict[str, str]
    speakers: dict[str, str]
    genders: dict[str, str]


def read(folder: Path) -> Corpus:
    """Read speechocean762 from the folder that holds WAVE, train and test.

    Ids are paths in the folder, with the suffix on disk (WAVE/SPEAKER0001/000010011.WAV), as in lists of trials. `part`
    and `split` are train or test. `trials` is trials_test.txt if it is there.

    Raises UserError for a folder without such recordings, and for missing tables.
    """
    utterances: list[Utterance] = []
    on_disk, notes = recordings_on_disk(existing_folder(folder))
    if not on_disk:
        raise ForeignFolderError(CARD, folder)
    for split in (split for split in SPLITS if (folder / split).is_dir()):
        tables = read_tables(folder / split)
        rows, unread = split_utterances(folder, split, tables, on_disk)
        utterances += rows
        notes += left_out(unread, f"listed in {split}/wav.scp without a recording, a transcript or a speaker")
    if not utterances:
        raise ForeignFolderError(CARD, folder)
    here = {utterance.id for utterance in utterances}
    notes += left_out(sorted(set(on_disk.values()) - here), "recorded but in neither train nor test")
    trials = folder / TRIAL_LIST if (folder / TRIAL_LIST).is_file() else None
    if trials is not None:
        notes += missing(trial_names(trials) - here, TRIAL_LIST)
    return assemble(CARD, utterances, str(folder), notes, trials=trials)


def recordings_on_disk(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Paths, relative to the folder, of the recordings under WAVE, by that path without its suffix.

    And sentences on other files there.
    """
    place = folder / "WAVE"
    found = sort_out(walk(place) if place.is_dir() else ())
    named = by_name(found.recordings, folder)
    return {name: path.relative_to(folder).as_posix() for name, path in named.items()}, found.notes


def read_tables(folder: Path) -> Tables:
    """Read the tables of one split; raise UserError if a required one is missing."""
    absent = [name for name in TABLES if not (folder / name).is_file()]
    if absent:
        raise UserError(
            f"{folder} has no {shown(absent)}, so it cannot be told what its recordings are; unpack "
            f"{CARD.title} again. {CARD.where}"
        )
    return Tables(*(read_table(folder / name) for name in (*TABLES, "spk2gender")))


def read_table(path: Path) -> dict[str, str]:
    """The values of a Kaldi table ("KEY VALUE ..." a line) by key; empty if there is no table."""
    if not path.is_file():
        return {}
    rows = (line.split(maxsplit=1) for line in read_lines(path) if line.strip())
    return {row[0]: row[1].strip() if len(row) > 1 else "" for row in rows}


def split_utterances(
    folder: Path, split: str, tables: Tables, on_disk: dict[str, str]
) -> tuple[list[Utterance], list[str]]:
    """The utterances of one split, sorted by key, and the keys that lack a recording, transcript or speaker.

    on_disk: from `recordings_on_disk`; a copy may have another suffix than wav.scp names.
    """
    utterances, unread = [], []
    for key, path in sorted(tables.recordings.items()):
        name = on_disk.get(os.path.splitext(path)[0])
        speaker = tables.speakers.get(key)
        if name is None or not speaker or key not in tables.texts:
            unread.append(key)
            continue
        utterances.append(
            Utterance(
                id=name,
                audio=AudioCut(AudioFile(folder / name)),
                speaker=speaker,
                text=tables.texts[key],
                split=split,
                gender=gender_of(tables.genders.get(speaker)),
                part=split,
            )
        )
    return utterances, unread
