"""VoxCeleb1: celebrities in interviews, 1,251 speakers (Nagrani et al., Interspeech 2017)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora.cards import VOXCELEB1 as CARD
from downstream.data.corpora.files import Entry, files_in, folders_in, left_out, sort_out
from downstream.data.corpora.folder import assemble, existing_folder, missing, trial_names
from downstream.data.corpora.genders import genders_in
from downstream.data.corpora.suggestions import ForeignFolderError
from downstream.data.corpus import Corpus, Utterance

SPLIT_OF_PART = {"dev": "train", "test": "test"}  # verification trains on the corpus's "dev"
META = "vox1_meta.csv"

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
    genders = genders_in(folder / META, "VoxCeleb1 ID", "Gender")
    utterances: list[Utterance] = []
    notes: list[str] = []
    for part, place in places:
        found = sort_out(files_by_speaker(place))
        others = [name_of(path) for path in found.others]
        for path in found.recordings:
            row = utterance(path, part, tested, genders)
            if row is None:
                others.append(name_of(path))
            else:
                utterances.append(row)
        notes += left_out(sorted(others), "not audio named as in VoxCeleb1 (id10270/x6uYqmx31kE/00001.wav)")
        notes += found.notes
    if not utterances:
        raise ForeignFolderError(CARD, folder)
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


def files_by_speaker(place: Path) -> Iterator[Entry]:
    """Every file two levels below `place`, sorted; folders may be links."""
    for speaker in folders_in(place):
        if speaker.name.startswith("id1"):
            for video in folders_in(speaker):
                yield from files_in(video)


def name_of(path: Path) -> str:
    """SPEAKER/VIDEO/FILE of a recording."""
    return "/".join(path.parts[-3:])


def utterance(path: Path, part: str | None, tested: frozenset[str], genders: dict[str, str]) -> Utterance | None:
    """The utterance of one recording; None if its name is not one of VoxCeleb1's.

    part: the part whose folder the file is in; None to derive it from the speaker.
    tested: speakers of the test part.
    """
    stem = name_of(path.with_suffix(""))
    fields = re.fullmatch(CARD.recording, stem)
    if fields is None:
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


def trials_notes(trials: Path | None, named: set[str], utterances: Sequence[Utterance]) -> list[str]:
    """Sentences if SUPERB's trials are not here, or name recordings that are not here."""
    if trials is None:
        return [f"There is no list of trials ({', '.join(TRIAL_LISTS)}) in the folder."]
    absent = missing(named - {utterance.id for utterance in utterances}, trials.name)
    if trials.name == TRIAL_LISTS[0]:
        return absent
    return [f"The trials are those of {trials.name}; SUPERB's {TRIAL_LISTS[0]} is not in the folder.", *absent]
