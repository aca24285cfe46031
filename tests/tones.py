"""A small corpus of tones that take seconds to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

EMOTIONS = {"low": 200.0, "middle": 800.0, "high": 3_000.0}  # centre frequencies in Hz, easy to tell apart
SPEAKERS = 6


def write_emotions(folder: Path) -> Path:
    """Tones in noise, with a manifest.csv: six speakers, three "emotions", four takes each."""
    generator = np.random.default_rng(0)
    lines = ["path,speaker,emotion"]
    for speaker in range(SPEAKERS):
        for emotion, frequency in EMOTIONS.items():
            for take in range(4):
                samples = 6_000 + int(generator.integers(4_000))
                pitch = frequency * generator.uniform(0.9, 1.1)
                tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(samples) / 16_000)
                name = f"s{speaker}_{emotion}_{take}.wav"
                soundfile.write(folder / name, tone + 0.02 * generator.standard_normal(samples), 16_000)
                lines.append(f"{name},s{speaker},{emotion}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder
