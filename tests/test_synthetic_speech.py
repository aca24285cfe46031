"""The program that makes speech for pre-training: what it writes, that it goes on and repeats itself; refusals."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from places import REPOSITORY

from downstream.data.corpora import load_corpus
from upstream.base import SAMPLE_RATE
from upstream.command_line import USER_ERROR

# Modules beside the program, which finds them because it is started as a script.
MODULES = ("synthetic_speech", "synthetic_voices", "synthetic_texts", "recorded_prompts")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The program, with recordings of a second or two."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "examples"))
    import synthetic_speech

    monkeypatch.setattr(synthetic_speech, "FILE_SECONDS", (1.0, 1.5))
    yield synthetic_speech
    for name in MODULES:
        sys.modules.pop(name, None)


def make(program: ModuleType, folder: Path, *more: str, minutes: float = 0.1) -> int:
    """Run the program; six seconds are two or three recordings."""
    status: int = program.main([str(folder), "--minutes", str(minutes), *more])
    return status


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_it_makes_is_a_corpus(program: ModuleType, tmp_path: Path) -> None:
    assert make(program, tmp_path) == 0
    folder = tmp_path / "espeak"
    corpus = load_corpus("manifest", folder, tmp_path)
    assert len(corpus.utterances) >= 2
    assert {file.name for file in folder.glob("*.flac")} == {Path(one.id).name for one in corpus.utterances}
    assert len({one.speaker for one in corpus.utterances}) == len(corpus.utterances)  # each is another voice
    assert sum(one.audio.seconds() for one in corpus.utterances) >= 6
    for file in folder.glob("*.flac"):
        facts = soundfile.info(file)
        assert (facts.samplerate, facts.channels, facts.subtype) == (SAMPLE_RATE, 1, "PCM_16")
        samples, _ = soundfile.read(file)
        level = 20 * np.log10(np.sqrt(np.mean(samples**2)))
        assert program.LEVEL[0] - 12 < level < program.LEVEL[1] + 0.1  # below the range where a peak was too high
    assert "espeak-ng" in (folder / "SOURCE.md").read_text(encoding="utf-8")


def test_it_repeats_itself_and_goes_on(program: ModuleType, tmp_path: Path) -> None:
    """More minutes are added to those before; what was interrupted has no line and is made again."""
    assert make(program, tmp_path / "twice") == 0
    before = contents(tmp_path / "twice" / "espeak")
    (tmp_path / "twice" / "espeak" / "espeak-000-en-us_m1-00.flac").write_bytes(b"interrupted")
    assert make(program, tmp_path / "twice", minutes=0.2) == 0
    assert make(program, tmp_path / "once", minutes=0.2) == 0
    once, twice = contents(tmp_path / "once" / "espeak"), contents(tmp_path / "twice" / "espeak")
    twice.pop("espeak-000-en-us_m1-00.flac")
    assert once == twice
    assert {name: once[name] for name in before if name != "manifest.csv"}.items() <= before.items()
    assert len(once) > len(before)


def test_another_seed_is_another_folder(
    program: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(program, tmp_path, minutes=0.01) == 0
    capsys.readouterr()
    assert make(program, tmp_path, "--seed", "1", minutes=0.01) == USER_ERROR
    assert f"{tmp_path / 'espeak'} was made with another seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("flite", "apt-get install flite"),
        ("hibari", "pip install hibari-tts"),
        ("kokoro", "pip install hibari-tts"),
        ("asterisk", "apt-get install asterisk-core-sounds-ru-g722"),
    ],
)
def test_a_source_that_is_missing_is_named(
    source: str,
    remedy: str,
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "hibari", None)  # as if it were not installed
    wanted = ("--sources", "espeak", source)  # is refused before the first is made
    assert make(program, tmp_path, *wanted, "--asterisk-sounds", str(tmp_path)) == USER_ERROR
    said = capsys.readouterr().err
    assert remedy in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_silent_synthesiser_is_refused(program: ModuleType) -> None:
    with pytest.raises(program.UserError, match="silence for 20 texts"):
        program.spoken(lambda random: (np.zeros(100), SAMPLE_RATE), np.random.default_rng(0))


def test_recorded_prompts_are_joined(program: ModuleType, tmp_path: Path) -> None:
    """Tones in G.722: a recording of each speaker, without beeps."""
    av = pytest.importorskip("av")
    import recorded_prompts

    for folder in recorded_prompts.LANGUAGES:
        for name in ("one", "two", "beep"):
            path = tmp_path / "sounds" / folder / f"{name}.g722"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_g722(av, path, seconds=2)
    assert make(program, tmp_path, "--sources", "asterisk", "--asterisk-sounds", str(tmp_path / "sounds")) == 0
    corpus = load_corpus("manifest", tmp_path / "asterisk", tmp_path)
    assert {one.speaker for one in corpus.utterances} == {f"asterisk-{name}" for name in recorded_prompts.LANGUAGES}
    assert [one.audio.seconds() for one in corpus.utterances] == pytest.approx(
        [2 * (2 + recorded_prompts.PAUSE)] * 2, abs=0.01
    )


def write_g722(av: ModuleType, path: Path, seconds: int) -> None:
    """Encode a tone as Debian's packages hold prompts."""
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=SAMPLE_RATE)
        stream.layout = "mono"
        times = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
        tone = (8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def test_texts_are_whole_and_varied(program: ModuleType) -> None:
    import synthetic_texts

    random = np.random.default_rng(0)
    texts = [synthetic_texts.english(random) for _ in range(500)]
    assert not [text for text in texts if set("{}") & set(text)]
    assert len(set(texts)) > 400
    assert 0.25 < np.mean([len(text.split()) <= 3 for text in texts]) < 0.45  # isolated words, and short questions
    for language in synthetic_texts.LETTERS:
        assert all(synthetic_texts.foreign(language, random)[:-1].strip() for _ in range(20))
