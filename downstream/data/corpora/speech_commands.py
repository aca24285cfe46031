"""Speech Commands: single English words of one second, in two versions (Warden, arXiv 1804.03209)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora.cards import SPEECH_COMMANDS_V1, SPEECH_COMMANDS_V2, WORDS_V1, WORDS_V2, CorpusCard
from downstream.data.corpora.files import Sorted, files_in, left_out, shown, sort_out
from downstream.data.corpora.folder import assemble, existing_folder, missing
from downstream.data.corpora.suggestions import ForeignFolderError
from downstream.data.corpus import Corpus, Utterance
from downstream.data.text_files import read_lines
from upstream.errors import UserError

VERSIONS = {SPEECH_COMMANDS_V1.name: "v0.01", SPEECH_COMMANDS_V2.name: "v0.02"}
WORDS = {SPEECH_COMMANDS_V1.name: WORDS_V1, SPEECH_COMMANDS_V2.name: WORDS_V2}

NOISE = "_background_noise_"
SILENCE, UNKNOWN = "_silence_", "_unknown_"  # folders of the test archive; the first holds noise
TEST_FOLDERS = (*WORDS_V1[:10], SILENCE, UNKNOWN)  # the ten commands, and two classes
MAIN, TEST_ARCHIVE = "main", "test archive"
LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}

# "6526afd1_nohash_0"; in the test archive's _unknown_ the word comes first: "backward_6526afd1_nohash_0".
CLIP = re.compile(r"(?:[a-z]+_)?(?P<speaker>[0-9a-f]+)_nohash_\d+")


def read_v1(folder: Path) -> Corpus:
    """Read version 0.01; see `read`."""
    return read(folder, SPEECH_COMMANDS_V1)


def read_v2(folder: Path) -> Corpus:
    """Read version 0.02; see `read`."""
    return read(folder, SPEECH_COMMANDS_V2)


def read(folder: Path, card: CorpusCard = SPEECH_COMMANDS_V1) -> Corpus:
    """Read Speech Commands from the folder of the words, or the one above speech_commands_v0.0N.

    The label `word` is the folder's name. The two official lists split the clips of words; noise recordings and the
    clips of the separate test archive (speech_commands_test_set_v0.0N in the folder, or beside the words) belong to
    no published split. `part` is "main" or "test archive". `speech` is False for noise and for the archive's
    _silence_.

    Raises UserError for a folder without clips, and for one of another version.
    """
    version = VERSIONS[card.name]
    inside = existing_folder(folder) / f"speech_commands_{version}"
    root = inside if inside.is_dir() else folder
    refuse_other_data(root, card)
    words, notes = read_words(root, WORDS[card.name])
    if not words:
        raise ForeignFolderError(card, folder)
    words, list_notes = divided(words, root)
    noise, noise_notes = read_noise(root)
    archive = find_archive(folder, root, f"speech_commands_test_set_{version}")
    tested, archive_notes = read_archive(archive, version)
    notes += [*noise_notes, *list_notes, *folder_notes(root, card, archive), *archive_notes]
    return assemble(card, [*words, *noise, *tested], str(folder), notes)


def refuse_other_data(root: Path, card: CorpusCard) -> None:
    """Raise UserError for the test archive in place of the words, and for words that only version 0.02 has."""
    if (root / UNKNOWN).is_dir():
        raise UserError(
            f"{root} is the separate test archive of {card.title}; give --data a folder that holds it and "
            f"speech_commands_{VERSIONS[card.name]} side by side. {card.where}"
        )
    later = [word for word in WORDS_V2 if word not in WORDS[card.name] and (root / word).is_dir()]
    if later:
        raise UserError(
            f"{root} holds the words {', '.join(later)}, which {card.title} does not have: this looks like "
            f"{SPEECH_COMMANDS_V2.title}; add -c {SPEECH_COMMANDS_V2.name}."
        )


def read_words(root: Path, words: Iterable[str]) -> tuple[list[Utterance], list[str]]:
    """The clips in the folders of the words, and a sentence on files with other names."""
    clips, others = [], []
    found = recordings_in(root, sorted(words))
    for file in found.recordings:
        word, name = file.parent.name, CLIP.fullmatch(file.stem)
        if name is None:
            others.append(f"{word}/{file.name}")
        else:
            clips.append(clip(f"{word}/{file.stem}", file, word, MAIN, name["speaker"]))
    return clips, [*left_out(others, "not named as in Speech Commands (6526afd1_nohash_0)"), *found.notes]


def divided(clips: list[Utterance], root: Path) -> tuple[list[Utterance], list[str]]:
    """The clips with their official split, and sentences on missing lists and on listed clips that are not here.

    Where no clip of the test's list is here, the split is not known either: all words would train, and noise alone be
    the test. Raises UserError for clips in both lists.
    """
    absent = [name for name in LISTS.values() if not (root / name).is_file()]
    if absent:
        return clips, [f"There is no {' and no '.join(absent)} in {root}: the clips' official split is not known."]
    listed = {split: read_official_list(root / name) for split, name in LISTS.items()}
    both = sorted(set.intersection(*listed.values()))
    if both:
        raise UserError(
            f"{' and '.join(LISTS.values())} in {root} both name {shown(both)}: a clip is in one part alone. Get the "
            "lists again, from the archive that the words came in."
        )
    split_of = {name: split for split, names in listed.items() for name in names}
    here = {utterance.id for utterance in clips}
    if not listed["test"] & here:
        found = f" ({shown(sorted(listed['test']))})" if listed["test"] else ""
        return clips, [
            f"None of the {len(listed['test'])} clips that {LISTS['test']} names{found} is here, where they are named "
            f"{shown(sorted(here)[:1])}: the clips' official split is not known."
        ]
    notes = [note for split, names in listed.items() for note in missing(names - here, LISTS[split])]
    return [replace(utterance, split=split_of.get(utterance.id, "train")) for utterance in clips], notes


def read_official_list(path: Path) -> set[str]:
    """Ids of the clips in an official list ("bed/6526afd1_nohash_0.wav" a line; the suffix on disk may differ).

    Slashes may be Windows's, and further folders may stand before the word's.
    """
    paths = (line.strip().replace("\\", "/") for line in read_lines(path) if line.strip())
    return {"/".join(os.path.splitext(name)[0].split("/")[-2:]) for name in paths}


def read_noise(root: Path) -> tuple[list[Utterance], list[str]]:
    """The long noise recordings, and sentences on what is no recording."""
    found = recordings_in(root, [NOISE])
    return [clip(f"{NOISE}/{file.stem}", file, NOISE, MAIN, None) for file in found.recordings], found.notes


def find_archive(folder: Path, root: Path, name: str) -> Path | None:
    """The folder of the separate test archive: in `folder`, in that of the words, or beside that."""
    places = (folder / name, root / name, root.resolve().parent / name)
    return next((place for place in places if place.is_dir()), None)


def read_archive(archive: Path | None, version: str) -> tuple[list[Utterance], list[str]]:
    """The clips of the separate test archive, and a sentence if it or one of its folders is missing."""
    if archive is None:
        return [], [f"The separate test archive (speech_commands_test_set_{version}) is not here."]
    clips = []
    found = recordings_in(archive, TEST_FOLDERS)
    for file in found.recordings:
        label, name = file.parent.name, CLIP.fullmatch(file.stem)
        speaker = None if label == SILENCE else "" if name is None else name["speaker"]
        clips.append(clip(f"test_set/{label}/{file.stem}", file, label, TEST_ARCHIVE, speaker))
    absent = [label for label in TEST_FOLDERS if not (archive / label).is_dir()]
    return clips, [*found.notes, *([f"The test archive has no folder {', '.join(absent)}."] if absent else [])]


def clip(name: str, file: Path, word: str, part: str, speaker: str | None) -> Utterance:
    """One recording, without its official split; `speaker` is None for noise, "" if not known."""
    return Utterance(
        id=name,
        audio=AudioCut(AudioFile(file)),
        speaker=speaker or "",
        labels={"word": word},
        part=part,
        speech=speaker is not None,
    )


def recordings_in(root: Path, folders: Iterable[str]) -> Sorted:
    """The audio files directly in some folders of `root`, and sentences on others."""
    return sort_out(entry for name in folders for entry in files_in(root / name))


def folder_notes(root: Path, card: CorpusCard, archive: Path | None) -> list[str]:
    """Sentences on folders that were not read, and on signs of the earlier version."""
    words = WORDS[card.name]
    known = {*words, NOISE, "" if archive is None else archive.name}
    others = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name not in known)
    notes = [f"Folders that are no word of {card.title} were not read: {', '.join(others)}."] if others else []
    added = [word for word in words if word not in WORDS_V1]
    if added and not any((root / word).is_dir() for word in added):
        notes.append(
            f"None of the words that {card.title} added ({', '.join(added)}) is here: this may be "
            f"{SPEECH_COMMANDS_V1.title} (-c {SPEECH_COMMANDS_V1.name})."
        )
    return notes
