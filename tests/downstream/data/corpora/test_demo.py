"""The demo corpus: synthesis that depends on its arguments alone, a cache that repairs itself, a balanced design."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from places import REPOSITORY

from downstream.data import acoustics
from downstream.data.corpora import demo, espeak, manifest
from downstream.data.corpus import TimedSegment, Utterance
from upstream.base import SAMPLE_RATE
from upstream.errors import UserError

SEED = 5

# The variants differ in what espeak-ng draws or carries over: flutter, roughness, breath, echo.
VOICES = ("en-us", "en-us+m1", "en+f2", "en-029+f5")

SPEAK_AND_PRINT = """
import hashlib, sys
from downstream.data.corpora import demo
wanted, seed = sys.argv[1].split(","), int(sys.argv[2])
prompts = {prompt.id: prompt for prompt in demo.script()}
for name in wanted:
    print(name, hashlib.sha256(demo.perform(prompts[name], seed).samples.tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def few() -> list[demo.Prompt]:
    """Four prompts: two speakers, a sentence and a word of each."""
    wanted = ("f02-sentence02-sad", "m01-sentence01-angry", "f02-word-yes", "m01-word-stop")
    chosen = [prompt for prompt in demo.script() if prompt.id in wanted]
    assert len(chosen) == len(wanted)
    return chosen


@pytest.fixture(scope="module")
def made(few: list[demo.Prompt], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four utterances; tests copy it."""
    folder = tmp_path_factory.mktemp("demo") / "made"
    demo.make(folder, few, SEED)
    return folder


@pytest.fixture
def small_script(few: list[demo.Prompt], monkeypatch: pytest.MonkeyPatch) -> list[demo.Prompt]:
    """Let the corpus consist of the four prompts."""
    monkeypatch.setattr(demo, "script", lambda: few)
    return few


@pytest.mark.parametrize("voice", VOICES)
def test_espeak_forgets_what_it_said_before(voice: str) -> None:
    text = "the box is under the table."
    first, rate = espeak.synthesise(text, voice, pitch=60)
    espeak.synthesise("something else, and a good deal longer.", "en-us+m3", rate=300, volume=200)
    again, _ = espeak.synthesise(text, voice, pitch=60)
    assert rate > 8000
    assert first.dtype == np.float32
    assert np.abs(first).max() > 0.05
    np.testing.assert_array_equal(first, again)


def test_espeak_obeys_its_parameters() -> None:
    def power(**prosody: int) -> tuple[int, float]:
        samples, _ = espeak.synthesise("we walked along the river.", "en-us+f1", **prosody)
        return len(samples), float(np.square(samples).mean())

    length, loudness = power()
    assert power(rate=260)[0] < 0.8 * length
    assert power(volume=50)[1] < 0.5 * loudness
    assert power(pitch=80) != power(pitch=20)
    assert power(pitch_range=90) != power(pitch_range=10)


@pytest.mark.parametrize(
    ("voice", "complaint"), [("en-us+nobody", "no voice variant 'nobody'"), ("xx-none", "no voice for that language")]
)
def test_espeak_says_which_voice_it_lacks(voice: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        espeak.synthesise("hello", voice)


def test_missing_library_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match="pip install espeakng-loader"):
        demo.load(tmp_path)
    assert not list(tmp_path.iterdir())


def test_broken_library_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "libespeak-ng.so"
    library.write_bytes(b"not a library")
    monkeypatch.setattr(espeak, "locate", lambda: str(library))
    with pytest.raises(UserError, match="--force-reinstall espeakng-loader"):
        espeak.version()
    with pytest.raises(UserError, match="--force-reinstall espeakng-loader"):
        espeak.synthesise("hello", "en-us")


def test_missing_data_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / Path(espeak.locate()).name
    shutil.copyfile(espeak.locate(), library)
    monkeypatch.setattr(espeak, "locate", lambda: str(library))
    with pytest.raises(UserError, match=r"no data in .*espeak-ng-data"):
        espeak.synthesise("hello", "en-us")


def test_deep_installation_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library cuts its data's path at 160 characters, so it must never be given a long one."""
    installed = Path(espeak.locate())
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    for name in (installed.name, espeak.DATA):
        os.symlink(installed.parent / name, deep / name)
    expected, _ = espeak.synthesise("hello", "en-us")
    monkeypatch.setattr(espeak, "locate", lambda: str(deep / installed.name))
    np.testing.assert_array_equal(espeak.synthesise("hello", "en-us")[0], expected)


def test_same_utterances_in_any_order_and_process(few: list[demo.Prompt]) -> None:
    here = {prompt.id: fingerprint(demo.perform(prompt, SEED).samples) for prompt in few}
    assert len(set(here.values())) == len(few)
    assert speak_elsewhere([prompt.id for prompt in reversed(few)]) == here
    assert fingerprint(demo.perform(few[0], SEED + 1).samples) != here[few[0].id]


def fingerprint(samples: np.ndarray) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()


def speak_elsewhere(names: Sequence[str]) -> dict[str, str]:
    """Fingerprint of every named utterance, made in another process, in this order."""
    command = [sys.executable, "-c", SPEAK_AND_PRINT, ",".join(names), str(SEED)]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return dict(line.split() for line in finished.stdout.splitlines())


def test_recordings_are_fit_to_use(made: Path, few: list[demo.Prompt]) -> None:
    for prompt in few:
        segment = demo.utterance(prompt, made).audio
        waveform = segment.load()
        assert waveform.dim() == 1
        assert segment.seconds() == pytest.approx(len(waveform) / SAMPLE_RATE)
        assert 0.3 < segment.seconds() < (5.0 if prompt.emotion else 1.5)
        assert 0.01 < float(waveform.abs().max()) <= demo.LARGEST_PEAK + 1e-4
        quietest = waveform.unfold(0, 400, 400).square().mean(dim=1).min()
        assert float(quietest) > 0  # noise also between speech


def test_cache_is_used_again(small_script: list[demo.Prompt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo.load(tmp_path, SEED)
    monkeypatch.setattr(demo, "perform", forbidden)
    again = demo.load(tmp_path, SEED)
    assert first == again
    assert [u.id for u in again.utterances] == [prompt.id for prompt in small_script]
    assert again.synthetic
    assert "synthetic" in again.title.lower()
    with pytest.raises(AssertionError, match="synthesised"):
        demo.load(tmp_path, SEED + 1)  # another corpus
    monkeypatch.setattr(demo, "DEMO_VERSION", demo.DEMO_VERSION + 1)
    with pytest.raises(AssertionError, match="synthesised"):
        demo.load(tmp_path, SEED)


def forbidden(prompt: demo.Prompt, seed: int) -> None:
    raise AssertionError(f"{prompt.id} was synthesised with seed {seed}")


@pytest.mark.parametrize(
    "damage", ["missing file", "altered file", "missing listing", "short listing", "garbled listing"]
)
def test_damaged_cache_is_made_again(damage: str, made: Path, few: list[demo.Prompt], tmp_path: Path) -> None:
    folder = tmp_path / "demo" / "copy"
    shutil.copytree(made, folder)
    assert demo.intact(folder, few)
    victim, listing = folder / few[0].file, folder / "manifest.csv"
    if damage == "missing file":
        victim.unlink()
    elif damage == "altered file":
        victim.write_bytes(victim.read_bytes()[:-100])
    elif damage == "missing listing":
        listing.unlink()
    elif damage == "garbled listing":
        listing.write_bytes(bytes(range(256)) * 4)
    else:
        listing.write_text("".join(listing.read_text().splitlines(keepends=True)[:-1]))
    assert not demo.intact(folder, few)
    demo.make(folder, few, SEED)
    assert demo.intact(folder, few)
    assert contents(folder) == contents(made)
    assert list(folder.parent.iterdir()) == [folder]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_cache_that_cannot_be_written_is_named(small_script: list[demo.Prompt], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written to .*file"):
        demo.load(tmp_path / "file")


def test_a_full_disk_is_a_sentence(small_script: list[demo.Prompt], tmp_path: Path) -> None:
    """Here a disk that takes files of a kilobyte at most."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(UserError, match="The demo corpus cannot be written to .*; make room"):
            demo.load(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "demo").iterdir()) == []


def test_interrupted_synthesis_leaves_nothing(
    few: list[demo.Prompt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform = demo.perform

    def interrupted(prompt: demo.Prompt, seed: int) -> demo.Take:
        if prompt == few[-1]:
            raise KeyboardInterrupt
        return perform(prompt, seed)

    monkeypatch.setattr(demo, "perform", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.make(tmp_path / "folder", few, SEED)
    assert list(tmp_path.iterdir()) == []


def test_folder_made_meanwhile_by_another_process_is_left(
    made: Path, few: list[demo.Prompt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    write_listing = demo.write_listing

    def finish_after_the_other(draft: Path, prompts: Sequence[demo.Prompt]) -> None:
        write_listing(draft, prompts)
        shutil.copytree(made, folder)
        (folder / "theirs").touch()

    monkeypatch.setattr(demo, "write_listing", finish_after_the_other)
    demo.make(folder, few, SEED)
    assert (folder / "theirs").exists()
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("other_finished", [True, False])
def test_folder_that_cannot_be_moved_into_place(
    other_finished: bool, made: Path, few: list[demo.Prompt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Because another process put its own there a moment ago, which is well, or for a reason that must be told."""
    folder = tmp_path / "folder"

    def refuse(source: Path, target: Path) -> None:
        if other_finished:
            shutil.copytree(made, target)
        raise PermissionError(f"cannot move {source}")

    monkeypatch.setattr("downstream.data.corpora.demo.os.replace", refuse)
    if other_finished:
        demo.make(folder, few, SEED)
        assert contents(folder) == contents(made)
    else:
        with pytest.raises(PermissionError):
            demo.make(folder, few, SEED)
        assert list(tmp_path.iterdir()) == []


def test_segments_are_where_the_voice_is(made: Path, few: list[demo.Prompt]) -> None:
    """The voice without breath, room and noise is silent outside of its segments, and begins and ends them."""
    for prompt in few:
        take = demo.speak_clean(prompt, SEED)
        (segment,) = take.segments
        assert segment == demo.perform(prompt, SEED).segments[0]
        assert segment.speaker == prompt.speaker.id
        power = np.square(take.samples)
        inside = slice(round(segment.start * SAMPLE_RATE), round(segment.end * SAMPLE_RATE))
        assert power[inside].sum() > 0.999 * power.sum()
        assert demo.SILENCE[0] <= segment.start < demo.SILENCE[1] + 0.1
        assert demo.SILENCE[0] <= len(power) / SAMPLE_RATE - segment.end < demo.SILENCE[1] + 0.1


def test_segments_leave_out_silence_before_the_voice_and_pauses_within() -> None:
    """The voice has 50 ms of silence at its start and a pause of 0.15 s; it begins 0.1 s into the utterance."""
    silence, pause, closure = np.zeros(800), np.zeros(2400), np.zeros(1120)
    word = np.sin(np.arange(3200) * 0.3)
    voice = np.concatenate([silence, word, pause, word, closure, word])
    assert demo.speech_segments(voice, 1600, "ann") == (
        TimedSegment(0.15, 0.35, "ann"),
        TimedSegment(0.5, 0.97, "ann"),
    )


@pytest.mark.parametrize("damage", ["missing", "altered", "of another version", "without digest"])
def test_segments_are_derived_again_and_the_audio_is_kept(
    damage: str, small_script: list[demo.Prompt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caches made before there were segments have none."""
    first = demo.load(tmp_path, SEED)
    assert all(len(u.segments) == 1 for u in first.utterances)
    written = contents(Path(first.source))
    path = Path(first.source) / "segments.csv"
    if damage == "missing":
        path.unlink()
        path.with_suffix(".sha256").unlink()
    elif damage == "altered":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "without digest":
        path.with_suffix(".sha256").unlink()
    else:
        path.with_suffix(".sha256").write_text(demo.segments_key(path).replace("version 1", "version 0"))
    monkeypatch.setattr(demo, "perform", forbidden)
    assert demo.load(tmp_path, SEED) == first
    assert contents(Path(first.source)) == written
    monkeypatch.setattr(demo, "speak_clean", forbidden)
    assert demo.load(tmp_path, SEED) == first


def test_segments_of_a_cache_that_cannot_be_written(
    small_script: list[demo.Prompt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = demo.load(tmp_path, SEED)
    path = Path(first.source) / "segments.csv"
    path.unlink()
    path.mkdir()
    assert demo.load(tmp_path, SEED) == first


def test_cached_folder_is_a_manifest_corpus(made: Path, few: list[demo.Prompt]) -> None:
    read = {u.id: u for u in manifest.read(made).utterances}
    for prompt in few:
        row = read[prompt.id]
        assert (row.speaker, row.gender, row.text) == (prompt.speaker.id, prompt.speaker.gender, prompt.text)
        assert prompt.labels.items() <= row.labels.items()
        assert row.segments == demo.perform(prompt, SEED).segments


@pytest.fixture(scope="module")
def design() -> list[Utterance]:
    return [demo.utterance(prompt, Path()) for prompt in demo.script()]


def test_design_is_as_published(design: list[Utterance]) -> None:
    assert len(design) == demo.PUBLISHED.utterances
    assert len({u.speaker for u in design}) == demo.PUBLISHED.speakers
    assert len({u.id for u in design}) == len(design)
    for column, counts in demo.PUBLISHED.labels.items():
        assert Counter(u.labels[column] for u in design if column in u.labels) == counts
    assert all(len(u.labels) == 1 for u in design)
    parts = {u.speaker: u.split for u in design}
    assert Counter(parts.values()) == {"train": 8, "dev": 4, "test": 4}


def test_design_is_balanced(design: list[Utterance]) -> None:
    sentences = [u for u in design if "emotion" in u.labels]
    words = [u for u in design if "keyword" in u.labels]
    assert set(Counter((u.speaker, u.labels["emotion"]) for u in sentences).values()) == {3}
    assert set(Counter((u.text, u.labels["emotion"]) for u in sentences).values()) == {3}
    assert set(Counter(u.speaker for u in words).values()) == {len(demo.KEYWORDS) + demo.OTHER_WORDS_PER_SPEAKER}
    assert set(Counter(u.text for u in words if u.labels["keyword"] == demo.UNKNOWN).values()) == {4}
    genders = Counter(gender for _, gender in {(u.speaker, u.gender) for u in design})
    assert genders == {"female": 8, "male": 8}
    assert all(u.text == u.labels["keyword"] for u in words if u.labels["keyword"] != demo.UNKNOWN)
    assert all(u.text not in demo.KEYWORDS for u in words if u.labels["keyword"] == demo.UNKNOWN)


def test_every_voice_speaks() -> None:
    spoken = {speaker.id: espeak.synthesise("go", speaker.voice)[0] for speaker in demo.SPEAKERS}
    assert len({samples.tobytes() for samples in spoken.values()}) == len(demo.SPEAKERS)


def test_emotions_move_the_sound_as_their_rules_say() -> None:
    """The rules without their spread, measured in the clean voice of one speaker."""
    prompt = next(p for p in demo.script() if p.speaker.id == "m01" and p.emotion == "neutral")
    spoken = {name: acoustics.tilted(demo.speak(prompt, rule), rule.tilt) for name, rule in demo.EMOTIONS.items()}
    assert len(spoken["angry"]) < len(spoken["happy"]) < len(spoken["neutral"]) < len(spoken["sad"])
    bright = {name: brightness(samples) for name, samples in spoken.items()}
    assert bright["angry"] > bright["happy"] > bright["neutral"] > bright["sad"]


def brightness(samples: acoustics.Samples) -> float:
    """Share of the power above 1 kHz."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(power[np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) > 1000].sum() / power.sum())


def test_sound_effects_are_as_strong_as_they_say() -> None:
    random = np.random.default_rng(0)
    signal = random.standard_normal(SAMPLE_RATE)
    octave = np.sin(2 * np.pi * 2000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    assert acoustics.root_mean_square(acoustics.tilted(octave, 6.0)) == pytest.approx(
        acoustics.decibels(6.0) * acoustics.root_mean_square(octave), rel=1e-6
    )
    breath = acoustics.with_breath(signal, -20.0, random) - signal
    assert acoustics.root_mean_square(breath) == pytest.approx(0.1 * acoustics.root_mean_square(signal), rel=1e-6)
    noise = acoustics.with_noise(signal, demo.SIGNAL_TO_NOISE, demo.NOISE_TILT, random) - signal
    distance = -20 * np.log10(acoustics.root_mean_square(noise) / acoustics.root_mean_square(signal))
    assert demo.SIGNAL_TO_NOISE[0] <= distance <= demo.SIGNAL_TO_NOISE[1]
    impulse = np.eye(1, SAMPLE_RATE)[0]
    echo = acoustics.in_room(impulse, 0.3, demo.DIRECT_TO_REVERBERANT, random)[1:]
    assert -demo.DIRECT_TO_REVERBERANT[1] <= 10 * np.log10(np.sum(echo**2)) <= -demo.DIRECT_TO_REVERBERANT[0]
    assert np.sum(echo[:1600] ** 2) > 10 * np.sum(echo[1600:3200] ** 2)  # 60 dB in 0.24 to 0.36 s: over 16 dB in 0.1 s
