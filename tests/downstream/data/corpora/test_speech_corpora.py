"""Corpora of speech recognition, verification and keyword spotting: small trees, the real copies, a copy on a hub."""

from __future__ import annotations

import io
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from places import SHARED_DATA
from trees import message, sound, write

from downstream.data.corpora import catalog, hub, librispeech, speech_commands, voxceleb1
from downstream.data.corpora.cards import (
    LIBRISPEECH,
    SPEECH_COMMANDS_V1,
    SPEECH_COMMANDS_V2,
    SPEECHOCEAN762,
    VOXCELEB1,
    WORDS_V1,
    WORDS_V2,
    CorpusCard,
)
from downstream.data.corpora.folder import count_notes, part_notes, trial_names
from downstream.data.corpus import Corpus, Utterance
from downstream.data.superb_splits import superb_part

NEW = (LIBRISPEECH, SPEECH_COMMANDS_V1, SPEECH_COMMANDS_V2, VOXCELEB1, SPEECHOCEAN762)


def load(card: CorpusCard, folder: Path) -> Corpus:
    return catalog.load_corpus(card.name, folder, folder)


def by_id(corpus: Corpus) -> dict[str, Utterance]:
    return {utterance.id: utterance for utterance in corpus.utterances}


def shared(name: str) -> Path:
    if not (SHARED_DATA / name).is_dir():
        pytest.skip(f"no shared {name}")
    return SHARED_DATA / name


# LibriSpeech


APPLEDOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X" + b"\0" * 90


def librispeech_tree(folder: Path) -> Path:
    for subset, stem in (
        ("train-clean-100", "26-495-0000"),
        ("train-clean-100", "26-495-0001"),
        ("train-other-500", "20-205-0000"),
        ("dev-clean", "84-121123-0000"),
        ("test-other", "367-130732-0000"),
    ):
        speaker, chapter, _ = stem.split("-")
        chapter_folder = folder / subset / speaker / chapter
        sound(chapter_folder / f"{stem}.flac")
        with (chapter_folder / f"{speaker}-{chapter}.trans.txt").open("a", encoding="utf-8") as file:
            file.write(f"{stem} WORDS OF {stem}\n")
    write(
        folder / "SPEAKERS.TXT",
        "; id | SEX | SUBSET\n26   | M | train-clean-100 | 25.08 | A\n84 | F | dev-clean | 8 |\n",
    )
    return folder


@pytest.mark.parametrize("above", ["", "LibriSpeech"])
def test_librispeech_rows(tmp_path: Path, above: str) -> None:
    librispeech_tree(tmp_path / above)
    corpus = load(LIBRISPEECH, tmp_path)
    rows = by_id(corpus)
    assert len(rows) == 5
    first = rows["26-495-0001"]
    assert (first.speaker, first.gender, first.text) == ("26", "male", "WORDS OF 26-495-0001")
    assert (first.split, first.part, first.labels) == ("train", "train-clean-100", {})
    assert (rows["84-121123-0000"].split, rows["84-121123-0000"].gender) == ("dev", "female")
    assert (rows["367-130732-0000"].split, rows["367-130732-0000"].part) == ("test", "test-other")
    assert rows["367-130732-0000"].gender is None
    assert first.audio.load().shape == (160,)
    assert corpus.notes == (
        "Parts here, in utterances: train-clean-100 2 of 28539, train-other-500 1 of 148688, dev-clean 1 of 2703, "
        "test-other 1 of 2939.",
    )


def test_librispeech_says_what_has_no_transcript_no_recording_or_another_name(tmp_path: Path) -> None:
    librispeech_tree(tmp_path)
    chapter = tmp_path / "train-clean-100/26/495"
    sound(chapter / "26-495-0007.flac")
    sound(chapter / "intro.flac")
    (chapter / "._26-495-0000.flac").write_bytes(APPLEDOUBLE)
    (chapter / "._26-495.trans.txt").write_bytes(APPLEDOUBLE)
    (chapter / ".DS_Store").write_bytes(APPLEDOUBLE)
    with (chapter / "26-495.trans.txt").open("a", encoding="utf-8") as file:
        file.write("26-495-0008 NOBODY SAYS THIS\n\nnot a line of a transcript\n")
    (tmp_path / "SPEAKERS.TXT").unlink()
    corpus = load(LIBRISPEECH, tmp_path)
    assert len(corpus.utterances) == 5
    silent, untold, named, hidden, genders, _ = corpus.notes
    assert silent.endswith("left out, transcribed in train-clean-100 but without a recording: 26-495-0008.")
    assert untold.endswith("left out, recorded in train-clean-100 but without a transcript: 26-495-0007.")
    assert hidden == "1 file was left out, hidden, as those in which macOS keeps what is no sound: ._26-495-0000.flac."
    assert named.endswith("not named as in LibriSpeech (26-495-0004): intro.flac.")
    assert "genders are not known" in genders


