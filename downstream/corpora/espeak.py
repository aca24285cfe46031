"""espeak-ng: text in, synthetic speech out; the same call gives the same samples, whatever was spoken before.

The library keeps state that none of its calls resets: where it stands in its pitch flutter, which glottal cycle
it roughens next, how far its gain control has recovered. Two utterances spoken by one process therefore depend on
their order. So every utterance is spoken by a process of its own, which lasts some twenty milliseconds, and this
file is both ends of that: `synthesise` starts the process, `main` is what runs in it. It also settles that the
library must not be called from two threads, and keeps the locale it sets out of ours.

The process starts without site-packages and with three small modules, which is most of its speed: whatever else
this file needs is imported where it is needed.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False  # type checkers take it for true; importing `typing` would cost a fifth of the process's time
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

RANDOM_SEED = 1  # of the library's breath noise, which it would otherwise seed with the time


def synthesise(
    text: str, voice: str, *, rate: int = 175, pitch: int = 50, pitch_range: int = 50, volume: int = 100
) -> tuple[np.ndarray, int]:
    """Speak `text`; return the samples, (S,) float32 in [-1, 1), and their rate in Hz.

    voice: language and, after a plus, variant, as espeak-ng names them: "en-us", "en-gb-scotland+f2".
    rate: words a minute, 80 to 450.
    pitch: 0 to 99; 50 is the voice's own, 50 more is an octave up.
    pitch_range: 0 (monotone) to 99; 50 is the voice's own.
    volume: 0 to 200; 100 is the voice's own.

    Raises MendableError where the library is not installed, does not run here or does not know the voice.
    """
    import subprocess

    import numpy as np

    from upstream.errors import MendableError

    library = locate()
    prosody = [str(value) for value in (rate, volume, pitch, pitch_range)]
    finished = subprocess.run(
        [sys.executable, "-I", "-S", os.path.abspath(__file__), library, text, voice, *prosody],
        # Started beside its data, the library is given the path "."; it cuts long ones off at 160 characters.
        cwd=os.path.dirname(library),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if finished.returncode != 0:
        complaint = finished.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        raise MendableError(
            f"espeak-ng could not speak {text!r} with the voice {voice!r}: {complaint[-1]} (exit status "
            f"{finished.returncode}). If it never speaks here, type: pip install --force-reinstall {PACKAGE}"
        )
    sample_rate = int.from_bytes(finished.stdout[:4], sys.byteorder)
    samples = np.frombuffer(finished.stdout, dtype=np.int16, offset=4)
    return samples.astype(np.float32) / 32768, sample_rate


def version() -> str:
    """The version of the espeak-ng library, such as "1.52.0". Raises MendableError where there is none."""
    from upstream.errors import MendableError

    library = locate()
    try:
        espeak = ctypes.CDLL(library)
    except OSError as error:
        raise MendableError(
            f"The espeak-ng library {library} cannot be loaded ({error}); type: pip install --force-reinstall {PACKAGE}"
        ) from error
    espeak.espeak_Info.restype = ctypes.c_char_p
    return bytes(espeak.espeak_Info(None)).decode()


def locate() -> str:
    """Path of the library; its data lie beside it. Raises MendableError where the package is not installed."""
    from upstream.errors import MendableError

    try:
        import espeakng_loader
    except ImportError as error:
        raise MendableError(
            f"The demo corpus is spoken by espeak-ng, and the Python package that brings it is not installed "
            f"({error}); type: pip install {PACKAGE}"
        ) from error
    library: str = espeakng_loader.get_library_path()
    return os.path.abspath(library)


# From here on: what runs in the speaking process.


def main(library: str, text: str, voice: str, *prosody: str) -> None:
    """Speak, and write to stdout the rate (4 bytes) and the samples (2 bytes each), in this machine's byte order."""
    rate, volume, pitch, pitch_range = (int(value) for value in prosody)
    parameters = {RATE: rate, VOLUME: volume, PITCH: pitch, PITCH_RANGE: pitch_range}
    sample_rate, samples = speak(ctypes.CDLL(library), text, voice, parameters)
    sys.stdout.buffer.write(sample_rate.to_bytes(4, sys.byteorder) + samples)


def speak(espeak: ctypes.CDLL, text: str, voice: str, parameters: dict[int, int]) -> tuple[int, bytes]:
    """Speak one utterance with a library that nothing has used before; return its rate and its 16-bit samples."""
    sample_rate: int = espeak.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, b".", INITIALIZE_DONT_EXIT)
    require(sample_rate > 0, f"it found no data in {os.path.join(os.getcwd(), DATA)}")
    chunks: list[bytes] = []

    def keep(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

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
    """Set language and variant. The library passes over a variant it lacks in silence, so look for its file."""
    _, plus, variant = voice.partition("+")
    known = not plus or os.path.isfile(os.path.join(DATA, "voices", "!v", variant))
    require(known, f"it has no voice variant {variant!r}")
    require(espeak.espeak_SetVoiceByName(voice.encode()) == OK, "it has no voice for that language")


def require(condition: bool, complaint: str) -> None:
    """Leave the process with a complaint unless the condition holds."""
    if not condition:
        sys.exit(complaint)


if __name__ == "__main__":
    main(*sys.argv[1:])
