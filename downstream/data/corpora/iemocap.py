"""IEMOCAP: pairs of actors in five sessions (Busso et al., 2008), in the four classes of SUPERB."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora.cards import IEMOCAP as CARD
from downstream.data.corpora.files import by_name, files_in, left_out, sort_out
from downstream.data.corpora.folder import assemble, existing_folder
from downstream.data.corpora.genders import gender_of
from downstream.data.corpora.suggestions import ForeignFolderError
from downstream.data.corpus import Corpus, Utterance
from downstream.data.text_files import read_lines
from upstream.text import counted

# SUPERB's classes (s3prl, downstream/emotion): excited counts as happy, every other label is dropped.
EMOTIONS = {"neu": "neutral", "hap": "happy", "exc": "happy", "ang": "angry", "sad": "sad"}

RELEASE_FOLDER = "IEMOCAP_full_release"
# "[6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5000, 2.5000, 2.5000]"
LABEL_LINE = re.compile(r"\[[^\]]*\]\t(?P<id>\w+)\t(?P<label>\w+)\t")
# "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me."
TRANSCRIPT_LINE = re.compile(r"(?P<id>Ses\w+) \[[^\]]*\]:\s*(?P<text>.*)")


def read(folder: Path) -> Corpus:
    """Read IEMOCAP from its release: the folder of Session1 ... Session5, or the one above IEMOCAP_full_release.

    Reads every utterance that has a recording and the label neutral, happy, excited, angry or sad. `group` is its
    session, `speaker` the session and the speaker's gender (Ses01F_impro05_M019 is spoken by Ses01M).

    Raises UserError for a folder without such utterances.
    """
    inside = existing_folder(folder) / RELEASE_FOLDER
    sessions = sorted((inside if inside.is_dir() else folder).glob("Session[1-5]"))
    utterances: list[Utterance] = []
    notes: list[str] = []
    dropped: Counter[str] = Counter()
    for session in sessions:
        labels, texts = read_labels(session), read_texts(session)
        recordings, recording_notes = find_recordings(session)
        wanted = {name: EMOTIONS[label] for name, label in labels.items() if label in EMOTIONS}
        dropped.update(label for label in labels.values() if label not in EMOTIONS)
        utterances += [
            utterance(name, wanted[name], AudioCut(AudioFile(recordings[name])), session.name, texts.get(name))
            for name in sorted(wanted.keys() & recordings.keys())
        ]
        silent, unlabelled = sorted(wanted.keys() - recordings.keys()), sorted(recordings.keys() - labels.keys())
        notes += left_out(silent, f"labelled in {session.name} but without a recording")
        notes += left_out(unlabelled, f"recorded in {session.name} but without a label")
        notes += recording_notes
    if not utterances:
        raise ForeignFolderError(CARD, folder)
    return assemble(CARD, utterances, str(folder), [*dropped_note(dropped), *notes])


def utterance(name: str, emotion: str, audio: AudioCut, session: str, text: str | None) -> Utterance:
    """The utterance with the id `name`, such as Ses01F_impro05_M019."""
    fields = re.fullmatch(CARD.recording, name)
    assert fields is not None, name  # read_labels keeps no other names
    return Utterance(
        id=name,
        audio=audio,
        speaker=fields["session"] + fields["gender"],
        labels={"emotion": emotion},
        text=text,
        group=session,
        gender=gender_of(fields["gender"]),
    )


def read_labels(session: Path) -> dict[str, str]:
    """The label that the annotators agreed on, by utterance id."""
    matches = (LABEL_LINE.match(line) for line in lines(session / "dialog" / "EmoEvaluation"))
    return {m["id"]: m["label"] for m in matches if m is not None and re.fullmatch(CARD.recording, m["id"])}


def read_texts(session: Path) -> dict[str, str]:
    """Transcripts by utterance id; empty if there are no transcriptions."""
    matches = (TRANSCRIPT_LINE.match(line) for line in lines(session / "dialog" / "transcriptions"))
    return {m["id"]: m["text"].strip() for m in matches if m is not None}


def lines(folder: Path) -> Iterator[str]:
    """Every line of a session's text files, without the hidden files of the release (._Ses...)."""
    for path in sorted(folder.glob("Ses*.txt")):
        yield from read_lines(path, tolerant=True)


def find_recordings(session: Path) -> tuple[dict[str, Path], list[str]]:
    """Files of the utterances, cut from their dialogues, by utterance id; and sentences on others."""
    dialogues = sorted(place for place in (session / "sentences" / "wav").glob("*") if place.is_dir())
    found = sort_out(entry for dialogue in dialogues for entry in files_in(dialogue))
    return by_name(path for path in found.recordings if path.name.startswith("Ses")), found.notes


def dropped_note(dropped: Counter[str]) -> list[str]:
    """A sentence on labels that SUPERB's task does not use, if any."""
    if not dropped:
        return []
    kinds = ", ".join(f"{label} {count}" for label, count in sorted(dropped.items()))
    others = "outside SUPERB's four classes"
    one, several = f"utterance with a label {others} was", f"utterances with labels {others} were"
    return [f"{counted(dropped.total(), one, several)} left out ({kinds})."]
