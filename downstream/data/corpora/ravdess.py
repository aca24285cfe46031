"""RAVDESS: eight acted emotions, two sentences, 24 actors (Livingstone and Russo, 2018); audio of speech only."""

from __future__ import annotations

import re
from pathlib import Path

from downstream.data.audio import AudioCut
from downstream.data.corpora.cards import RAVDESS as CARD
from downstream.data.corpora.files import files_in
from downstream.data.corpora.folder import assemble, existing_folder, read_recordings
from downstream.data.corpora.suggestions import ForeignFolderError
from downstream.data.corpus import Corpus, Utterance

# The fields of a file name and their codes, from the corpus's description (doi.org/10.5281/zenodo.1188976).
AUDIO_ONLY, SPEECH = "03", "01"
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

SPEECH_FOLDER = "[Aa]udio_[Ss]peech_[Aa]ctors_01-24"  # copies differ in case
SAME_RECORDING = {"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"}


def read(folder: Path) -> Corpus:
    """Read RAVDESS from a folder of Actor_NN folders, or from one that holds Audio_Speech_Actors_01-24.

    Song, video and files with other names are left out, with a note.

    Raises UserError for a folder without RAVDESS speech.
    """
    places = speech_places(existing_folder(folder))
    files = [file for actor in places[0] for file in files_in(actor)] if places else []
    utterances, notes = read_recordings(files, utterance, "RAVDESS speech (03-01-...)")
    if not utterances:
        raise ForeignFolderError(CARD, folder)
    if len(places) > 1:
        notes.append(f"{places[1][0].parent} holds actors too; only {places[0][0].parent} was read.")
    return assemble(CARD, utterances, str(folder), [*notes, *duplicate_note(utterances)])


def speech_places(folder: Path) -> list[list[Path]]:
    """The Actor_NN folders in each possible place: `folder`, its speech folder, and those one level down."""
    places = (folder, *sorted(folder.glob(SPEECH_FOLDER)), *sorted(folder.glob(f"*/{SPEECH_FOLDER}")))
    actors = [sorted(place.glob("Actor_[0-9][0-9]")) for place in places]
    return [found for found in actors if found]


def utterance(stem: str, audio: AudioCut) -> Utterance | None:
    """The utterance of a file name (without suffix); None if it is not RAVDESS speech."""
    fields = re.fullmatch(CARD.recording, stem)
    if fields is None or (fields["modality"], fields["channel"]) != (AUDIO_ONLY, SPEECH):
        return None
    if fields["emotion"] not in EMOTIONS or fields["statement"] not in STATEMENTS:
        return None
    return Utterance(
        id=stem,
        audio=audio,
        speaker=fields["actor"],
        labels={
            "emotion": EMOTIONS[fields["emotion"]],
            "intensity": INTENSITIES.get(fields["intensity"], fields["intensity"]),
            "statement": fields["statement"],
        },
        text=STATEMENTS[fields["statement"]],
        gender="male" if int(fields["actor"]) % 2 else "female",
    )


def duplicate_note(utterances: list[Utterance]) -> list[str]:
    """A sentence if both files of the recording that was published twice are here."""
    if not {u.id for u in utterances} >= SAME_RECORDING:
        return []
    first, second = sorted(SAME_RECORDING)
    return [f"The published corpus holds one recording twice, {first} and {second}; both were kept."]
