"""The effects that sox carries out for SUPERB: by hand, as sox did it, and beside sox where there is one."""

from __future__ import annotations

import shutil
import subprocess
import zlib

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from places import SHARED_DATA
from torch import Tensor

from downstream.data.effects import Effects, gain, remove_silence

SUPERB = Effects(decibels=-3.0, silence=True)
SUPERB_ARGUMENTS = ["gain", "-3.0", "silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"]
# The mean power in a 20 ms window has to exceed (0.1 % of full scale)^2. Of samples of level 100 / 32768, 3 dB lowered,
# k in a window of 320 do so from k = 320 (32.768 / 70.795)^2 = 68.6 on: the 69th sample of a burst is the first loud
# one, and 320 - 69 = 251 samples after the burst are still loud.
LEVEL, ATTACK, TAIL = 100, 68, 251
HOLD = 1_600  # 0.1 s


def pulses(*parts: tuple[int, int]) -> Tensor:
    """Stretches of (samples, level), one after the other; samples alternate in sign. Levels are of 16-bit PCM."""
    levels = np.concatenate([np.full(count, level) for count, level in parts])
    return waveform(levels * (1 - 2 * (np.arange(len(levels)) % 2)))


def waveform(pcm: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy((pcm / 32_768).astype(np.float32))


def noise(*parts: tuple[float, int]) -> Tensor:
    """Stretches of (seconds, peak) of the same uniform noise on every machine: a linear congruential generator."""
    pcm, state = [], 1
    for seconds, peak in parts:
        for _ in range(round(seconds * 16_000)):
            state = (1_664_525 * state + 1_013_904_223) % 2**32
            pcm.append((state >> 16) % (2 * peak + 1) - peak)
    return waveform(np.array(pcm))


def pcm_of(samples: Tensor) -> bytes:
    """As 32-bit PCM: with fewer bits sox would measure the RMS with fewer, where `silence` is the first effect."""
    return (samples.numpy().astype(np.float64) * 2**31).astype("<i4").tobytes()


def test_gain_scales_rounds_and_clips() -> None:
    # 10^(-3/20) = 0.70794578; sox answers in steps of 2^-24.
    assert gain(torch.tensor([0.5, -0.5, 0.0]), -3.0).tolist() == [5_938_680 / 2**24, -5_938_680 / 2**24, 0.0]
    assert gain(torch.tensor([0.9, -0.9]), 6.0).tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("burst", "after", "left"),
    [
        (8_000, 0, 8_000 - ATTACK),  # audible to the end
        (8_000, TAIL + HOLD - 1, 8_000 - ATTACK + TAIL + HOLD - 1),  # the end is too short to be called silence
        (8_000, TAIL + HOLD, 8_000 - ATTACK + TAIL),
        (8_000, 20_000, 8_000 - ATTACK + TAIL),
        (HOLD + ATTACK - TAIL, 20_000, HOLD),  # loud for 0.1 s and no longer
        (HOLD + ATTACK - TAIL - 1, 20_000, 0),
        (HOLD + ATTACK - 1, 0, 0),
    ],
)
def test_silence_about_a_burst_is_removed(burst: int, after: int, left: int) -> None:
    audio = pulses((5_000, 0), (burst, LEVEL), (after, 0))
    kept = SUPERB(audio)
    begin = 5_000 + ATTACK
    assert len(kept) == left
    assert torch.equal(kept, gain(audio, -3.0)[begin : begin + left])


@pytest.mark.parametrize(
    ("gap", "removed"),
    [
        (TAIL + HOLD - ATTACK - 1, 0),  # with the silent beginning of the next burst still under 0.1 s
        (TAIL + HOLD - ATTACK, HOLD + ATTACK),  # 0.1 s; the empty window then makes the burst begin silent again
        (TAIL + HOLD, HOLD + ATTACK),
        (5_000, 5_000 - TAIL + ATTACK),
    ],
)
def test_a_gap_is_removed_from_a_tenth_of_a_second_on(gap: int, removed: int) -> None:
    audio = pulses((8_000, LEVEL), (gap, 0), (8_000, LEVEL))
    quieter = gain(audio, -3.0)[ATTACK:]
    silence = 8_000 + TAIL - ATTACK
    assert torch.equal(SUPERB(audio), torch.cat([quieter[:silence], quieter[silence + removed :]]))


def test_the_threshold_is_a_tenth_of_a_percent_after_the_gain() -> None:
    # 0.1 % of 32768 is 32.8; 46 and 47 become 32.6 and 33.3 by 3 dB less.
    assert len(SUPERB(pulses((16_000, 46)))) == 0
    assert len(SUPERB(pulses((16_000, 47)))) == 16_000 - 310  # 320 (46.29 / 47)^2 = 310.3
    assert len(remove_silence(pulses((16_000, 32)))) == 0
    assert len(remove_silence(pulses((16_000, 33)))) == 16_000 - 315  # 320 (32.768 / 33)^2 = 315.5
    assert len(remove_silence(pulses((16_000, 33)), percent=0.2)) == 0
    assert len(remove_silence(pulses((1_500, 33)), duration=0.05)) == 1_500 - 315


def test_digital_silence_and_nothing_leave_nothing() -> None:
    for audio in (torch.zeros(20_000), torch.zeros(0), torch.zeros(1)):
        kept = SUPERB(audio)
        assert kept.shape == (0,)
        assert kept.dtype == torch.float32


