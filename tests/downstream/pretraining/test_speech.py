"""Speech of a pre-training: whose it is, at which speeds, what is held back and what is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from small_pretraining import recipe_of
from trees import message

from downstream.pretraining.speech import (
    HOP,
    WINDOW,
    Speech,
    as_frames,
    at_speed,
    frames_of,
    read_speech,
    said_of,
    samples_of,
)
from upstream.wavlm.config import WavLMConfig

RATE = 16_000
SIX = tuple((f"s{number}", 2.0) for number in range(6))


def write_corpus(folder: Path, spoken: Sequence[tuple[str, float]] = SIX, rate: int = RATE, **columns: Any) -> Path:
    """Write recordings of speakers, each another noise, and their manifest; columns: cells of further columns."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(["path", "speaker", *columns])]
    for number, (speaker, seconds) in enumerate(spoken):
        samples = 0.1 * np.random.default_rng(number).standard_normal(round(seconds * rate))
        soundfile.write(folder / f"{number}.wav", samples, rate)
        lines.append(",".join([f"{number}.wav", speaker, *(cells[number] for cells in columns.values())]))
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def read(corpus: Path, **changes: Any) -> Speech:
    return read_speech(recipe_of(**changes), {"tones": corpus}, corpus.parent / "store", progress=False)


def source(**changes: Any) -> list[dict[str, Any]]:
    return [{"corpus": "manifest", "name": "tones", **changes}]


def speakers_of(streams: Sequence[Any]) -> set[str]:
    return {stream.name.split(" x ")[0] for stream in streams}


def test_held_back_speakers_are_learned_at_no_speed(tmp_path: Path) -> None:
    speech = read(write_corpus(tmp_path / "c"), speech=source(speeds=[0.8, 1.0, 1.25]))
    held, learned = speakers_of(speech.held), speakers_of(speech.learned)
    assert held.isdisjoint(learned)
    assert held | learned == {name for name, _ in SIX}
    assert len(held) == 2  # three seconds are asked, and everybody has two
    assert [stream.name for stream in speech.held] == sorted(held)  # at their own speed
    assert len(speech.learned) == 3 * len(learned)
    assert speech.sources[0].hours == pytest.approx(12 / 3600)
    assert speech.seconds == pytest.approx(4 * 2 * (1 / 0.8 + 1 + 1 / 1.25), rel=0.02)
    assert said_of(speech) == "0.01 h to learn from in 12 streams (0.00 h recorded), 4 s of 2 speakers held back."


def test_at_most_half_of_the_speakers_are_held_back(tmp_path: Path) -> None:
    speech = read(write_corpus(tmp_path / "c"), held_back={"seconds": 100.0})
    assert len(speech.held) == len(speech.learned) == 3


def test_more_speakers_leave_those_held_back_in_their_order(tmp_path: Path) -> None:
    few = read(write_corpus(tmp_path / "few"), held_back={"seconds": 1.0})
    many = read(write_corpus(tmp_path / "many", (*SIX, ("s6", 2.0), ("s7", 2.0))), held_back={"seconds": 100.0})
    assert speakers_of(few.held) <= speakers_of(many.held)


@pytest.mark.parametrize("speed", [0.8, 0.87, 1.14, 1.25])
def test_a_speed_moves_the_frequency_of_a_tone(speed: float) -> None:
    waveform = torch.sin(2 * math.pi * 1_000 * torch.arange(RATE) / RATE)
    played = at_speed(waveform, speed)
    assert len(played) == pytest.approx(RATE / speed, abs=2)
    peak = int(torch.fft.rfft(played).abs().argmax()) * RATE / len(played)
    assert peak == pytest.approx(1_000 * speed, rel=0.01)


@pytest.mark.parametrize("samples", [1, 319, 320, 400, 720, 16_123])
def test_streams_are_whole_frames(samples: int) -> None:
    assert len(as_frames(torch.zeros(samples))) == samples // HOP * HOP
    frames = WavLMConfig().frames(samples) if samples >= WINDOW else 0
    assert frames_of(samples) == frames


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 4.0])
def test_windows_make_whole_frames(seconds: float) -> None:
    samples = samples_of(seconds)
    assert samples / RATE == pytest.approx(seconds, abs=0.01)
    assert (frames_of(samples), frames_of(samples - 1)) == (round(seconds * 50), round(seconds * 50) - 1)


def test_loud_samples_are_cut_and_none_turns_over() -> None:
    assert as_frames(torch.full((HOP,), 1.5)).unique().tolist() == [2**15 - 1]
    assert as_frames(torch.full((HOP,), -1.5)).unique().tolist() == [-(2**15)]


def test_short_speakers_share_a_stream(tmp_path: Path) -> None:
    spoken = (*SIX, *((f"t{number}", 0.4) for number in range(5)))
    speech = read(write_corpus(tmp_path / "c", spoken), held_back={"seconds": 1.0})
    (shared,) = [stream for stream in speech.learned + speech.held if stream.name == "short speakers"]
    assert shared.seconds == pytest.approx(2.0, abs=0.41)
    assert not [stream for stream in speech.streams if stream.name.startswith("t")]


