"""CREMA-D: six acted emotions, twelve sentences, 91 actors (Cao et al., 2014)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from downstream.data.audio import AudioCut
from downstream.data.corpora.cards import CREMA_D as CARD
from downstream.data.corpora.files import files_in
from downstream.data.corpora.folder import assemble, existing_folder, read_recordings
from downstream.data.corpora.genders import genders_in
from downstream.data.corpora.suggestions import ForeignFolderError
from downstream.data.corpus import Corpus, Utterance
from upstream.errors import UserError

# The codes of the file names, from the corpus's README.
EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}
SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}

AUDIO_FOLDER = "AudioWAV"
DEMOGRAPHICS = "VideoDemographics.csv"
LFS_POINTER = b"version https://git-lfs"
SILENT = "1076_MTI_SAD_XX"


def read(folder: Path) -> Corpus:
    """Read CREMA-D from the folder that holds AudioWAV, or from AudioWAV itself.

    The actors' genders come from VideoDemographics.csv beside AudioWAV, if it is there.

    Raises UserError for a folder without CREMA-D recordings, and for one cloned without its audio.
    """
    inside = existing_folder(folder) / AUDIO_FOLDER
    audio_folder = inside if inside.is_dir() else folder
    utterances, notes = read_recordings(files_in(audio_folder), utterance, "in CREMA-D (1001_DFA_ANG_XX)")
    if not utterances:
        raise ForeignFolderError(CARD, folder)
    check_fetched(audio_folder, utterances[0])
    genders = genders_in(audio_folder.resolve().parent / DEMOGRAPHICS, "ActorID", "Sex")
    utterances = [replace(u, gender=genders.get(u.speaker)) for u in utterances]
    if not genders:
        notes.append(f"There is no {DEMOGRAPHICS} beside {AUDIO_FOLDER}: the actors' genders are not known.")
    return assemble(CARD, utterances, str(folder), [*notes, *silence_note(utterances)])


def utterance(stem: str, audio: AudioCut) -> Utterance | None:
    """The utterance of a file name (without suffix); None if it is not one of CREMA-D's."""
    fields = re.fullmatch(CARD.recording, stem)
    if fields is None or fields["emotion"] not in EMOTIONS or fields["sentence"] not in SENTENCES:
        return None
    return Utterance(
        id=stem,
        audio=audio,
        speaker=fields["speaker"],
        labels={
            "emotion": EMOTIONS[fields["emotion"]],
            "intensity": INTENSITIES.get(fields["intensity"], fields["intensity"]),
            "statement": fields["sentence"],
        },
        text=SENTENCES[fields["sentence"]],
    )


def check_fetched(audio_folder: Path, first: Utterance) -> None:
    """Raise UserError if the files are git-lfs pointers (text) instead of recordings."""
    with first.audio.recording.open() as stream:
        beginning = stream.read(len(LFS_POINTER))
    if beginning == LFS_POINTER:
        raise UserError(
            f"The files in {audio_folder} are git-lfs pointers, not audio; "
            "type `git lfs pull` in the clone of CREMA-D to fetch the recordings."
        )


def silence_note(utterances: list[Utterance]) -> list[str]:
    """A sentence if the clip that was published without sound is here."""
    if not any(u.id == SILENT for u in utterances):
        return []
    return [f"{SILENT} has no sound in the published corpus; it was kept."]
