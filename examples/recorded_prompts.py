"""A source of synthetic_speech.py that is not synthetic: the telephone prompts of Asterisk in Russian and Italian.

Debian has them in G.722 at 16 kHz. Those of other languages there are share-alike and are not used.
"""

from __future__ import annotations

from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from downstream.data.acoustics import Samples
from upstream.base import SAMPLE_RATE
from upstream.errors import UserError

DEBIAN_FOLDER = Path("/usr/share/asterisk/sounds")
LANGUAGES = {"ru_RU_f_IvrvoiceRU": "ru", "it_IT_m_Carlo": "it"}  # by the folder of a speaker
NO_SPEECH = {"silence", "beep", "beeperr", "ascending-2tone", "descending-2tone", "tt-monkeys"}
BYTES_A_MINUTE = 60 * 8000  # of G.722
PAUSE = 0.35  # seconds between prompts

ABOUT = (
    "Telephone prompts of the Asterisk core sounds 1.6.1 (http://downloads.asterisk.org/pub/telephony/asterisk), under "
    "CC BY 3.0 (https://creativecommons.org/licenses/by/3.0/). Russian: copyright 2010 Maxim, provided by Maxim Topal "
    "(http://www.ivrvoice.ru). Italian: copyright 2012 Carlo Flora (http://www.segreterietelefoniche.it), recorded by "
    "Carlo Flora (http://www.carloflora.com), translated by Silvia Petrin.\n\nChanged: decoded from G.722 and joined, "
    "in a drawn order and with pauses, to files of about a minute; what is not speech was left out."
)


class Minute(NamedTuple):
    """Recordings of a speaker that end in this minute when all of them are joined."""

    number: int
    speaker: str
    files: list[Path]


def asterisk_prompts(folder: Path, seed: int) -> list[Minute]:
    """All recordings in a drawn order, minute by minute, speakers in turn.

    Raises UserError if the folder lacks a speaker, or PyAV is missing.
    """
    if find_spec("av") is None:
        raise UserError("G.722 is decoded by PyAV, which is not installed; type: pip install av")
    minutes: dict[tuple[int, str], list[Path]] = defaultdict(list)
    for name, language in LANGUAGES.items():
        files = [file for file in sorted((folder / name).rglob("*.g722")) if is_speech(file)]
        if not files:
            raise UserError(
                f"There are no recordings, *.g722, in {folder / name}; type: apt-get install "
                f"asterisk-core-sounds-{language}-g722, or pass their folder by --asterisk-sounds"
            )
        size = 0
        for place in np.random.default_rng(seed).permutation(len(files)):
            size += files[place].stat().st_size
            minutes[size // BYTES_A_MINUTE, f"asterisk-{name}"].append(files[place])
    return [Minute(number, speaker, files) for (number, speaker), files in sorted(minutes.items())]


def is_speech(file: Path) -> bool:
    """True unless a recording is empty, silence, a tone or an animal."""
    return file.stat().st_size > 0 and not {file.stem, file.parent.name} & NO_SPEECH


def joined(files: list[Path]) -> Samples:
    """Decode recordings and put pauses between them; (S,) at 16 kHz."""
    import av

    pieces: list[Samples] = []
    for file in files:
        with av.open(str(file), format="g722") as container:
            pieces += [frame.to_ndarray().reshape(-1) / 32768 for frame in container.decode(audio=0)]
        pieces.append(np.zeros(round(PAUSE * SAMPLE_RATE)))
    return np.concatenate(pieces)