def test_recordings_without_a_speaker_are_learned_and_never_held_back(tmp_path: Path) -> None:
    speech = read(write_corpus(tmp_path / "c", (*SIX, ("", 2.0), ("", 2.0))), held_back={"seconds": 100.0})
    assert [stream.seconds for stream in speech.learned if stream.name == "unknown speakers"] == [4.0]
    assert "unknown speakers" not in speakers_of(speech.held)
    assert speech.sources[0].speakers == 6


def test_parts_and_splits_choose(tmp_path: Path) -> None:
    splits = ["train", "train", "train", "train", "dev", "test"]
    corpus = write_corpus(tmp_path / "c", split=splits)
    speech = read(corpus, speech=source(parts=["train"]))
    assert speakers_of(speech.streams) == {"s0", "s1", "s2", "s3"}
    said = message(lambda: read(corpus, speech=source(parts=["training"])))
    assert "has no part 'training'; it has dev, test, train" in said


def test_the_order_of_the_manifest_does_not_matter(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c", (*SIX, *SIX, ("", 1.0)))
    before = read(corpus)
    first, *others = (corpus / "manifest.csv").read_text().splitlines()
    (corpus / "manifest.csv").write_text("\n".join([first, *reversed(others)]) + "\n")
    after = read(corpus)
    assert before.digest() == after.digest()
    for one, other in zip(before.streams, after.streams, strict=True):
        assert torch.equal(one.samples, other.samples)


def test_stereo_and_other_rates_are_as_the_harness_reads_them(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "c", (("a", 2.0), ("b", 2.0)))
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(96_000) / 48_000)
    soundfile.write(folder / "0.wav", np.stack([tone, tone], axis=1), 48_000)
    speech = read(folder)
    (stream,) = [one for one in speech.streams if one.name == "a"]
    assert stream.seconds == 2.0
    spectrum = torch.fft.rfft(stream.samples.float()).abs()
    assert int(spectrum.argmax()) / 2.0 == pytest.approx(440, abs=1)
    assert float(stream.samples.float().abs().max()) / 2**15 == pytest.approx(0.3, abs=0.01)


def test_an_optional_source_without_a_folder_is_left_out_with_a_note(tmp_path: Path) -> None:
    other = {"corpus": "manifest", "name": "more", "optional": True}
    speech = read(write_corpus(tmp_path / "c"), speech=[*source(), other])
    assert [one.name for one in speech.sources] == ["tones"]
    assert speech.notes == ("more was left out: no --data more=DIR was given.",)


def test_two_sources_keep_speakers_of_one_name_apart(tmp_path: Path) -> None:
    recipe = recipe_of(
        speech=[*source(), {"corpus": "manifest", "name": "more", "weight": 3.0}], held_back={"sources": ["more"]}
    )
    folders = {"tones": write_corpus(tmp_path / "a"), "more": write_corpus(tmp_path / "b")}
    speech = read_speech(recipe, folders, tmp_path / "store", progress=False)
    assert {stream.source for stream in speech.held} == {"more"}
    assert sorted({(stream.source, stream.weight) for stream in speech.learned}) == [("more", 3.0), ("tones", 1.0)]
    assert len([stream for stream in speech.learned if stream.source == "tones"]) == 6


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c")
    recipe, store = recipe_of(), tmp_path / "store"
    assert "no speech called 'tunes', which --data names. Did you mean tones?" in message(
        read_speech, recipe, {"tunes": corpus}, store, False
    )
    assert "names no folder; correct it" in message(read_speech, recipe, {"tones": tmp_path / "no"}, store, False)
    assert "There is no manifest.csv" in message(read_speech, recipe, {"tones": tmp_path}, store, False)
    assert "--data tones=DIR" in message(read_speech, recipe, {}, store, False)
    long = recipe_of(batch={"seconds": 60.0, "windows": [30.0]})
    assert "no source of pretrain/small has a stretch of one speaker of 30 s" in message(
        read_speech, long, {"tones": corpus}, store, False
    )
    alone = write_corpus(tmp_path / "alone", (("a", 3.0), ("a", 3.0)))
    assert "No speakers of tones could be held back" in message(read_speech, recipe, {"tones": alone}, store, False)


def test_noise_is_for_mixing_alone(tmp_path: Path) -> None:
    """Speech Commands has recordings of background noise."""
    for number in range(8):
        for word in ("yes", "no"):
            place = tmp_path / "sc" / word
            place.mkdir(parents=True, exist_ok=True)
            samples = 0.1 * np.random.default_rng(number).standard_normal(RATE)
            soundfile.write(place / f"{number:08x}_nohash_0.wav", samples, RATE)
    (tmp_path / "sc" / "_background_noise_").mkdir()
    hum = 0.1 * np.random.default_rng(9).standard_normal(3 * RATE)
    soundfile.write(tmp_path / "sc" / "_background_noise_" / "hum.wav", hum, RATE)
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / "sc" / name).write_text("")
    recipe = recipe_of(speech=[{"corpus": "speech_commands_v1"}])
    speech = read_speech(recipe, {"speech_commands_v1": tmp_path / "sc"}, tmp_path / "store", progress=False)
    (noise,) = speech.noises
    assert (noise.seconds, noise.source) == (3.0, "speech_commands_v1")
    assert sum(stream.seconds for stream in speech.streams) == 16.0
