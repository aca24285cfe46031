"""Corpora: each from a small tree in its published layout, the real ones beside the repository, and copies on a hub."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from places import SHARED_DATA
from trees import message, sound, write

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora import catalog, crema_d, demo, emodb, hub, iemocap, manifest, ravdess
from downstream.data.corpora.cards import CARDS, CREMA_D, DEMO, EMODB, IEMOCAP, RAVDESS, CorpusCard
from downstream.data.corpora.row_audio import RowAudio

needs_ravdess = pytest.mark.skipif(not (SHARED_DATA / "ravdess").is_dir(), reason="no shared RAVDESS")
READERS: list[tuple[ModuleType, CorpusCard]] = [
    (ravdess, RAVDESS),
    (crema_d, CREMA_D),
    (emodb, EMODB),
    (iemocap, IEMOCAP),
]


# RAVDESS


def ravdess_tree(folder: Path) -> Path:
    sound(folder / "Actor_01/03-01-05-02-01-02-01.wav")
    sound(folder / "Actor_02/03-01-02-01-02-01-02.FLAC")
    return folder


@pytest.mark.parametrize("above", ["", "Audio_Speech_Actors_01-24", "RAVDESS/Audio_Speech_Actors_01-24"])
def test_ravdess_fields_wherever_the_actors_lie(tmp_path: Path, above: str) -> None:
    ravdess_tree(tmp_path / above)
    angry, calm = ravdess.read(tmp_path).utterances
    assert (angry.id, angry.speaker, angry.gender) == ("03-01-05-02-01-02-01", "01", "male")
    assert angry.labels == {"emotion": "angry", "intensity": "strong", "statement": "01"}
    assert angry.text == "Kids are talking by the door"
    assert (calm.labels["emotion"], calm.gender) == ("calm", "female")
    assert calm.text == "Dogs are sitting by the door"


def test_ravdess_leaves_out_song_video_and_strangers_and_says_so(tmp_path: Path) -> None:
    ravdess_tree(tmp_path)
    sound(tmp_path / "Actor_01/03-02-05-02-01-02-01.wav")  # song
    write(tmp_path / "Actor_01/01-01-05-02-01-02-01.mp4", "video")
    sound(tmp_path / "Actor_01/03-01-09-02-01-02-01.wav")  # there is no ninth emotion
    sound(tmp_path / "original_samples/Actor_01/03-01-08-01-02-02-01.wav")
    corpus = ravdess.read(tmp_path)
    assert len(corpus.utterances) == 2
    (note,) = corpus.notes
    assert note.startswith("3 files were left out")
    assert "01-01-05-02-01-02-01.mp4" in note


def test_ravdess_reads_one_of_two_copies_and_says_so(tmp_path: Path) -> None:
    ravdess_tree(tmp_path)
    ravdess_tree(tmp_path / "audio_speech_actors_01-24")
    corpus = ravdess.read(tmp_path)
    assert len(corpus.utterances) == 2
    assert "audio_speech_actors_01-24 holds actors too" in corpus.notes[0]


def test_ravdess_names_the_recording_published_twice(tmp_path: Path) -> None:
    sound(tmp_path / "Actor_07/03-01-03-01-02-01-07.wav")
    assert ravdess.read(tmp_path).notes == ()
    sound(tmp_path / "Actor_07/03-01-03-01-02-02-07.wav")
    assert "one recording twice" in ravdess.read(tmp_path).notes[0]


@needs_ravdess
def test_the_real_ravdess_is_whole() -> None:
    corpus = ravdess.read(SHARED_DATA / "ravdess")
    assert corpus.coverage() == "1440 of 1440 published utterances (the whole corpus), 24 of 24 speakers"
    assert Counter(u.labels["emotion"] for u in corpus.utterances) == RAVDESS.labels["emotion"]
    assert Counter(u.gender for u in corpus.utterances) == {"male": 720, "female": 720}
    assert corpus.notes == (
        "The published corpus holds one recording twice, 03-01-03-01-02-01-07 and 03-01-03-01-02-02-07; "
        "both were kept.",
    )
    audio = {u.id: u.audio.load() for u in corpus.utterances if u.id in ravdess.SAME_RECORDING}
    assert torch.equal(*audio.values())


@needs_ravdess
def test_the_real_ravdess_agrees_with_its_manifest() -> None:
    by_layout = {u.id: u for u in ravdess.read(SHARED_DATA / "ravdess").utterances}
    by_manifest = manifest.read(SHARED_DATA / "ravdess").utterances
    assert len(by_manifest) == len(by_layout)
    for row in by_manifest:
        utterance = by_layout[Path(row.id).stem]
        assert row.labels["label"] == utterance.labels["emotion"]
        assert row.labels["intensity"] == utterance.labels["intensity"]
        assert (row.speaker, row.gender) == (utterance.speaker, utterance.gender)
        assert row.text == str(utterance.text).upper()


@needs_ravdess
def test_a_part_of_ravdess_is_accepted_and_its_stereo_decoded() -> None:
    corpus = ravdess.read(SHARED_DATA / "ravdess/original_samples")
    assert corpus.coverage() == "1 of 1440 published utterances (0.1% of the corpus), 1 of 24 speakers"
    (utterance,) = corpus.utterances
    info = soundfile.info(io.BytesIO(utterance.audio.recording.open().read()))
    assert (info.channels, info.samplerate) == (2, 48_000)
    waveform = utterance.audio.load()
    assert waveform.shape == (-(-info.frames // 3),)
    converted = next(u for u in ravdess.read(SHARED_DATA / "ravdess").utterances if u.id == utterance.id).audio.load()
    assert (waveform - converted).square().mean().sqrt() < 0.02 * converted.square().mean().sqrt()


# CREMA-D


def crema_d_tree(folder: Path) -> Path:
    for name in ("1001_DFA_ANG_XX", "1002_IEO_HAP_HI", "1040_ITH_SAD_X"):
        sound(folder / f"AudioWAV/{name}.wav")
    return folder


def test_crema_d_fields(tmp_path: Path) -> None:
    crema_d_tree(tmp_path)
    write(tmp_path / "VideoDemographics.csv", "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,x,y\n1002,21,Female,x,y\n")
    corpus = crema_d.read(tmp_path)
    angry, happy, sad = corpus.utterances
    assert (angry.id, angry.speaker, angry.gender) == ("1001_DFA_ANG_XX", "1001", "male")
    assert angry.labels == {"emotion": "angry", "intensity": "unspecified", "statement": "DFA"}
    assert angry.text == "Don't forget a jacket"
    assert (happy.gender, happy.labels["intensity"], happy.text) == ("female", "high", "It's eleven o'clock")
    assert (sad.gender, sad.labels["intensity"]) == (None, "unspecified")
    assert corpus.notes == ()
    assert corpus.coverage().startswith("3 of 7442 published utterances (0.0% of the corpus), 3 of 91")
    assert [u.id for u in crema_d.read(tmp_path / "AudioWAV").utterances] == [u.id for u in corpus.utterances]
    assert crema_d.read(tmp_path / "AudioWAV").utterances[0].gender == "male"


def test_crema_d_notes(tmp_path: Path) -> None:
    crema_d_tree(tmp_path)
    sound(tmp_path / "AudioWAV/1001_ABC_ANG_XX.wav")
    sound(tmp_path / "AudioWAV/1076_MTI_SAD_XX.wav")
    strange, genders, silent = crema_d.read(tmp_path).notes
    assert strange == "1 file was left out, not named as in CREMA-D (1001_DFA_ANG_XX): 1001_ABC_ANG_XX.wav."
    assert "genders are not known" in genders
    assert "no sound" in silent


def test_crema_d_cloned_without_its_audio(tmp_path: Path) -> None:
    write(tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "git lfs pull" in message(crema_d.read, tmp_path)


def test_crema_d_with_a_strange_table_of_demographics(tmp_path: Path) -> None:
    crema_d_tree(tmp_path)
    write(tmp_path / "VideoDemographics.csv", "Actor;Sex\n1001;Male\n")
    assert "has no columns ActorID and Sex" in message(crema_d.read, tmp_path)


# EmoDB


def test_emodb_fields(tmp_path: Path) -> None:
    names = ["03a01Fa", "08b10Wb", "09a07L", "10b01Ea", "11a02Ac", "12b09Td", "16a05Nb"]
    for name in names:
        sound(tmp_path / f"wav/{name}.wav")
    sound(tmp_path / "wav/99a01Fa.wav")
    corpus = emodb.read(tmp_path)
    emotions = [u.labels["emotion"] for u in corpus.utterances]
    assert emotions == ["happy", "angry", "bored", "disgust", "fearful", "sad", "neutral"]
    assert [u.gender for u in corpus.utterances] == ["male", "female", "female", "male", "male", "male", "female"]
    first = corpus.utterances[0]
    assert (first.speaker, first.labels["statement"]) == ("03", "a01")
    assert first.text == "Der Lappen liegt auf dem Eisschrank."
    assert corpus.notes == ("1 file was left out, not named as in EmoDB (03a01Fa): 99a01Fa.wav.",)
    assert len(emodb.read(tmp_path / "wav").utterances) == len(names)


# IEMOCAP


def iemocap_tree(folder: Path) -> Path:
    labels = {"F000": "neu", "F001": "exc", "M000": "hap", "M001": "ang", "M002": "fru", "F002": "xxx", "F003": "sad"}
    for k in (1, 2):
        session, dialogue = folder / f"Session{k}", f"Ses0{k}F_impro01"
        rows = [f"[6.2901 - 8.2357]\t{dialogue}_{turn}\t{label}\t[2.5, 2.5, 2.5]" for turn, label in labels.items()]
        heading = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        detail = "C-E2:\tNeutral;\t()\n"
        write(session / f"dialog/EmoEvaluation/{dialogue}.txt", heading + f"\n{detail}".join(rows) + "\n")
        for turn in labels:
            sound(session / f"sentences/wav/{dialogue}/{dialogue}_{turn}.wav")
        (session / f"dialog/EmoEvaluation/._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07\xff")
        write(session / f"dialog/transcriptions/{dialogue}.txt", f"{dialogue}_F000 [006.2901-008.2357]: Excuse me.\n")
    return folder


@pytest.mark.parametrize("above", ["", "IEMOCAP_full_release"])
def test_iemocap_in_the_four_classes_of_superb(tmp_path: Path, above: str) -> None:
    iemocap_tree(tmp_path / above)
    corpus = iemocap.read(tmp_path)
    assert corpus.notes == ("4 utterances with labels outside SUPERB's four classes were left out (fru 2, xxx 2).",)
    rows = {u.id: u for u in corpus.utterances}
    assert len(rows) == 10
    assert Counter(u.labels["emotion"] for u in rows.values()) == {"neutral": 2, "happy": 4, "angry": 2, "sad": 2}
    first, spoken_by_him = rows["Ses01F_impro01_F000"], rows["Ses02F_impro01_M001"]
    assert (first.speaker, first.group, first.gender, first.text) == ("Ses01F", "Session1", "female", "Excuse me.")
    assert (spoken_by_him.speaker, spoken_by_him.group, spoken_by_him.gender) == ("Ses02M", "Session2", "male")
    assert (spoken_by_him.labels, spoken_by_him.text) == ({"emotion": "angry"}, None)
    assert corpus.coverage() == "10 of 5531 published utterances (0.2% of the corpus), 4 of 10 speakers"


def test_iemocap_names_with_scenes_and_parts() -> None:
    audio = AudioCut(AudioFile(Path("x.wav")))
    for name, speaker in {
        "Ses03M_script01_1_F004": "Ses03F",
        "Ses05F_impro05_MXX1": "Ses05M",
        "Ses02M_script03_2b_M011": "Ses02M",
    }.items():
        assert iemocap.utterance(name, "sad", audio, "Session", None).speaker == speaker


def test_iemocap_says_what_has_no_recording_or_no_label(tmp_path: Path) -> None:
    iemocap_tree(tmp_path)
    (tmp_path / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F003.wav").unlink()
    sound(tmp_path / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F009.wav")
    corpus = iemocap.read(tmp_path)
    assert len(corpus.utterances) == 9
    assert any("Session1 but without a recording: Ses01F_impro01_F003" in note for note in corpus.notes)
    assert any("Session2 but without a label: Ses02F_impro01_F009" in note for note in corpus.notes)


# Foreign folders, and counts


@pytest.mark.parametrize(("module", "card"), READERS, ids=lambda value: getattr(value, "name", ""))
def test_empty_foreign_and_missing_folders_are_sentences(tmp_path: Path, module: ModuleType, card: CorpusCard) -> None:
    said = message(module.read, tmp_path)
    assert f"There is no {card.title} in {tmp_path}: looked for {card.layout}; the folder is empty." in said
    assert card.where in said
    for name in "edcba":
        write(tmp_path / f"{name}.txt", "")
    assert "found a.txt, b.txt, c.txt and 2 more" in message(module.read, tmp_path)
    assert "does not exist" in message(module.read, tmp_path / "nowhere")
    assert "is a file" in message(module.read, tmp_path / "a.txt")


def test_a_folder_of_another_corpus_is_recognised(tmp_path: Path) -> None:
    ravdess_tree(tmp_path / "r")
    crema_d_tree(tmp_path / "c")
    iemocap_tree(tmp_path / "i")
    sound(tmp_path / "e/wav/03a01Fa.wav")
    assert "This looks like CREMA-D: add -c crema_d." in message(ravdess.read, tmp_path / "c")
    assert "add -c ravdess." in message(emodb.read, tmp_path / "r")
    assert "add -c emodb." in message(iemocap.read, tmp_path / "e")
    assert "add -c iemocap." in message(crema_d.read, tmp_path / "i")
    assert "Files named as in RAVDESS (speech) are there" in message(ravdess.read, tmp_path / "r/Actor_01")
    write(tmp_path / "m/manifest.csv", "path\n")
    assert "add -c manifest" in message(ravdess.read, tmp_path / "m")


def test_more_of_a_label_than_was_published_is_noted(tmp_path: Path) -> None:
    for take in range(EMODB.labels["emotion"]["disgust"] + 1):
        speaker, sentence = sorted(emodb.SPEAKER_GENDERS)[take % 10], sorted(emodb.SENTENCES)[take // 10]
        sound(tmp_path / f"wav/{speaker}{sentence}Ea.wav")
    assert "47 disgust (46)" in emodb.read(tmp_path).notes[0]


def test_cards_are_consistent() -> None:
    for card in CARDS:
        for column in card.labels.values():
            assert sum(column.values()) == card.utterances
        if card.parts:
            assert sum(card.parts.values()) == card.utterances
    assert (DEMO.utterances, DEMO.speakers) == (demo.PUBLISHED.utterances, demo.PUBLISHED.speakers)
    assert sorted(EMODB.labels["emotion"]) == sorted(emodb.EMOTIONS.values())
    assert sorted(CREMA_D.labels["emotion"]) == sorted(crema_d.EMOTIONS.values())
    assert sorted(RAVDESS.labels["emotion"]) == sorted(ravdess.EMOTIONS.values())
    assert set(IEMOCAP.labels["emotion"]) == set(iemocap.EMOTIONS.values())


# Copies on the hub, here as Parquet files that `datasets` writes


def encoded(name: str) -> dict[str, object]:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(480, 0.25), 48_000, format="WAV", subtype="FLOAT")
    return {"bytes": buffer.getvalue(), "path": name}


def parquet(folder: Path, names: list[str], column: str | None) -> None:
    """A shard with audio, an emotion, and the file names in `column` or (None) only beside the audio."""
    from datasets import Audio, Dataset, Features, Value

    columns: dict[str, object] = {"audio": [encoded(name) for name in names], "emotion": ["?"] * len(names)}
    features = {"audio": {"bytes": Value("binary"), "path": Value("string")}, "emotion": Value("string")}
    if column is not None:
        columns[column] = names
        features[column] = Value("string")
    folder.mkdir(parents=True, exist_ok=True)
    rows = Dataset.from_dict(columns, features=Features(features)).cast_column("audio", Audio())
    rows.to_parquet(str(folder / f"{len(list(folder.iterdir()))}.parquet"))


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for a downloaded copy, in a folder named by its commit as in the hub's cache."""
    folder = tmp_path / "snapshots" / ("0123456789" * 4)
    folder.mkdir(parents=True)

    def download(repository: str, repo_type: str, allow_patterns: list[str]) -> str:
        assert repo_type == "dataset"
        assert repository.count("/") == len(allow_patterns) == 1
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return folder


def test_hub_copy_by_its_column_of_file_names(snapshot: Path, tmp_path: Path) -> None:
    speech = ["03-01-05-02-01-02-01.wav", "Actor_02/03-01-02-01-02-01-02.wav"]
    parquet(snapshot / "fold1", speech, "file")
    parquet(snapshot / "fold1", [speech[0], "03-02-05-02-01-02-01.wav", "readme.wav"], "file")
    corpus = hub.read(RAVDESS, ravdess.utterance, tmp_path / "tables")
    assert [u.id for u in corpus.utterances] == ["03-01-02-01-02-01-02", "03-01-05-02-01-02-01"]
    assert (corpus.source, corpus.revision) == ("hub:confit/ravdess-parquet", "0123456789" * 4)
    left, repeated = corpus.notes
    assert left.startswith("2 files were left out")
    assert repeated == "1 row repeats a file name, left out: 03-01-05-02-01-02-01.wav."
    waveform = corpus.utterances[1].audio.load()
    assert waveform.shape == (160,)
    assert torch.allclose(waveform[40:120], torch.tensor(0.25), atol=1e-3)
    assert "confit/ravdess-parquet" in corpus.utterances[1].audio.recording.name


def test_hub_copy_by_the_names_beside_the_audio(snapshot: Path, tmp_path: Path) -> None:
    parquet(snapshot / "data", ["03a01Fa.wav", "16b10Na.wav"], None)
    corpus = hub.read(EMODB, emodb.utterance, tmp_path / "tables")
    assert [u.labels["emotion"] for u in corpus.utterances] == ["happy", "neutral"]
    assert corpus.coverage().startswith("2 of 535 published utterances")


