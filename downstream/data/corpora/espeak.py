"""Speech synthesis by espeak-ng; the same call gives the same samples, whatever was spoken before.

The library keeps state that none of its calls resets: its position in the pitch flutter, the next glottal cycle to
roughen, the recovery of its gain control. Within one process, utterances therefore depend on their order. So every
utterance is spoken by a separate process, which takes some twenty milliseconds. This file is both ends: `synthesise`
starts the process, `main` runs in it. This also keeps the library, which is not thread-safe, to one thread, and the
locale it sets out of our process.

The process is fast because it starts without site-packages and with three small modules; all other imports stand
inside functions.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False  # True to type checkers; importing `typing` would take a fifth of the process's time
if TYPE_CHECKING:
    import numpy as np

PACKAGE = "espeakng-loader"
DATA = "espeak-ng-data"

# Values of speak_lib.h, the library's public header (API revision 12).
OK = 0
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
POSITION_CHARACTER = 1
RATE, VOLUME, PITCH, PITCH_RANGE = 1, 2, 3, 4

RANDOM_SEED = 1  # of the library's breath noise; its default is the time


def synthesise(
    text: str, voice: str, *, rate: int = 175, pitch: int = 50, pitch_range: int = 50, volume: int = 100
) -> tuple[np.ndarray, int]:
    """Speak `text`; return the samples, (S,) float32 in [-1, 1), and their rate in Hz.

    voice: language and, after a plus, variant, as espeak-ng names them: "en-us", "en-gb-scotland+f2".
    rate: words a minute, 80 to 450.
    pitch: 0 to 99; 50 is the voice's default, 50 more is an octave up.
    pitch_range: 0 (monotone) to 99; 50 is the voice's default.
    volume: 0 to 200; 100 is the voice's default.

    Raises UserError if the library is not installed, does not run here or does not know the voice.
    """
    import subprocess

    import numpy as np

    from upstream.errors import UserError

    library = locate()
    prosody = [str(value) for value in (rate, volume, pitch, pitch_range)]
    finished = subprocess.run(
        [sys.executable, "-I", "-S", os.path.abspath(__file__), library, text, voice, *prosody],
        # Runs beside the library's data, whose path is then "."; the library truncates paths at 160 characters.
        cwd=os.path.dirname(library),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if finished.returncode != 0:
        complaint = finished.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        raise UserError(
            f"espeak-ng could not speak {text!r} with the voice {voice!r}: {complaint[-1]} (exit status "
            f"{finished.returncode}). If no text works here, type: pip install --force-reinstall {PACKAGE}"
        )
    sample_rate = int.from_bytes(finished.stdout[:4], sys.byteorder)
    samples = np.frombuffer(finished.stdout, dtype=np.int16, offset=4)
    return samples.astype(np.float32) / 32768, sample_rate


def version() -> str:
    """The version of the espeak-ng library, such as "1.52.0". Raises UserError if it cannot be loaded."""
    from upstream.errors import UserError

    library = locate()
    try:
        espeak = ctypes.CDLL(library)
    except OSError as error:
        raise UserError(
            f"The espeak-ng library {library} cannot be loaded ({error}); type: pip install --force-reinstall {PACKAGE}"
        ) from error
    espeak.espeak_Info.restype = ctypes.c_char_p
    return bytes(espeak.espeak_Info(None)).decode()


def locate() -> str:
    """Path of the library; its data are beside it. Raises UserError if the package is not installed."""
    from upstream.errors import UserError

    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError(
            f"The demo corpus is spoken by espeak-ng, and the Python package that brings it is not installed "
            f"({error}); type: pip install {PACKAGE}"
        ) from error
    library: str = espeakng_loader.get_library_path()
    return os.path.abspath(library)


# From here on: runs in the speaking process.


def main(library: str, text: str, voice: str, *prosody: str) -> None:
    """Speak, and write the rate (4 bytes) and the samples (2 bytes each) to stdout, in this machine's byte order."""
    rate, volume, pitch, pitch_range = (int(value) for value in prosody)
    parameters = {RATE: rate, VOLUME: volume, PITCH: pitch, PITCH_RANGE: pitch_range}
    sample_rate, samples = speak(ctypes.CDLL(library), text, voice, parameters)
    sys.stdout.buffer.write(sample_rate.to_bytes(4, sys.byteorder) + samples)


def speak(espeak: ctypes.CDLL, text: str, voice: str, parameters: dict[int, int]) -> tuple[int, bytes]:
    """Speak one utterance with a freshly loaded library; return the rate and the 16-bit samples."""
    sample_rate: int = espeak.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, b".", INITIALIZE_DONT_EXIT)
    require(sample_rate > 0, f"it found no data in {os.path.join(os.getcwd(), DATA)}")
    chunks: list[bytes] = []

    def keep(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0  # continue

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(keep)
    espeak.espeak_SetSynthCallback(callback)
    select_voice(espeak, voice)
    for parameter, value in parameters.items():
        require(espeak.espeak_SetParameter(parameter, value, 0) == OK, f"it refused {value} as parameter {parameter}")
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))
    encoded = text.encode()
    size = ctypes.c_size_t(len(encoded) + 1)
    status = espeak.espeak_Synth(encoded, size, 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None)
    require(status == OK and len(chunks) > 0, "it returned no audio")
    return sample_rate, b"".join(chunks)


def select_voice(espeak: ctypes.CDLL, voice: str) -> None:
    """Set language and variant. The library silently ignores unknown variants, so check for the file."""
    _, plus, variant = voice.partition("+")
    known = not plus or os.path.isfile(os.path.join(DATA, "voices", "!v", variant))
    require(known, f"it has no voice variant {variant!r}")
    require(espeak.espeak_SetVoiceByName(voice.encode()) == OK, "it has no voice for that language")


def require(condition: bool, complaint: str) -> None:
    """Exit the process with a complaint unless the condition holds."""
    if not condition:
        sys.exit(complaint)


if __name__ == "__main__":
    main(*sys.argv[1:])
