"""Small trees of corpora in their published layouts, and how their readers refuse others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from upstream.errors import UserError


def sound(path: Path, rate: int = 16_000, channels: int = 1, seconds: float = 0.01) -> Path:
    """Write a short tone and make its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.5 * np.sin(np.arange(round(rate * seconds)) * 0.1)
    soundfile.write(path, np.tile(tone[:, None], (1, channels)), rate)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def message(call: object, *arguments: object) -> str:
    """The sentence with which a call refuses its arguments."""
    assert callable(call)
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)