def test_hub_copy_that_changed_is_refused_by_name(snapshot: Path, tmp_path: Path) -> None:
    said = message(hub.read, CREMA_D, crema_d.utterance, tmp_path / "tables")
    assert "holds no file data/*.parquet any more" in said
    parquet(snapshot / "data", ["1001_DFA_ANG_XX.wav"], "filename")
    said = message(hub.read, CREMA_D, crema_d.utterance, tmp_path / "tables")
    assert "no column 'file' any more; found audio, emotion, filename" in said
    (snapshot / "data/0.parquet").unlink()
    parquet(snapshot / "data", ["clip_1.wav"], "file")
    assert "found clip_1.wav" in message(hub.read, CREMA_D, crema_d.utterance, tmp_path / "tables")


def test_hub_copy_without_audio_or_commit(snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(snapshot / "data", ["1001_DFA_ANG_XX.wav"], "file")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot.rename(tmp_path / "copy")))
    corpus = hub.read(CREMA_D, crema_d.utterance, tmp_path / "tables")
    assert corpus.revision is None
    assert "revision of confit/cremad-parquet could not be looked up" in corpus.notes[-1]
    empty = RowAudio([{"audio": {"bytes": None, "path": "x.wav"}}], 0, "audio", "copy: x.wav")
    assert "no audio" in message(empty.open)