# Made with sox 14.4.2 (Debian 14.4.2+git20190427-3.5) from noise() as 32-bit PCM:
# sox -D -t raw -r 16000 -c 1 -e signed -b 32 - -t raw -e float -b 32 - EFFECTS
# parts, effects, samples that are left, CRC-32 of them as little-endian float32
Golden = tuple[list[tuple[float, int]], list[str], int, int]
GOLDEN: list[Golden] = [
    (
        [
            (0.3, 0),
            (0.6, 8000),
            (0.05, 0),
            (0.4, 8000),
            (0.1, 0),
            (0.4, 8000),
            (0.2, 0),
            (0.4, 8000),
            (0.5, 0),
            (0.5, 8000),
            (0.3, 0),
        ],
        SUPERB_ARGUMENTS,
        40157,
        79933690,
    ),
    (
        [
            (0.3, 20),
            (0.6, 90),
            (0.05, 20),
            (0.4, 90),
            (0.1, 20),
            (0.4, 90),
            (0.2, 20),
            (0.4, 90),
            (0.5, 20),
            (0.5, 90),
            (0.3, 20),
        ],
        SUPERB_ARGUMENTS,
        36827,
        3377932389,
    ),
    (
        [(0.2, 75), (0.7, 80), (0.2, 70), (0.5, 82), (0.15, 60), (0.4, 79), (0.11, 40), (0.3, 30000), (0.4, 78)],
        SUPERB_ARGUMENTS,
        14579,
        3828905786,
    ),
    ([(3.0, 80)], SUPERB_ARGUMENTS, 0, 0),
    (
        [(1.2, 32000), (0.3, 60), (0.08, 32000), (0.3, 0), (0.12, 200), (0.11, 0), (0.5, 32000)],
        SUPERB_ARGUMENTS,
        31150,
        626770089,
    ),
    ([(0.09, 5000), (0.2, 0), (0.08, 5000), (0.2, 0)], SUPERB_ARGUMENTS, 1758, 2226409866),
    (
        [(0.2, 0), (0.1, 300), (0.03, 0), (0.1, 300), (0.005, 0), (0.05, 300), (0.022, 20)],
        ["silence", "1", "0.02", "0.5%", "-1", "0.02", "0.5%"],
        2698,
        961835560,
    ),
    ([(0.5, 10000)], ["gain", "-3.0"], 8000, 4098541349),
    ([(0.5, 32000)], ["gain", "6.5"], 8000, 268088807),
]


def ours(arguments: list[str], audio: Tensor) -> Tensor:
    """What this harness makes of arguments to sox."""
    if arguments[0] == "gain":
        return Effects(float(arguments[1]), silence="silence" in arguments)(audio)
    return remove_silence(audio, float(arguments[2]), float(arguments[3].rstrip("%")))


@pytest.mark.parametrize("golden", GOLDEN)
def test_as_sox_did_it(golden: Golden) -> None:
    parts, arguments, left, checksum = golden
    kept = ours(arguments, noise(*parts))
    assert len(kept) == left
    assert zlib.crc32(kept.numpy().astype("<f4").tobytes()) == checksum


def by_sox(audio: Tensor, arguments: list[str]) -> Tensor:
    """What the sox on this machine makes of it."""
    raw = ["-t", "raw", "-r", "16000", "-c", "1", "-e", "signed-integer", "-b", "32", "-"]
    made = subprocess.run(
        ["sox", "-D", *raw, "-t", "raw", "-e", "floating-point", "-b", "32", "-L", "-", *arguments],
        input=pcm_of(audio),
        capture_output=True,
        check=True,
    )
    return torch.from_numpy(np.frombuffer(made.stdout, "<f4").copy())


@pytest.mark.skipif(shutil.which("sox") is None, reason="no sox on PATH")
@pytest.mark.parametrize("golden", GOLDEN)
def test_beside_sox(golden: Golden) -> None:
    parts, arguments, _, _ = golden
    assert torch.equal(ours(arguments, noise(*parts)), by_sox(noise(*parts), arguments))


@pytest.mark.skipif(shutil.which("sox") is None, reason="no sox on PATH")
@pytest.mark.parametrize("corpus", ["fsdd", "ravdess", "speechocean762"])
def test_beside_sox_on_recordings(corpus: str) -> None:
    recordings = sorted((SHARED_DATA / corpus).rglob("*.flac"))[::100]
    if not recordings:
        pytest.skip(f"no {corpus}")
    for path in recordings:
        audio = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        assert torch.equal(SUPERB(audio), by_sox(audio, SUPERB_ARGUMENTS)), path


def test_effects_say_what_they_do() -> None:
    assert Effects().describe() == ""
    assert Effects(decibels=-3.0).describe() == "gain -3.0 dB (version 1)"
    assert SUPERB.describe() == "gain -3.0 dB, silence removed (version 1)"
    assert Effects(silence=True).describe() == "silence removed (version 1)"


def test_no_effects_leave_the_waveform_alone() -> None:
    audio = torch.rand(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Effects()(audio), audio)
    assert torch.equal(Effects(decibels=-3.0)(audio), gain(audio, -3.0))


def test_samples_stay_integers_between_effects() -> None:
    """0.1 % of full scale is 2147483.6 of sox's units; rounding to float32's 16777 x 128 on the way is below it."""
    audio = torch.full((16_000,), 3_033_402 / 2**31)  # 2147484.2 after 3 dB less
    assert len(SUPERB(audio)) == 16_000 - 319
    assert len(remove_silence(gain(audio, -3.0))) == 0
