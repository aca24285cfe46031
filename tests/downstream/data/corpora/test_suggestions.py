"""Folders one level too high, too deep, or of compressed copies: what is typed instead can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from trees import message, sound, write

from downstream.data.corpora.catalog import find_card, load_corpus


def load(name: str, folder: Path) -> object:
    return load_corpus(name, folder, folder)


def tree(root: Path, name: str, suffix: str = ".wav") -> None:
    """The smallest corpus of a name."""
    files = {
        "librispeech": "LibriSpeech/dev-clean/84/121123/84-121123-0000",
        "ravdess": "Audio_Speech_Actors_01-24/Actor_01/03-01-01-01-01-01-01",
        "crema_d": "CREMA-D/AudioWAV/1001_DFA_ANG_XX",
        "emodb": "emodb/wav/03a01Fa",
        "iemocap": "IEMOCAP_full_release/Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000",
        "voxceleb1": "voxceleb/test/wav/id10270/5r0dWxy17C8/00001",
        "speechocean762": "speechocean762/WAVE/SPEAKER0001/000010011",
        "speech_commands_v1": "speech_commands_v0.01/yes/78dde6c4_nohash_0",
    }
    sound(root / f"{files[name]}.wav").rename(root / f"{files[name]}{suffix}")
    if name == "librispeech":
        write(root / "LibriSpeech/dev-clean/84/121123/84-121123.trans.txt", "84-121123-0000 GO\n")
    if name == "iemocap":
        label = "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n"
        write(root / "IEMOCAP_full_release/Session1/dialog/EmoEvaluation/Ses01F_impro01.txt", label)
    if name == "speechocean762":
        for table, value in (("text", "GO"), ("utt2spk", "0001"), ("wav.scp", "WAVE/SPEAKER0001/000010011.wav")):
            write(root / f"speechocean762/train/{table}", f"000010011\t{value}\n")


NAMES = ("librispeech", "ravdess", "crema_d", "emodb", "iemocap", "voxceleb1", "speechocean762", "speech_commands_v1")


def typed(said: str) -> Path:
    found = re.search(r"type --data (\S+)\.$", said)
    assert found, said
    return Path(found[1])


@pytest.mark.parametrize("name", NAMES)
def test_levels_too_high(tmp_path: Path, name: str) -> None:
    tree(tmp_path / "all/corpora", name)
    load(name, typed(message(load, name, tmp_path)))


@pytest.mark.parametrize("name", NAMES)
def test_levels_too_deep(tmp_path: Path, name: str) -> None:
    tree(tmp_path, name)
    (recording,) = tmp_path.glob("**/*.wav")
    deepest = recording.parent
    if name in ("crema_d", "emodb"):  # whose recordings may lie directly in the folder
        load(name, deepest)
    else:
        load(name, typed(message(load, name, deepest)))


@pytest.mark.parametrize("name", NAMES)
def test_compressed_copies(tmp_path: Path, name: str) -> None:
    tree(tmp_path, name, ".m4a")
    said = message(load, name, tmp_path)
    assert f"Files named as in {find_card(name).title} are there as .m4a, such as " in said
    assert said.endswith("which is not read; convert them to .wav or .flac, such as with ffmpeg.")


def test_another_corpus_elsewhere(tmp_path: Path) -> None:
    tree(tmp_path / "corpora", "librispeech")
    said = message(load, "ravdess", tmp_path)
    assert said.endswith(f"This looks like LibriSpeech: add -c librispeech and --data {tmp_path}/corpora/LibriSpeech.")


def test_a_corpus_that_cannot_be_read_from_anywhere(tmp_path: Path) -> None:
    """The transcripts are missing: no folder helps, and none is offered."""
    tree(tmp_path / "a/b", "librispeech")
    (transcript,) = tmp_path.glob("**/*.trans.txt")
    transcript.unlink()
    assert message(load, "librispeech", tmp_path).endswith("are there, but none of that kind at that place.")


def test_a_manifest_above_or_below(tmp_path: Path) -> None:
    sound(tmp_path / "corpus/wav/a.wav")
    write(tmp_path / "corpus/manifest.csv", "path\nwav/a.wav\n")
    for folder in (tmp_path, tmp_path / "corpus/wav"):
        said = message(load, "manifest", folder)
        assert f"There is one in {tmp_path}/corpus: type --data {tmp_path}/corpus." in said


def test_a_path_in_place_of_a_corpus_is_answered_with_what_to_type(tmp_path: Path) -> None:
    sound(tmp_path / "my clips/yes/a.wav")
    tree(tmp_path / "all", "ravdess")
    listed = write(tmp_path / "listed/manifest.csv", "path\n")
    other = write(tmp_path / "listed/rows.csv", "path\n")
    typed = {
        tmp_path / "my clips": f"Type -c folder --data '{tmp_path}/my clips'.",
        tmp_path / "all": f"Type -c ravdess --data {tmp_path}/all.",
        listed.parent: f"Type -c manifest --data {tmp_path}/listed.",
        listed: f"Type -c manifest --data {tmp_path}/listed.",
        other: "A table of recordings is called manifest.csv",
    }
    for path, said in typed.items():
        assert said in message(find_card, str(path))