def test_whatever_the_hubs_libraries_raise_is_a_sentence(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snapshot / "data").mkdir(parents=True)
    (snapshot / "data/0.parquet").write_bytes(b"<html>no Parquet</html>")
    said = message(hub.read, CREMA_D, crema_d.utterance, tmp_path / "tables")
    assert said.startswith("Reading the copy of CREMA-D in confit/cremad-parquet failed: ")
    assert "give --data the folder of the corpus" in said
    (snapshot / "data/0.parquet").unlink()
    parquet(snapshot / "data", ["1001_DFA_ANG_XX.wav"], "file")
    (recording,) = (u.audio.recording for u in hub.read(CREMA_D, crema_d.utterance, tmp_path / "tables").utterances)
    assert isinstance(recording, RowAudio)
    assert "IndexError" in message(RowAudio(recording.rows, 7, "audio", "copy: x.wav").open)

    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("the cache is locked\nby another process")

    monkeypatch.setattr("huggingface_hub.snapshot_download", broken)
    said = message(hub.read, CREMA_D, crema_d.utterance, tmp_path / "tables")
    assert "Fetching confit/cremad-parquet failed: RuntimeError: the cache is locked by another process. Give" in said


def test_hub_out_of_reach_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("WAVPROBE_CREMA_D", raising=False)
    said = message(catalog.load_corpus, "crema_d", None, tmp_path)
    assert "confit/cremad-parquet" in said
    assert "give --data" in said.lower()
    assert CREMA_D.where in said


