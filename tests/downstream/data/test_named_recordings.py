from __future__ import annotations

import io
from pathlib import Path

import pytest
from trees import message, sound, write

from downstream.data import NamedRecordings, recordings_named
from downstream.data.audio import AudioCut


def named(tmp_path: Path, *words: Path | str, skip_unreadable: bool = False) -> NamedRecordings:
    return recordings_named([str(word) for word in words], tmp_path / "kept.sqlite", False, skip_unreadable)


def ids(found: NamedRecordings) -> list[str]:
    return [one.id for one in found.recordings]


class TestWords:
    def test_files_keep_the_order_of_the_words(self, tmp_path: Path) -> None:
        files = [sound(tmp_path / name) for name in ("b.wav", "a.flac", "c.ogg")]
        found = named(tmp_path, *files)
        assert ids(found) == ["b", "a", "c"]
        assert [one.path for one in found.recordings] == [str(file) for file in files]
        assert found.recordings[0].item.seconds == pytest.approx(0.01)
        assert len({one.item.digest for one in found.recordings}) == 3

    def test_a_folder_is_all_audio_below_it_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("downstream.data.corpora.files.is_decodable", lambda: False)  # as without PyAV
        corpus = tmp_path / "corpus"
        for name in ("z.wav", "ben/2.mp3", "anna/1.flac", "._z.wav"):
            sound(corpus / name) if "mp3" not in name else sound(corpus / name, seconds=0.2)
        write(corpus / "readme.txt", "no audio")
        write(corpus / "call.amr", "compressed")
        found = named(tmp_path, corpus)
        assert ids(found) == ["z", "anna/1", "ben/2"]
        assert [note for note in found.notes if "._z.wav" in note and "hidden" in note]
        assert [note for note in found.notes if "call.amr" in note and "convert" in note]

    def test_a_manifest_gives_cuts_ids_and_labels(self, tmp_path: Path) -> None:
        sound(tmp_path / "d" / "call.wav", channels=2, seconds=2)
        manifest = write(
            tmp_path / "d" / "turns.csv",
            "path,start,end,channel,emotion\ncall.wav,0.5,1.5,B,happy\ncall.wav,0,1,A,sad\n",
        )
        first, second = named(tmp_path, manifest).recordings
        assert (first.id, first.item.seconds, first.utterance.labels) == ("call.wav@0.5#1", 1.0, {"emotion": "happy"})
        assert isinstance(second.item.audio, AudioCut)
        assert (second.item.audio.channel, second.path) == (0, str(tmp_path / "d" / "call.wav"))

    def test_a_list_is_relative_to_its_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sound(tmp_path / "d" / "one.wav")
        sound(tmp_path / "two.wav")
        monkeypatch.chdir(tmp_path)
        listed = write(tmp_path / "d" / "files.lst", "one.wav\n\n two.wav \n")
        assert ids(named(tmp_path, listed)) == ["one", "two"]
        monkeypatch.setattr("sys.stdin", io.StringIO("two.wav\nd/one.wav\n"))
        assert ids(named(tmp_path, "-")) == ["two", "one"]

    def test_a_manifest_in_a_folder_is_mentioned(self, tmp_path: Path) -> None:
        sound(tmp_path / "d" / "one.wav")
        write(tmp_path / "d" / "manifest.csv", "path\none.wav\n")
        assert any("manifest.csv was not read" in note for note in named(tmp_path, tmp_path / "d").notes)


class TestNames:
    def test_as_many_folders_as_tell_them_apart(self, tmp_path: Path) -> None:
        files = [sound(tmp_path / name) for name in ("x/anna/1.wav", "y/anna/1.wav", "x/ben/2.wav")]
        assert ids(named(tmp_path, *files)) == ["x/anna/1", "y/anna/1", "2"]

    def test_a_longer_name_may_not_meet_another(self, tmp_path: Path) -> None:
        sound(tmp_path / "d" / "x" / "a.wav")
        files = [sound(tmp_path / name) for name in ("p/x/a.wav", "q/y/a.wav")]
        assert ids(named(tmp_path, tmp_path / "d", *files)) == ["d/x/a", "p/x/a", "y/a"]

    def test_suffixes_tell_files_of_one_folder_apart(self, tmp_path: Path) -> None:
        for name in ("a.wav", "a.flac", "b.wav"):
            sound(tmp_path / "d" / name)
        assert ids(named(tmp_path, tmp_path / "d")) == ["a.flac", "a.wav", "b"]

    def test_the_same_file_is_taken_once(self, tmp_path: Path) -> None:
        file = sound(tmp_path / "d" / "a.wav")
        (tmp_path / "link.wav").symlink_to(file)
        found = named(tmp_path, file, tmp_path / "d", tmp_path / "link.wav")
        assert ids(found) == ["a"]
        assert found.notes == ("2 recordings named more than once, taken once.",)

    def test_equal_ids_of_tables_are_refused(self, tmp_path: Path) -> None:
        for name in ("a.wav", "b.wav"):
            sound(tmp_path / name)
        manifest = write(tmp_path / "m.csv", "path,id\na.wav,one\nb.wav,one\n")
        assert "2 recordings have the id 'one'" in message(named, tmp_path, manifest)


class TestRefusals:
    def test_what_is_not_there(self, tmp_path: Path) -> None:
        assert "No recording is named" in message(named, tmp_path)
        assert "There is no file or folder nowhere.wav" in message(named, tmp_path, "nowhere.wav")
        listed = write(tmp_path / "files.txt", "a.wav\n")
        assert "files.txt, line 1: there is no file 'a.wav'" in message(named, tmp_path, listed)
        assert "names no recording" in message(named, tmp_path, write(tmp_path / "empty.txt", "\n"))
        assert "lists no utterance" in message(named, tmp_path, write(tmp_path / "empty.csv", "path\n"))

    def test_a_folder_without_audio_shows_what_it_has(self, tmp_path: Path) -> None:
        write(tmp_path / "d" / "notes.md", "none")
        assert "lies below" in message(named, tmp_path, tmp_path / "d")
        assert "notes.md" in message(named, tmp_path, tmp_path / "d")

    def test_all_unreadable_recordings_are_named_at_once(self, tmp_path: Path) -> None:
        good = sound(tmp_path / "good.wav")
        bad = [write(tmp_path / f"bad{number}.wav", "<html>") for number in range(5)]
        said = message(named, tmp_path, good, *bad)
        assert "5 of 6 recordings cannot be read" in said
        assert "bad0.wav is not audio" in said
        assert "bad3.wav" not in said
        assert said.endswith("…")
        assert message(named, tmp_path, good, bad[0]).startswith(str(bad[0]))

    def test_unreadable_recordings_are_left_out_where_that_is_asked_for(self, tmp_path: Path) -> None:
        good, bad = sound(tmp_path / "good.wav"), write(tmp_path / "bad.wav", "<html>")
        found = named(tmp_path, bad, good, skip_unreadable=True)
        assert ids(found) == ["good"]
        assert any("bad.wav" in note and "cannot be read" in note for note in found.notes)
        with pytest.raises(Exception, match="None of 1 recording can be read"):
            named(tmp_path, bad, skip_unreadable=True)
