"""What is known of each public corpus before it is read: where it is, how it lies, how much it holds.

This file imports neither torch nor datasets, so that listing the corpora is instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from downstream.corpora.table import Published


@dataclass(frozen=True)
class HubCopy:
    """A public copy of a corpus on the Hugging Face hub, stored as Parquet files.

    repository: "owner/name" of the data set.
    files: glob of the Parquet files that together hold every utterance once.
    names: column of the original file names; None where they stand beside the audio, as its path.
    audio: column of the encoded recordings.
    """

    repository: str
    files: str
    names: str | None = None
    audio: str = "audio"


@dataclass(frozen=True)
class CorpusCard:
    """The description of one corpus.

    name: what the user types after -c.
    where: where to get it, a sentence.
    layout: how its folder must look, a phrase that follows "the folder that holds".
    recording: regular expression of a recording's file name without the suffix, its fields as named groups.
    variable: environment variable that may name its folder in place of --data.
    utterances, speakers, emotions: what the whole corpus holds (`emotions`: utterances of each), None if open-ended.
    counts_from: where those counts are stated.
    hub: a public copy on the hub that can be read in place of a folder.
    """

    name: str
    title: str
    licence: str
    where: str
    layout: str
    recording: str
    variable: str | None = None
    utterances: int | None = None
    speakers: int | None = None
    emotions: Mapping[str, int] = field(default_factory=dict)
    counts_from: str = ""
    hub: HubCopy | None = None

    def published(self) -> Published | None:
        """The counts of the whole corpus in the form a `Corpus` carries; None for an open-ended one."""
        from downstream.corpora.table import Published

        if self.utterances is None or self.speakers is None:
            return None
        return Published(self.utterances, self.speakers, {"emotion": self.emotions}, self.counts_from)

    def size(self) -> str:
        """How much the whole corpus holds, in words."""
        if self.utterances is None or self.speakers is None:
            return "any"
        return f"{self.utterances} utterances, {self.speakers} speakers"

    def how(self) -> str:
        """How to name the data on the command line, in words."""
        ways = ["--data DIR"]
        if self.variable is not None:
            ways.append(self.variable)
        if self.hub is not None:
            ways.append(f"hub: {self.hub.repository}")
        return ", or ".join(ways)


IEMOCAP = CorpusCard(
    name="iemocap",
    title="IEMOCAP (SUPERB's four classes)",
    licence="by request; research use",
    where="It is given out on request: ask at https://sail.usc.edu/iemocap.",
    layout="Session1 ... Session5, each with dialog/EmoEvaluation/*.txt and sentences/wav/DIALOGUE/UTTERANCE.wav",
    recording=r"(?P<session>Ses\d\d)[FM]_\w+_(?P<gender>[FM])\w*",
    variable="WAVPROBE_IEMOCAP",
    utterances=5531,
    speakers=10,
    emotions={"neutral": 1708, "happy": 1636, "angry": 1103, "sad": 1084},
    counts_from="SUPERB's emotion recognition task (s3prl, downstream/emotion)",
)

CREMA_D = CorpusCard(
    name="crema_d",
    title="CREMA-D",
    licence="Open Database License 1.0",
    where="Clone it from https://github.com/CheyneyComputerScience/CREMA-D (needs git-lfs).",
    layout="AudioWAV/1001_DFA_ANG_XX.wav and so on (VideoDemographics.csv beside AudioWAV is read too)",
    # One file of the published corpus, 1040_ITH_SAD_X.wav, has a single letter in its last field.
    recording=r"(?P<speaker>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<intensity>[A-Z]{1,2})",
    variable="WAVPROBE_CREMA_D",
    utterances=7442,
    speakers=91,
    emotions={"angry": 1271, "disgust": 1271, "fearful": 1271, "happy": 1271, "neutral": 1087, "sad": 1271},
    counts_from="Cao et al., IEEE Transactions on Affective Computing 5(4), 2014; labels from the file names",
    hub=HubCopy("confit/cremad-parquet", files="data/*.parquet", names="file"),
)

RAVDESS = CorpusCard(
    name="ravdess",
    title="RAVDESS (speech)",
    licence="CC BY-NC-SA 4.0 (non-commercial)",
    where="Get Audio_Speech_Actors_01-24.zip from https://doi.org/10.5281/zenodo.1188976.",
    layout="Actor_01 ... Actor_24 with 03-01-01-01-01-01-01.wav and so on (or Audio_Speech_Actors_01-24 with these)",
    recording=(
        r"(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<emotion>\d\d)-(?P<intensity>\d\d)"
        r"-(?P<statement>\d\d)-(?P<repetition>\d\d)-(?P<actor>\d\d)"
    ),
    variable="WAVPROBE_RAVDESS",
    utterances=1440,
    speakers=24,
    emotions={
        "neutral": 96,
        "calm": 192,
        "happy": 192,
        "sad": 192,
        "angry": 192,
        "fearful": 192,
        "disgust": 192,
        "surprised": 192,
    },
    counts_from="Livingstone and Russo, PLoS ONE 13(5): e0196391, 2018",
    # Each of the copy's five configurations (fold1 ... fold5) holds the whole corpus, cut differently.
    hub=HubCopy("confit/ravdess-parquet", files="fold1/*.parquet", names="file"),
)

EMODB = CorpusCard(
    name="emodb",
    title="EmoDB",
    licence="free of charge, the authors ask to be cited",
    where="Get it from http://emodb.bilderbar.info/download/.",
    layout="wav/03a01Fa.wav and so on",
    recording=r"(?P<speaker>03|08|09|1[0-6])(?P<sentence>[ab]\d\d)(?P<emotion>[WLEAFTN])(?P<version>[a-z]?)",
    variable="WAVPROBE_EMODB",
    utterances=535,
    speakers=10,
    emotions={"angry": 127, "bored": 81, "disgust": 46, "fearful": 69, "happy": 71, "neutral": 79, "sad": 62},
    counts_from="Burkhardt et al., Interspeech 2005, and the files of its release",
    hub=HubCopy("renumics/emodb", files="data/*.parquet"),
)

MANIFEST = CorpusCard(
    name="manifest",
    title="recordings with a manifest.csv",
    licence="as its owner states",
    where="It describes recordings of your own.",
    layout="manifest.csv, whose columns are path, speaker, label, text and optionally id, split, start, duration, "
    "gender, group",
    recording=r"(?!)",  # matches nothing: a manifest is recognised by its file, not by names
)

DEMO = CorpusCard(
    name="demo",
    title="Synthetic demo speech (espeak-ng)",
    licence="made on this machine by espeak-ng; nothing is distributed",
    where="It is made when it is asked for.",
    layout="nothing: it reads no folder",
    recording=r"(?!)",
    utterances=384,
    speakers=16,
    counts_from="downstream/corpora/demo.py",
)

CARDS = (DEMO, IEMOCAP, CREMA_D, RAVDESS, EMODB, MANIFEST)
