"""VoxCeleb1: celebrities in interviews, 1,251 speakers (Nagrani et al., Interspeech 2017)."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from downstream.data.audio import AUDIO_SUFFIXES, AudioCut, AudioFile
from downstream.data.corpora.cards import VOXCELEB1 as CARD
from downstream.data.corpora.folder import (
    assemble,
    existing_folder,
    foreign_folder,
    gender_of,
    left_out,
    missing,
    trial_names,
)
from downstream.data.corpus import Corpus, Utterance
from upstream.errors import UserError

SPLIT_OF_PART = {"dev": "train", "test": "test"}  # verification trains on the corpus's "dev"
META, META_COLUMNS = "vox1_meta.csv", {"VoxCeleb1 ID", "Gender"}

# SUPERB's list first, then the dataset's own list of that size, then its cleaned list of 37,611 trials.
TRIAL_LISTS = ("voxceleb1_test_v2.txt", "veri_test.txt", "veri_test2.txt")
# The 40 speakers of the test part: their names begin with E, so their numbers are consecutive.
TEST_SPEAKERS = frozenset(f"id{number}" for number in range(10270, 10310))


def read(folder: Path) -> Corpus:
    """Read VoxCeleb1 from the folder that holds dev/wav and test/wav, or all speakers in one wav.

    Ids have the form of the trial lists, id10270/x6uYqmx31kE/00001.wav, whatever the suffix on disk. `part` is "dev"
    or "test"; if both were merged into one wav, the test speakers are those of the trial list, or the 40 published
    ones if there is no list. SUPERB's list, voxceleb1_test_v2.txt, is preferred to the dataset's own.

    Raises UserError for a folder without such recordings.
    """
    places = speech_places(existing_folder(folder))
    trials = next((folder / name for name in TRIAL_LISTS if (folder / name).is_file()), None)
    named = set() if trials is None else trial_names(trials)
    tested = frozenset(name.partition("/")[0] for name in named) or TEST_SPEAKERS
    genders = read_genders(folder / META)
    utterances: list[Utterance] = []
    others: list[str] = []
    for part, place in places:
        for name, path in files_by_speaker(place):
            row = utterance(name, Path(path), part, tested, genders)
            if row is None:
                others.append(name)
            else:
                utterances.append(row)
    if not utterances:
        raise foreign_folder(CARD, folder)
    notes = left_out(others, "not audio named as in VoxCeleb1 (id10270/x6uYqmx31kE/00001.wav)")
    if not genders:
        notes.append(f"There is no {META} in the folder: the speakers' genders are not known.")
    notes += trials_notes(trials, named, utterances)
    return assemble(CARD, utterances, str(folder), notes, trials=trials)


def speech_places(folder: Path) -> list[tuple[str | None, Path]]:
    """The (part, folder of speakers) that are there; the part is None if both parts are in one folder."""
    parts = [(part, folder / part / "wav") for part in SPLIT_OF_PART]
    found: list[tuple[str | None, Path]] = [(part, place) for part, place in parts if place.is_dir()]
    merged = folder / "wav"
    return found or [(None, merged if merged.is_dir() else folder)]


def files_by_speaker(place: Path) -> Iterator[tuple[str, str]]:
    """("SPEAKER/VIDEO/FILE", path) of every file two levels below `place`, sorted; folders may be links."""
    for speaker in folders_in(place):
        if speaker.name.startswith("id1"):
            for video in folders_in(speaker):
                for name in sorted(os.listdir(video)):
                    yield f"{speaker.name}/{video.name}/{name}", f"{video.path}/{name}"


def folders_in(folder: os.DirEntry[str] | Path) -> list[os.DirEntry[str]]:
    """The folders in a folder, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name)


def utterance(
    name: str, path: Path, part: str | None, tested: frozenset[str], genders: dict[str, str]
) -> Utterance | None:
    """The utterance of one file; None if its name is not one of VoxCeleb1's.

    name: "SPEAKER/VIDEO/FILE".
    part: the part whose folder the file is in; None to derive it from the speaker.
    tested: speakers of the test part.
    """
    stem, suffix = os.path.splitext(name)
    fields = re.fullmatch(CARD.recording, stem)
    if fields is None or suffix.lower() not in AUDIO_SUFFIXES:
        return None
    speaker = fields["speaker"]
    found_part = part or ("test" if speaker in tested else "dev")
    return Utterance(
        id=f"{stem}.wav",
        audio=AudioCut(AudioFile(path)),
        speaker=speaker,
        split=SPLIT_OF_PART[found_part],
        gender=genders.get(speaker),
        part=found_part,
    )


def read_genders(path: Path) -> dict[str, str]:
    """Gender of each speaker from the dataset's table (separated by tabs); empty if there is no table."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.DictReader(file, delimiter="\t")
        if not set(rows.fieldnames or ()) >= META_COLUMNS:
            raise UserError(
                f"{path} has no columns {' and '.join(sorted(META_COLUMNS))}, separated by tabs; fetch it again or "
                "remove it."
            )
        genders = {row["VoxCeleb1 ID"]: gender_of(row["Gender"]) for row in rows}
    return {speaker: gender for speaker, gender in genders.items() if gender is not None}


def trials_notes(trials: Path | None, named: set[str], utterances: Sequence[Utterance]) -> list[str]:
    """Sentences if SUPERB's trials are not here, or name recordings that are not here."""
    if trials is None:
        return [f"There is no list of trials ({', '.join(TRIAL_LISTS)}) in the folder."]
    absent = missing(named - {utterance.id for utterance in utterances}, trials.name)
    if trials.name == TRIAL_LISTS[0]:
        return absent
    return [f"The trials are those of {trials.name}; SUPERB's {TRIAL_LISTS[0]} is not in the folder.", *absent]
