"""Paths and names in a record: none says whose machine it was, and every one can be printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.results.anonymous import Anonymous


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> Anonymous:
    monkeypatch.setenv("HOME", "/home/alice")
    return Anonymous(Path("/data/alice b/voices"), (Path("/data/alice b/voices"), Path("/big disk/alice/store")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/alice", "~"),
        ("/home/alice/models/x.pt", "~/models/x.pt"),
        ("hf:/home/alice/models", "hf:~/models"),
        ("trials.list=/home/alice/t.txt", "trials.list=~/t.txt"),
        ("/home/alicette/x.pt", ".../x.pt"),
        ("/mnt/home/alice/x.pt", ".../x.pt"),
        ("/var/alice/mine.py:build", ".../mine.py:build"),
        ("Lists of /var/alice/run/a.txt, and '/home/alice/b.txt' too.", "Lists of .../a.txt, and '~/b.txt' too."),
        ("/data/alice b/voices has no noise", ".../voices has no noise"),
        ("below /big disk/alice/store/states", "below .../store/states"),
        ("of caf\udce9.wav", "of caf\\xe9.wav"),
    ],
)
def test_absolute_paths_and_odd_bytes_are_replaced(text: str, expected: str, hidden: Anonymous) -> None:
    assert hidden.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "org/name",
        "../models/x.pt",
        "https://www.openslr.org/12/ and http://a.b/home/alice",
        "3/4 of the audio, 12 s/s, and/or",
        "/data has it",
        "s1/low1.wav",
        "Ærø, naïve, 北京",
        "/t/",
        "/t/ and /ʃ/e/",
    ],
)
def test_everything_else_stays(text: str, hidden: Anonymous) -> None:
    assert hidden.text(text) == text


def test_what_lies_in_the_corpus_is_named_from_there(hidden: Anonymous) -> None:
    assert hidden.path("/data/alice b/voices/trials.txt") == "trials.txt"
    assert hidden.path("/data/alice b/voices") == ".../voices"


def test_each_argument_of_a_command_is_a_path_of_its_own(hidden: Anonymous) -> None:
    typed = "wavprobe run -u '/var/alice c/x.pt' --data='/data/bob d/RAVDESS' -o 'decoding={lexicon: /usr/alice/l}'"
    assert hidden.command(typed) == "wavprobe run -u .../x.pt --data=.../RAVDESS -o 'decoding={lexicon: .../l}'"
    assert hidden.command("run -u /home/alice/x.pt --data '/home/alice/my data'") == "run -u ~/x.pt --data ~/'my data'"
    assert hidden.command("an unmatched ' quote in /var/alice/x") == "an unmatched ' quote in .../x"


@pytest.mark.parametrize("home", ["/", ""])
def test_without_a_home_of_ones_own_nothing_is_taken_for_one(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    assert Anonymous().text("/usr and /opt/x/y") == "/usr and .../y"


def test_a_user_whom_the_system_does_not_know_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 98_765)
    assert Anonymous().text("~/x and /opt/x/y") == "~/x and .../y"


def test_keys_and_lists_are_content_too(hidden: Anonymous) -> None:
    content = {"/var/alice/x.pt": ["/home/alice", 1.5, None, {"a": ("/home/alice/b",)}], 3: True}
    assert hidden.content(content) == {".../x.pt": ["~", 1.5, None, {"a": ["~/b"]}], 3: True}
