"""Descriptions of the corpora: source, folder layout, licence and size.

Imports neither torch nor datasets, so that listing the corpora is instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from downstream.data.corpus import PublishedCounts


@dataclass(frozen=True)
class HubPart:
    """Parquet files of a hub copy that hold one part of a corpus, or all of it.

    files: glob of the files, which together hold every utterance of the part once.
    part, split: set on the utterances in them (see `Utterance`); None if the copy's own division is ignored.
    """

    files: str
    part: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class HubCopy:
    """A public copy of a corpus on the Hugging Face hub, stored as Parquet files.

    repository: "owner/name" of the dataset.
    parts: the files that are read; others of the copy are not fetched.
    names: column of the original file names; None if they are the paths in the audio column.
    text: column of the transcripts; None if the copy has none or they follow from the names.
    audio: column of the encoded recordings.
    """

    repository: str
    parts: tuple[HubPart, ...]
    names: str | None = None
    text: str | None = None
    audio: str = "audio"


@dataclass(frozen=True)
class CorpusCard:
    """The description of one corpus.

    name: what the user types after -c.
    where: where to get it, a sentence.
    layout: content of its folder, a phrase that follows "the folder that holds".
    recording: regular expression of a recording's file name without the suffix, its fields as named groups. If file
        names alone are not enough, it begins with the names of the folders above, each followed by a slash.
    depth: folders between its folder and a recording.
    variable: environment variable that may name its folder in place of --data.
    utterances, speakers: size of the whole corpus, None if open-ended.
    labels: utterances of each label in the whole corpus, by label column.
    parts: utterances of each part of the whole corpus (`Utterance.part`), if it has parts.
    counts_from: where those counts are stated.
    hub: a public copy on the hub that can be read in place of a folder.
    reader: "module:function" in this folder that reads its folder; None for `read` in the module of its name.
    """

    name: str
    title: str
    licence: str
    where: str
    layout: str
    recording: str
    depth: int = 1
    variable: str | None = None
    utterances: int | None = None
    speakers: int | None = None
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    counts_from: str = ""
    hub: HubCopy | None = None
    reader: str | None = None

    def published(self) -> PublishedCounts | None:
        """Size of the whole corpus, as `Corpus.published`; None if open-ended."""
        from downstream.data.corpus import PublishedCounts

        if self.utterances is None or self.speakers is None:
            return None
        return PublishedCounts(self.utterances, self.speakers, self.labels, self.counts_from)

    def size(self) -> str:
        """Size of the whole corpus, in words."""
        if self.utterances is None or self.speakers is None:
            return "any"
        parts = f", {len(self.parts)} parts" if self.parts else ""
        return f"{self.utterances} utterances, {self.speakers} speakers{parts}"

    def how(self) -> str:
        """Ways to give its data on the command line, in words."""
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
    depth=4,
    variable="WAVPROBE_IEMOCAP",
    utterances=5531,
    speakers=10,
    labels={"emotion": {"neutral": 1708, "happy": 1636, "angry": 1103, "sad": 1084}},
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
    labels={"emotion": {"angry": 1271, "disgust": 1271, "fearful": 1271, "happy": 1271, "neutral": 1087, "sad": 1271}},
    counts_from="Cao et al., IEEE Transactions on Affective Computing 5(4), 2014; labels from the file names",
    hub=HubCopy("confit/cremad-parquet", (HubPart("data/*.parquet"),), names="file"),
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
    labels={
        "emotion": {
            "neutral": 96,
            "calm": 192,
            "happy": 192,
            "sad": 192,
            "angry": 192,
            "fearful": 192,
            "disgust": 192,
            "surprised": 192,
        }
    },
    counts_from="Livingstone and Russo, PLoS ONE 13(5): e0196391, 2018",
    # Each of the copy's five configurations (fold1 ... fold5) holds the whole corpus, split differently.
    hub=HubCopy("confit/ravdess-parquet", (HubPart("fold1/*.parquet"),), names="file"),
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
    labels={
        "emotion": {"angry": 127, "bored": 81, "disgust": 46, "fearful": 69, "happy": 71, "neutral": 79, "sad": 62}
    },
    counts_from="Burkhardt et al., Interspeech 2005, and the files of its release",
    hub=HubCopy("renumics/emodb", (HubPart("data/*.parquet"),)),
)

LIBRISPEECH = CorpusCard(
    name="librispeech",
    title="LibriSpeech",
    licence="CC BY 4.0",
    where="Get its subsets (train-clean-100.tar.gz and so on) from https://www.openslr.org/12/ into one folder.",
    layout="train-clean-100, dev-clean, test-clean and so on (or LibriSpeech with these), each with "
    "READER/CHAPTER/READER-CHAPTER-0000.flac and READER-CHAPTER.trans.txt",
    recording=r"(?P<speaker>\d+)-(?P<chapter>\d+)-(?P<utterance>\d{4})",
    depth=3,
    variable="WAVPROBE_LIBRISPEECH",
    utterances=292367,
    speakers=2484,
    parts={
        "train-clean-100": 28539,
        "train-clean-360": 104014,
        "train-other-500": 148688,
        "dev-clean": 2703,
        "dev-other": 2864,
        "test-clean": 2620,
        "test-other": 2939,
    },
    counts_from="Panayotov et al., ICASSP 2015 (speakers), and the files of its release (utterances)",
    # The copy holds every subset twice (also under all/); the two large ones would be 56 GB more to fetch.
    hub=HubCopy(
        "openslr/librispeech_asr",
        (
            HubPart("clean/train.100/*.parquet", "train-clean-100", "train"),
            HubPart("clean/validation/*.parquet", "dev-clean", "dev"),
            HubPart("clean/test/*.parquet", "test-clean", "test"),
            HubPart("other/test/*.parquet", "test-other", "test"),
        ),
        names="id",
        text="text",
    ),
)

# Ten commands and twenty auxiliary words (Warden, arXiv 1804.03209), and five that the second version added.
WORDS_V1 = (
    *("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow"),
)
WORDS_V2 = (*WORDS_V1, "backward", "forward", "follow", "learn", "visual")

SPEECH_COMMANDS_V1 = CorpusCard(
    name="speech_commands_v1",
    title="Speech Commands v0.01",
    licence="CC BY 4.0",
    where="Get http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz and, for SUPERB's test, "
    "speech_commands_test_set_v0.01.tar.gz from there, unpacked side by side in folders of these names.",
    layout="WORD/SPEAKER_nohash_0.wav and so on, _background_noise_, validation_list.txt and testing_list.txt "
    "(or speech_commands_v0.01 with these, and speech_commands_test_set_v0.01 beside it)",
    recording=rf"(?P<word>{'|'.join(WORDS_V1)})/(?P<speaker>[0-9a-f]+)_nohash_(?P<take>\d+)",
    variable="WAVPROBE_SPEECH_COMMANDS_V1",
    utterances=64727 + 3081,
    speakers=1881,
    # 64721 clips of words and 6 recordings of noise, and the separate test archive.
    parts={"main": 64727, "test archive": 3081},
    counts_from="Warden, arXiv 1804.03209, and the files of its two archives",
    # No hub: google/speech_commands was a loading script, which `datasets` no longer runs, and its Parquet files could
    # not be looked up.
    reader="speech_commands:read_v1",
)

SPEECH_COMMANDS_V2 = CorpusCard(
    name="speech_commands_v2",
    title="Speech Commands v0.02",
    licence="CC BY 4.0",
    where=SPEECH_COMMANDS_V1.where.replace("v0.01", "v0.02"),
    layout=SPEECH_COMMANDS_V1.layout.replace("v0.01", "v0.02"),
    recording=rf"(?P<word>{'|'.join(WORDS_V2)})/(?P<speaker>[0-9a-f]+)_nohash_(?P<take>\d+)",
    variable="WAVPROBE_SPEECH_COMMANDS_V2",
    utterances=105835 + 4890,
    speakers=2618,
    # 105829 clips of words and 6 recordings of noise, and the separate test archive.
    parts={"main": 105835, "test archive": 4890},
    counts_from="Warden, arXiv 1804.03209, and the files of its two archives",
    reader="speech_commands:read_v2",
)

VOXCELEB1 = CorpusCard(
    name="voxceleb1",
    title="VoxCeleb1",
    licence="by request; CC BY 4.0, videos remain their owners'",
    where="It is given out on request: fill in the form at https://www.robots.ox.ac.uk/~vgg/data/voxceleb/, and lay "
    "SUPERB's trials, voxceleb1_test_v2.txt from https://www.openslr.org/49/, beside dev and test.",
    layout="dev/wav/id10001/VIDEO/00001.wav and so on, test/wav likewise (or both in one wav), and a list of trials",
    recording=r"(?P<speaker>id1\d{4})/(?P<video>[\w-]+)/(?P<clip>\d{5})",
    depth=4,
    variable="WAVPROBE_VOXCELEB1",
    utterances=153516,
    speakers=1251,
    parts={"dev": 148642, "test": 4874},
    counts_from="Nagrani et al., Interspeech 2017, and the data set's page",
)

SPEECHOCEAN762 = CorpusCard(
    name="speechocean762",
    title="speechocean762",
    licence="free for commercial and non-commercial use",
    where="Get it from https://www.openslr.org/101/.",
    layout="WAVE/SPEAKER0001/000010011.WAV and so on, and train and test, each with text, wav.scp, utt2spk and "
    "spk2gender",
    recording=r"SPEAKER(?P<speaker>\d{4})/(?P<utterance>\d{9})",
    depth=2,
    variable="WAVPROBE_SPEECHOCEAN762",
    utterances=5000,
    speakers=250,
    parts={"train": 2500, "test": 2500},
    counts_from="Zhang et al., Interspeech 2021, and the files of its release",
)

MANIFEST_FILE = "manifest.csv"
MANIFEST = CorpusCard(
    name="manifest",
    title="recordings with a manifest.csv",
    licence="as its owner states",
    where="Write one for your own recordings.",
    layout="manifest.csv, whose columns are path, speaker, label, text and optionally id, split, start, end or "
    "duration, channel, gender, group (segments.csv beside it, with id, start, end, is read too), or an audio "
    "folder's metadata.csv or metadata.jsonl",
    recording=r"(?!)",  # matches nothing: a manifest is recognised by its file, not by names
)

FOLDER = CorpusCard(
    name="folder",
    title="recordings in a subfolder for each class",
    licence="as its owner states",
    where="Lay the recordings of each class (or speaker) into a folder of its name.",
    layout="a subfolder for each class (or speaker) with its recordings, and optionally train, dev and test above "
    "these; x.txt beside x.wav is its transcript",
    recording=r"(?!)",
    reader="class_folders:read",
)

TABLE = CorpusCard(
    name="table",
    title="recordings in a table in Python",
    licence="as its owner states",
    where="It is given in Python: downstream.run(recipe, upstream, corpus=TABLE).",
    layout="the recordings whose paths are relative",
    recording=r"(?!)",
)

DEMO = CorpusCard(
    name="demo",
    title="Synthetic demo speech (espeak-ng)",
    licence="made on this machine by espeak-ng; nothing is distributed",
    where="It is made on first use.",
    layout="nothing: it reads no folder",
    recording=r"(?!)",
    utterances=384,
    speakers=16,
    counts_from="downstream/data/corpora/demo.py",
)

CARDS = (
    DEMO,
    IEMOCAP,
    CREMA_D,
    RAVDESS,
    EMODB,
    LIBRISPEECH,
    VOXCELEB1,
    SPEECHOCEAN762,
    SPEECH_COMMANDS_V1,
    SPEECH_COMMANDS_V2,
    MANIFEST,
    FOLDER,
    TABLE,
)