@pytest.mark.network
@pytest.mark.parametrize(("module", "card"), [r for r in READERS if r[1].hub is not None], ids=lambda value: "")
def test_the_real_hub_copies(module: ModuleType, card: CorpusCard) -> None:
    corpus = hub.read(card, module.utterance)
    assert len(corpus.utterances) == card.utterances
    assert Counter(u.labels["emotion"] for u in corpus.utterances) == card.labels["emotion"]
    assert corpus.revision is not None
    assert corpus.utterances[0].audio.load().numel() > 1600


# The catalogue


def test_catalogue_order_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ravdess_tree(tmp_path / "environment")
    sound(tmp_path / "data/Actor_05/03-01-05-02-01-02-05.wav")
    monkeypatch.setenv("WAVPROBE_RAVDESS", str(tmp_path / "environment"))
    assert len(catalog.load_corpus("ravdess", None, tmp_path).utterances) == 2
    assert len(catalog.load_corpus("ravdess", tmp_path / "data", tmp_path).utterances) == 1
    monkeypatch.setenv("WAVPROBE_RAVDESS", str(tmp_path / "nowhere"))
    assert "WAVPROBE_RAVDESS names" in message(catalog.load_corpus, "ravdess", None, tmp_path)
    monkeypatch.delenv("WAVPROBE_RAVDESS")
    asked: list[object] = []
    monkeypatch.setattr(hub, "read", lambda *arguments: asked.extend(arguments))
    catalog.load_corpus("ravdess", None, tmp_path)
    assert asked == [RAVDESS, ravdess.utterance]


