"""EmoDB, the Berlin database of emotional speech: seven acted emotions, ten German sentences, ten actors."""

from __future__ import annotations

import re
from pathlib import Path

from downstream.data.audio import AudioCut
from downstream.data.corpora.cards import EMODB as CARD
from downstream.data.corpora.files import files_in
from downstream.data.corpora.folder import assemble, existing_folder, read_recordings
from downstream.data.corpora.suggestions import ForeignFolderError
from downstream.data.corpus import Corpus, Utterance

# The codes of the file names, from the corpus's description (Burkhardt et al., Interspeech 2005).
EMOTIONS = {
    "W": "angry",  # Wut
    "L": "bored",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fearful",  # Angst
    "F": "happy",  # Freude
    "T": "sad",  # Trauer
    "N": "neutral",
}
SPEAKER_GENDERS = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


def read(folder: Path) -> Corpus:
    """Read EmoDB from the folder that holds wav, or from wav itself.

    Raises UserError for a folder without EmoDB recordings.
    """
    inside = existing_folder(folder) / "wav"
    files = files_in(inside if inside.is_dir() else folder)
    utterances, notes = read_recordings(files, utterance, "in EmoDB (03a01Fa)")
    if not utterances:
        raise ForeignFolderError(CARD, folder)
    return assemble(CARD, utterances, str(folder), notes)


def utterance(stem: str, audio: AudioCut) -> Utterance | None:
    """The utterance of a file name (without suffix); None if it is not one of EmoDB's."""
    fields = re.fullmatch(CARD.recording, stem)
    if fields is None or fields["sentence"] not in SENTENCES:
        return None
    return Utterance(
        id=stem,
        audio=audio,
        speaker=fields["speaker"],
        labels={"emotion": EMOTIONS[fields["emotion"]], "statement": fields["sentence"]},
        text=SENTENCES[fields["sentence"]],
        gender=SPEAKER_GENDERS[fields["speaker"]],
    )