def test_librispeech_through_links_and_with_marks(tmp_path: Path) -> None:
    """A reader on another disk, a ring of links, and transcripts with byte order marks and Windows's line ends."""
    librispeech_tree(tmp_path)
    (tmp_path / "train-clean-100/26").rename(tmp_path / "another disk")
    os.symlink(tmp_path / "another disk", tmp_path / "train-clean-100/26")
    os.symlink(tmp_path / "train-clean-100", tmp_path / "another disk/back")
    os.symlink("ring", tmp_path / "train-clean-100/ring")
    os.symlink(tmp_path, tmp_path / "dev-clean/up")  # whose other subsets are no part of this one
    os.symlink("nowhere", tmp_path / "train-clean-100/27")
    for path in tmp_path.glob("*/**/*.trans.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    corpus = load(LIBRISPEECH, tmp_path)
    assert len(corpus.utterances) == 5
    assert by_id(corpus)["26-495-0000"].text == "WORDS OF 26-495-0000"
    assert corpus.notes[0] == "2 files were left out, links that lead nowhere, or no files: 27, ring."


def test_two_recordings_of_one_name(tmp_path: Path) -> None:
    librispeech_tree(tmp_path)
    sound(tmp_path / "train-clean-100/26/495/26-495-0001.wav")
    said = message(load, LIBRISPEECH, tmp_path)
    assert said.startswith("There are two recordings 26-495-0001: ")
    assert said.endswith("Remove one of them.")


def test_transcripts_that_are_not_utf_8(tmp_path: Path) -> None:
    librispeech_tree(tmp_path)
    (tmp_path / "dev-clean/84/121123/84-121123.trans.txt").write_bytes(b"84-121123-0000 CAF\xc9\n")
    assert "84-121123.trans.txt, line 1: the byte 0xc9 is not UTF-8" in message(load, LIBRISPEECH, tmp_path)


def test_librispeech_without_any_transcript(tmp_path: Path) -> None:
    sound(tmp_path / "dev-clean/84/121123/84-121123-0000.flac")
    said = message(load, LIBRISPEECH, tmp_path)
    assert "Of 1 recording in" in said
    assert "openslr.org/12" in said


def test_librispeech_one_level_too_deep(tmp_path: Path) -> None:
    librispeech_tree(tmp_path)
    assert "Files named as in LibriSpeech are there" in message(load, LIBRISPEECH, tmp_path / "dev-clean")


def test_the_shared_librispeech() -> None:
    folder = shared("librispeech_samples")
    corpus = load(LIBRISPEECH, folder)
    assert Counter(u.speaker for u in corpus.utterances) == {"26": 55, "27": 101}
    assert {(u.gender, u.split, u.part) for u in corpus.utterances} == {("male", "train", "train-clean-100")}
    assert sum(len(str(u.text).split()) for u in corpus.utterances) == 3457
    assert corpus.notes == ("Parts here, in utterances: train-clean-100 156 of 28539.",)
    rows, own = by_id(corpus), catalog.load_corpus("manifest", folder, folder).utterances
    assert {Path(u.id).stem: u.text for u in own} == {name: u.text for name, u in rows.items()}


# Speech Commands


def commands_tree(folder: Path, version: str = "v0.01", suffix: str = "wav") -> Path:
    """A folder that holds the main archive and the test archive side by side."""
    main, test = folder / f"speech_commands_{version}", folder / f"speech_commands_test_set_{version}"
    for name in ("yes/78dde6c4_nohash_0", "yes/6526afd1_nohash_1", "bed/78dde6c4_nohash_0", "bed/9e3779b1_nohash_0"):
        sound(main / f"{name}.{suffix}")
    sound(main / f"_background_noise_/running_tap.{suffix}")
    write(main / "_background_noise_/README.md", "noise")
    write(main / "validation_list.txt", "bed/9e3779b1_nohash_0.wav\n")
    write(main / "testing_list.txt", "yes/6526afd1_nohash_1.wav\n")
    for word in (*WORDS_V1[:10], "_silence_", "_unknown_"):
        (test / word).mkdir(parents=True)
    sound(test / f"yes/be1e0823_nohash_0.{suffix}")
    sound(test / f"_silence_/0.{suffix}")
    sound(test / f"_unknown_/bed_be1e0823_nohash_0.{suffix}")
    return folder


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_speech_commands_rows(tmp_path: Path, suffix: str) -> None:
    commands_tree(tmp_path, suffix=suffix)
    corpus = load(SPEECH_COMMANDS_V1, tmp_path)
    rows = by_id(corpus)
    splits = {name: u.split for name, u in rows.items()}
    assert splits == {
        "yes/78dde6c4_nohash_0": "train",
        "yes/6526afd1_nohash_1": "test",
        "bed/78dde6c4_nohash_0": "train",
        "bed/9e3779b1_nohash_0": "dev",
        "_background_noise_/running_tap": None,
        "test_set/yes/be1e0823_nohash_0": None,
        "test_set/_silence_/0": None,
        "test_set/_unknown_/bed_be1e0823_nohash_0": None,
    }
    assert rows["bed/9e3779b1_nohash_0"].labels == {"word": "bed"}
    assert rows["bed/9e3779b1_nohash_0"].speaker == "9e3779b1"
    noise = rows["_background_noise_/running_tap"]
    assert (noise.labels, noise.speaker, noise.speech, noise.part) == (
        {"word": "_background_noise_"},
        "",
        False,
        "main",
    )
    silence, unknown = rows["test_set/_silence_/0"], rows["test_set/_unknown_/bed_be1e0823_nohash_0"]
    assert (silence.labels["word"], silence.speaker, silence.speech) == ("_silence_", "", False)
    assert (unknown.labels["word"], unknown.speaker, unknown.speech) == ("_unknown_", "be1e0823", True)
    assert Counter(u.part for u in corpus.utterances) == {"main": 5, "test archive": 3}
    assert corpus.notes == ("Parts here, in utterances: main 5 of 64727, test archive 3 of 3081.",)


@pytest.mark.parametrize("move", ["beside", "inside", "renamed"])
def test_the_test_archive_is_found_beside_and_inside_the_words(tmp_path: Path, move: str) -> None:
    main = commands_tree(tmp_path) / "speech_commands_v0.01"
    if move == "inside":
        (tmp_path / "speech_commands_test_set_v0.01").rename(main / "speech_commands_test_set_v0.01")
    if move == "renamed":
        main = main.rename(tmp_path / "words")
    corpus = load(SPEECH_COMMANDS_V1, main)
    assert Counter(u.part for u in corpus.utterances) == {"main": 5, "test archive": 3}
    assert len(corpus.notes) == 1


def test_speech_commands_says_what_is_missing_and_what_was_not_read(tmp_path: Path) -> None:
    main = commands_tree(tmp_path) / "speech_commands_v0.01"
    sound(main / "yes/strange.wav")
    sound(main / "original_samples/yes/78dde6c4_nohash_0.wav")
    write(main / "testing_list.txt", "yes/6526afd1_nohash_1.wav\nyes/be1e0823_nohash_1.wav\n")
    (tmp_path / "speech_commands_test_set_v0.01/up").rmdir()
    strange, listed, folders, archive, _ = load(SPEECH_COMMANDS_V1, main).notes
    assert strange.endswith("not named as in Speech Commands (6526afd1_nohash_0): yes/strange.wav.")
    assert listed == "1 of the recordings that testing_list.txt names is not here: yes/be1e0823_nohash_1."
    assert folders == "Folders that are no word of Speech Commands v0.01 were not read: original_samples."
    assert archive == "The test archive has no folder up."
    (main / "testing_list.txt").unlink()
    corpus = load(SPEECH_COMMANDS_V1, main)
    assert {u.split for u in corpus.utterances} == {None}
    assert any("There is no testing_list.txt in" in note for note in corpus.notes)


def test_speech_commands_in_the_wrong_version_or_only_the_test_archive(tmp_path: Path) -> None:
    main = commands_tree(tmp_path / "old") / "speech_commands_v0.01"
    corpus = load(SPEECH_COMMANDS_V2, main)
    assert any("this may be Speech Commands v0.01 (-c speech_commands_v1)" in note for note in corpus.notes)
    sound(main / "learn/78dde6c4_nohash_0.wav")
    assert "add -c speech_commands_v2" in message(load, SPEECH_COMMANDS_V1, main)
    test_set = tmp_path / "old/speech_commands_test_set_v0.01"
    assert "is the separate test archive" in message(load, SPEECH_COMMANDS_V1, test_set)
    assert (
        load(SPEECH_COMMANDS_V2, main).notes[0].startswith("The separate test archive (speech_commands_test_set_v0.02)")
    )
    commands_tree(tmp_path / "new", "v0.02")
    sound(tmp_path / "new/speech_commands_v0.02/visual/78dde6c4_nohash_0.wav")
    rows = by_id(load(SPEECH_COMMANDS_V2, tmp_path / "new"))
    assert rows["visual/78dde6c4_nohash_0"].split == "train"
    assert len(rows) == 9


@pytest.mark.parametrize(
    "line",
    [
        "yes\\{}.wav",
        "./yes/{}.wav",
        "speech_commands_v0.01/yes/{}.wav",
        "C:\\data\\yes\\{}.wav",
        "\ufeffyes/{}.wav\r",
        "yes/{}",
    ],
)
def test_official_lists_as_other_systems_write_them(tmp_path: Path, line: str) -> None:
    commands_tree(tmp_path)
    write(tmp_path / "speech_commands_v0.01/testing_list.txt", line.format("6526afd1_nohash_1") + "\n")
    corpus = load(SPEECH_COMMANDS_V1, tmp_path)
    assert [u.id for u in corpus.utterances if u.split == "test"] == ["yes/6526afd1_nohash_1"]
    assert len(corpus.notes) == 1


@pytest.mark.parametrize("text", ["yes:6526afd1_nohash_1.wav\n", "", "6526afd1_nohash_1.wav\n"])
def test_an_official_list_that_names_no_clip_here_divides_nothing(tmp_path: Path, text: str) -> None:
    commands_tree(tmp_path)
    write(tmp_path / "speech_commands_v0.01/testing_list.txt", text)
    corpus = load(SPEECH_COMMANDS_V1, tmp_path)
    assert {u.split for u in corpus.utterances} == {None}
    assert f"None of the {len(text.split())} clips that testing_list.txt names" in corpus.notes[0]


def test_a_clip_in_both_lists_is_refused(tmp_path: Path) -> None:
    """One list copied over the other: the development clips would be tested."""
    main = tmp_path / "speech_commands_v0.01"
    sound(main / "yes/6526afd1_nohash_1.wav")
    for name in speech_commands.LISTS.values():
        write(main / name, "yes/6526afd1_nohash_1.wav\n")
    refused = message(load, SPEECH_COMMANDS_V1, tmp_path)
    assert "both name yes/6526afd1_nohash_1: a clip is in one part alone" in refused


def test_hidden_files_and_other_audio_beside_words_and_noise(tmp_path: Path) -> None:
    commands_tree(tmp_path)
    main, test = tmp_path / "speech_commands_v0.01", tmp_path / "speech_commands_test_set_v0.01"
    for path in (
        main / "_background_noise_/._tap.wav",
        main / "yes/._78dde6c4_nohash_0.wav",
        test / "_silence_/._0.wav",
    ):
        path.write_bytes(APPLEDOUBLE)
    (main / "_background_noise_/rain.mp3").write_bytes(b"ID3")
    corpus = load(SPEECH_COMMANDS_V1, tmp_path)
    assert len(corpus.utterances) == 8
    hidden, noise, encoded, silence, _ = corpus.notes
    assert [note.rpartition(" ")[2] for note in (hidden, noise, silence)] == [
        "._78dde6c4_nohash_0.wav.",
        "._tap.wav.",
        "._0.wav.",
    ]
    assert encoded.endswith("(convert them, such as with ffmpeg): rain.mp3.")


def test_superbs_hash_of_speakers() -> None:
    parts = {
        "9e3779b1": "dev",
        "00000000": "dev",
        "6526afd1": "discarded",
        "be1e0823": "discarded",
        "78dde6c4": "train",
        "3c6ef362": "train",
    }
    assert {speaker: superb_part(speaker) for speaker in parts} == parts


def test_the_shared_speech_commands() -> None:
    corpus = load(SPEECH_COMMANDS_V1, shared("speech_commands_v0.01"))
    assert Counter(u.split for u in corpus.utterances) == {"train": 204, "dev": 44, "test": 51, None: 3}
    counts = Counter(u.labels["word"] for u in corpus.utterances)
    assert counts == dict.fromkeys(WORDS_V1, 10) | {"two": 9, "_background_noise_": 3}
    assert len({u.speaker for u in corpus.utterances if u.speech}) == 41
    assert "original_samples" in corpus.notes[0]
    same = {"train": "train", "dev": "dev", "test": "discarded"}
    for u in corpus.utterances:
        if u.split is not None:
            assert superb_part(u.speaker) == same[u.split]


# VoxCeleb1

META = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid10001\tA\tm\tIreland\tdev\nid10270\tE\tf\tUSA\ttest\n"
CLIPS = {"dev": ("id10001/Y8hIVOBuels/00001", "id10002/_w-0G8-abc0/00002"), "test": ("id10270/5r0dWxy17C8/00001",)}


def voxceleb_tree(folder: Path, merged: bool = False, suffix: str = "wav") -> Path:
    for part, names in CLIPS.items():
        for name in names:
            sound(folder / ("wav" if merged else f"{part}/wav") / f"{name}.{suffix}")
    write(folder / "voxceleb1_test_v2.txt", "1 id10270/5r0dWxy17C8/00001.wav id10270/5r0dWxy17C8/00001.wav\n")
    write(folder / "vox1_meta.csv", META)
    return folder


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_voxceleb_rows(tmp_path: Path, merged: bool, suffix: str) -> None:
    corpus = load(VOXCELEB1, voxceleb_tree(tmp_path, merged, suffix))
    rows = by_id(corpus)
    assert {name: (u.speaker, u.split, u.part, u.gender) for name, u in rows.items()} == {
        "id10001/Y8hIVOBuels/00001.wav": ("id10001", "train", "dev", "male"),
        "id10002/_w-0G8-abc0/00002.wav": ("id10002", "train", "dev", None),
        "id10270/5r0dWxy17C8/00001.wav": ("id10270", "test", "test", "female"),
    }
    assert corpus.trials == tmp_path / "voxceleb1_test_v2.txt"
    assert corpus.notes == ("Parts here, in utterances: dev 2 of 148642, test 1 of 4874.",)
    assert corpus.utterances[0].audio.load().shape == (160,)


def test_voxceleb_speakers_directly_in_the_folder_or_linked(tmp_path: Path) -> None:
    voxceleb_tree(tmp_path / "whole", merged=True)
    (tmp_path / "whole/voxceleb1_test_v2.txt").unlink()
    corpus = load(VOXCELEB1, tmp_path / "whole/wav")
    assert [u.part for u in corpus.utterances] == ["dev", "dev", "test"]
    assert any("no list of trials" in note for note in corpus.notes)
    assert any("genders are not known" in note for note in corpus.notes)
    assert len(voxceleb1.TEST_SPEAKERS) == 40
    (tmp_path / "linked/wav").mkdir(parents=True)
    for name in ("id10001", "id10270"):
        os.symlink(tmp_path / "whole/wav" / name, tmp_path / "linked/wav" / name)
    assert len(load(VOXCELEB1, tmp_path / "linked").utterances) == 2


def test_voxceleb_lists_of_trials_in_superbs_order(tmp_path: Path) -> None:
    voxceleb_tree(tmp_path)
    write(tmp_path / "veri_test2.txt", "0 id10270/5r0dWxy17C8/00001.wav id10271/1gtz-CUIygI/00001.wav\n")
    assert load(VOXCELEB1, tmp_path).trials == tmp_path / "voxceleb1_test_v2.txt"
    (tmp_path / "voxceleb1_test_v2.txt").unlink()
    corpus = load(VOXCELEB1, tmp_path)
    assert corpus.trials == tmp_path / "veri_test2.txt"
    other, absent, _ = corpus.notes
    assert other == "The trials are those of veri_test2.txt; SUPERB's voxceleb1_test_v2.txt is not in the folder."
    assert absent == "1 of the recordings that veri_test2.txt names is not here: id10271/1gtz-CUIygI/00001.wav."
    write(tmp_path / "veri_test.txt", "1 id10270/5r0dWxy17C8/00001.wav id10270/5r0dWxy17C8/00001.wav\n")
    assert load(VOXCELEB1, tmp_path).trials == tmp_path / "veri_test.txt"


def test_voxceleb_odd_files_and_a_strange_table(tmp_path: Path) -> None:
    voxceleb_tree(tmp_path)
    write(tmp_path / "dev/wav/id10001/Y8hIVOBuels/00001.m4a", "the same as the WAV beside it")
    write(tmp_path / "dev/wav/id10001/Y8hIVOBuels/00002.m4a", "not decoded")
    write(tmp_path / "dev/wav/id10001/Y8hIVOBuels/00003.txt", "no audio")
    write(tmp_path / "dev/wav/notes/readme/00001.wav", "no speaker")
    (named, encoded, _) = load(VOXCELEB1, tmp_path).notes
    assert named.startswith("1 file was left out, not audio named as in VoxCeleb1")
    assert encoded == "1 file was left out, neither .wav nor .flac (convert them, such as with ffmpeg): 00002.m4a."
    write(tmp_path / "vox1_meta.csv", "\ufeff" + META.replace("\t", ","))
    assert by_id(load(VOXCELEB1, tmp_path))["id10270/5r0dWxy17C8/00001.wav"].gender == "female"
    write(tmp_path / "vox1_meta.csv", META.replace("Gender", "Sex"))
    assert "has no columns VoxCeleb1 ID and Gender" in message(load, VOXCELEB1, tmp_path)


def test_voxceleb_is_given_out_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAVPROBE_VOXCELEB1", raising=False)
    said = message(catalog.load_corpus, "voxceleb1", None, tmp_path)
    for words in ("robots.ox.ac.uk/~vgg/data/voxceleb", "WAVPROBE_VOXCELEB1", "dev/wav/id10001", "--data DIR"):
        assert words in said
    monkeypatch.setenv("WAVPROBE_VOXCELEB1", str(voxceleb_tree(tmp_path)))
    assert len(catalog.load_corpus("voxceleb1", None, tmp_path).utterances) == 3


def test_many_files_are_listed_quickly(tmp_path: Path) -> None:
    """A twentieth of VoxCeleb1 in far less than a second, so that the whole takes some seconds."""
    for video in range(150):
        folder = tmp_path / f"dev/wav/id1{video // 10:04d}/video-{video:05d}"
        folder.mkdir(parents=True)
        for clip in range(50):
            (folder / f"{clip:05d}.wav").touch()
    began = time.process_time()
    assert len(load(VOXCELEB1, tmp_path).utterances) == 7500
    assert time.process_time() - began < 2


# speechocean762


def ocean_tree(folder: Path, suffix: str = "WAV") -> Path:
    for split, key, gender, text in (("train", "000010011", "m", "MARK IS GOING"), ("test", "000030012", "f", "WE")):
        speaker = key[1:5]
        sound(folder / f"WAVE/SPEAKER{speaker}/{key}.{suffix}")
        write(folder / split / "text", f"{key}\t{text}\n")
        write(folder / split / "wav.scp", f"{key}\tWAVE/SPEAKER{speaker}/{key}.WAV\n")
        write(folder / split / "utt2spk", f"{key} {speaker}\n")
        write(folder / split / "spk2gender", f"{speaker} {gender}\n")
    return folder


@pytest.mark.parametrize("suffix", ["WAV", "wav", "flac"])
def test_speechocean_rows(tmp_path: Path, suffix: str) -> None:
    corpus = load(SPEECHOCEAN762, ocean_tree(tmp_path, suffix))
    first, second = corpus.utterances
    assert first.id == f"WAVE/SPEAKER0001/000010011.{suffix}"
    assert (first.speaker, first.gender, first.text) == ("0001", "male", "MARK IS GOING")
    assert (first.split, first.part, first.labels) == ("train", "train", {})
    assert (second.speaker, second.gender, second.split) == ("0003", "female", "test")
    assert (corpus.trials, corpus.notes) == (None, ("Parts here, in utterances: train 1 of 2500, test 1 of 2500.",))
    assert first.audio.load().shape == (160,)


def test_speechocean_says_what_is_missing(tmp_path: Path) -> None:
    ocean_tree(tmp_path)
    (tmp_path / "test/spk2gender").unlink()
    with (tmp_path / "train/wav.scp").open("a", encoding="utf-8") as file:
        file.write("000010035\tWAVE/SPEAKER0001/000010035.WAV\n")
    sound(tmp_path / "WAVE/SPEAKER0009/000090001.WAV")
    write(tmp_path / "trials_test.txt", "1 WAVE/SPEAKER0003/000030012.WAV WAVE/SPEAKER0003/000030013.WAV\n")
    corpus = load(SPEECHOCEAN762, tmp_path)
    assert [u.gender for u in corpus.utterances] == ["male", None]
    assert corpus.trials == tmp_path / "trials_test.txt"
    unread, stray, absent, _ = corpus.notes
    assert unread.endswith("listed in train/wav.scp without a recording, a transcript or a speaker: 000010035.")
    assert stray.endswith("recorded but in neither train nor test: WAVE/SPEAKER0009/000090001.WAV.")
    assert absent.endswith("that trials_test.txt names is not here: WAVE/SPEAKER0003/000030013.WAV.")
    (tmp_path / "train/text").unlink()
    (tmp_path / "test/text").unlink()
    assert "has no text, so it cannot be told" in message(load, SPEECHOCEAN762, tmp_path)


def test_the_shared_speechocean() -> None:
    folder = shared("speechocean762")
    corpus = load(SPEECHOCEAN762, folder)
    assert Counter(u.split for u in corpus.utterances) == {"train": 560, "test": 560}
    assert len({u.speaker for u in corpus.utterances}) == 112
    assert Counter(u.gender for u in corpus.utterances) == {"female": 560, "male": 560}
    assert sum(len(str(u.text).split()) for u in corpus.utterances) == 7270
    assert corpus.notes == ("Parts here, in utterances: train 560 of 2500, test 560 of 2500.",)
    own = catalog.load_corpus("manifest", folder, folder).utterances
    rows = by_id(corpus)
    assert {u.id: (u.text, u.speaker, u.gender, u.split) for u in own} == {
        name: (u.text, u.speaker, u.gender, u.split) for name, u in rows.items()
    }
    assert corpus.trials is not None
    assert trial_names(corpus.trials) <= rows.keys()


# Foreign folders, counts, and the catalogue


@pytest.mark.parametrize("card", NEW, ids=lambda card: card.name)
def test_empty_and_missing_folders_are_sentences(tmp_path: Path, card: CorpusCard) -> None:
    said = message(load, card, tmp_path)
    assert f"There is no {card.title} in {tmp_path}: looked for {card.layout}; the folder is empty." in said
    assert card.where in said
    assert "does not exist" in message(load, card, tmp_path / "nowhere")


def test_a_folder_of_another_corpus_is_recognised(tmp_path: Path) -> None:
    librispeech_tree(tmp_path / "l/LibriSpeech")
    commands_tree(tmp_path / "c")
    voxceleb_tree(tmp_path / "v")
    ocean_tree(tmp_path / "o")
    assert "This looks like LibriSpeech: add -c librispeech." in message(load, VOXCELEB1, tmp_path / "l")
    assert "This looks like VoxCeleb1: add -c voxceleb1." in message(load, SPEECHOCEAN762, tmp_path / "v")
    assert "This looks like speechocean762: add -c speechocean762." in message(load, LIBRISPEECH, tmp_path / "o")
    said = message(load, LIBRISPEECH, tmp_path / "c/speech_commands_v0.01")
    assert "add -c speech_commands_v1 or speech_commands_v2." in said
    assert "Files named as in VoxCeleb1 are there" in message(load, VOXCELEB1, tmp_path / "v/dev/wav/id10001")


def row(number: int, part: str, word: str) -> Utterance:
    """A row without audio, for counting."""
    return Utterance(id=str(number), audio=None, speaker="", labels={"word": word}, part=part)  # type: ignore[arg-type]


def test_parts_are_whole_partial_or_more_than_published() -> None:
    labels = {"word": {"yes": 2, "no": 3}}
    card = CorpusCard("x", "X", "", "", "", "", utterances=5, speakers=1, labels=labels, parts={"a": 2, "b": 3})
    rows = [row(0, "a", "yes"), row(1, "a", "yes"), row(2, "b", "yes")]
    assert part_notes(card, rows[:1]) == ["Parts here, in utterances: a 1 of 2."]
    assert part_notes(card, rows) == ["Parts here, in utterances: a whole, b 1 of 3."]
    assert count_notes(card, rows[:2]) == []
    assert count_notes(card, [*rows, row(3, "a", "no")]) == [
        "There are more utterances here than the publication counts (in brackets): 3 a (2), 3 yes (2)."
    ]


def test_the_new_cards_in_the_list() -> None:
    listed = {entry.name: entry for entry in catalog.describe()}
    assert listed["librispeech"].size == "292367 utterances, 2484 speakers, 7 parts"
    assert listed["librispeech"].how == "--data DIR, or WAVPROBE_LIBRISPEECH, or hub: openslr/librispeech_asr"
    assert listed["voxceleb1"].how == "--data DIR, or WAVPROBE_VOXCELEB1"
    assert {card.variable for card in NEW} == {f"WAVPROBE_{card.name.upper()}" for card in NEW}
    assert (len(WORDS_V1), len(WORDS_V2), len(speech_commands.TEST_FOLDERS)) == (30, 35, 12)


# LibriSpeech's copy on the hub, here as Parquet files that `datasets` writes


def parquet(folder: Path, rows: dict[str, str], text_column: str = "text") -> None:
    """A shard whose columns are those of the copy; `rows` is the transcript by utterance id."""
    from datasets import Audio, Dataset, Features, Value

    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(160, 0.25), 16_000, format="FLAC")
    columns = {
        "audio": [{"bytes": buffer.getvalue(), "path": f"{name}.flac"} for name in rows],
        text_column: list(rows.values()),
        "speaker_id": [int(name.split("-")[0]) for name in rows],
        "id": list(rows),
    }
    features = {
        "audio": {"bytes": Value("binary"), "path": Value("string")},
        text_column: Value("string"),
        "speaker_id": Value("int64"),
        "id": Value("string"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    table = Dataset.from_dict(columns, features=Features(features)).cast_column("audio", Audio())
    table.to_parquet(str(folder / f"{len(list(folder.iterdir())):04d}.parquet"))


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for what was fetched of the copy, named by its commit as in the hub's cache."""
    folder = tmp_path / "snapshots" / ("0123456789" * 4)
    parquet(folder / "clean/train.100", {"26-495-0001": "B", "26-495-0000": "A"})
    parquet(folder / "clean/train.100", {"27-123349-0000": "C"})
    parquet(folder / "clean/validation", {"84-121123-0000": "D"})
    parquet(folder / "clean/test", {"61-70968-0000": "E", "61-70968-0000-x": "F"})
    parquet(folder / "other/test", {"367-130732-0000": "G"})
    parquet(folder / "other/validation", {"116-288045-0000": "not asked for"})

    def download(repository: str, repo_type: str, allow_patterns: list[str]) -> str:
        assert (repository, repo_type) == ("openslr/librispeech_asr", "dataset")
        assert allow_patterns == [
            "clean/train.100/*.parquet",
            "clean/validation/*.parquet",
            "clean/test/*.parquet",
            "other/test/*.parquet",
        ]
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return folder


def test_librispeech_from_the_hub(snapshot: Path, tmp_path: Path) -> None:
    corpus = hub.read(LIBRISPEECH, librispeech.utterance, tmp_path / "tables")
    assert {u.id: (u.speaker, u.text, u.part, u.split) for u in corpus.utterances} == {
        "26-495-0000": ("26", "A", "train-clean-100", "train"),
        "26-495-0001": ("26", "B", "train-clean-100", "train"),
        "27-123349-0000": ("27", "C", "train-clean-100", "train"),
        "367-130732-0000": ("367", "G", "test-other", "test"),
        "61-70968-0000": ("61", "E", "test-clean", "test"),
        "84-121123-0000": ("84", "D", "dev-clean", "dev"),
    }
    assert (corpus.source, corpus.revision) == ("hub:openslr/librispeech_asr", "0123456789" * 4)
    left, parts = corpus.notes
    assert left.endswith("not named as in LibriSpeech: 61-70968-0000-x.")
    assert "dev-clean 1 of 2703" in parts
    assert [u.audio.load().shape for u in corpus.utterances] == [(160,)] * 6


def test_librispeechs_copy_that_changed(snapshot: Path, tmp_path: Path) -> None:
    (snapshot / "clean/validation/0000.parquet").unlink()
    said = message(hub.read, LIBRISPEECH, librispeech.utterance, tmp_path / "tables")
    assert "holds no file clean/validation/*.parquet any more" in said
    parquet(snapshot / "clean/validation", {"84-121123-0000": "D"}, "transcript")
    said = message(hub.read, LIBRISPEECH, librispeech.utterance, tmp_path / "tables")
    assert "no column 'text' any more; found audio, transcript, speaker_id, id" in said


@pytest.mark.network
def test_the_real_copy_has_the_files_that_the_card_names() -> None:
    """Fetching 7 GB is left to users; the names of the files and the columns of the smallest part are looked at."""
    from fnmatch import fnmatch

    from datasets import load_dataset
    from huggingface_hub import list_repo_files

    assert LIBRISPEECH.hub is not None
    files = list_repo_files(LIBRISPEECH.hub.repository, repo_type="dataset")
    for part in LIBRISPEECH.hub.parts:
        assert any(fnmatch(name, part.files) for name in files), part
    rows = load_dataset(LIBRISPEECH.hub.repository, "clean", split="test", streaming=True)
    assert {"audio", "id", "text"} <= set(rows.features)