def test_catalogue_without_data_or_with_a_wrong_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAVPROBE_IEMOCAP", raising=False)
    said = message(catalog.load_corpus, "iemocap", None, tmp_path)
    assert "sail.usc.edu/iemocap" in said
    assert "WAVPROBE_IEMOCAP" in said
    assert "type --data DIR" in message(catalog.load_corpus, "manifest", None, tmp_path)
    assert "Did you mean crema_d?" in message(catalog.load_corpus, "CREMA-D", None, tmp_path)
    assert "The corpora are demo, iemocap" in message(catalog.load_corpus, "zzz", None, tmp_path)
    assert "reads no folder" in message(catalog.load_corpus, "demo", tmp_path, tmp_path)


def test_catalogue_rows() -> None:
    rows = {row.name: row for row in catalog.describe()}
    assert tuple(rows) == catalog.CORPORA
    assert rows["ravdess"].size == "1440 utterances, 24 speakers"
    assert "WAVPROBE_RAVDESS" in rows["ravdess"].how
    assert "confit/ravdess-parquet" in rows["ravdess"].how
    assert rows["iemocap"].how == "--data DIR, or WAVPROBE_IEMOCAP"


def test_listing_the_corpora_imports_nothing_heavy() -> None:
    code = (
        "import sys; from downstream.data.corpora import catalog; catalog.describe(); "
        "print([name for name in ('torch', 'datasets', 'numpy', 'soundfile') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
