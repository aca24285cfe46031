"""Small runs of every family on one corpus of tones: a word's letters are pitches, which speakers raise or lower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

import upstream
from downstream import experiment
from downstream.recipes.options import Options
from downstream.results.record import Result

LETTERS = {"A": 400.0, "B": 1_200.0, "C": 3_600.0}  # Hz
WORDS = ("A", "B C", "CAB", "AB A")
SPEAKERS = {"a": "train", "b": "train", "c": "train", "d": "dev", "e": "dev", "f": "test", "g": "test"}
MANIFEST = ("corpus.name=manifest", "split.rule=published", "corpus.effects.gain=-3")
SHORT = ("training.steps=12", "training.evaluate_every=4")
FAMILIES = {
    "class": ("emotion", *MANIFEST, *SHORT, "training.batch=8", "sweep.seed=[0, 1]", "sweep.layer=mix",
              "optimizer.lr=1e-2"),
    "text": ("asr", *MANIFEST, "training.steps=60", "training.evaluate_every=20", "head.projection=32",
             "head.hidden=32", "head.depth=1", "head.spec_augment=null", "training.batch_seconds=null",
             "training.batch=12", "optimizer.lr=2e-2"),
    "speaker": ("sv_xvector", *MANIFEST, *SHORT, "split.longer_than=0", "head.projection=8", "training.batch=6",
                "training.crop=null", "sweep.seed=[0, 1]", "optimizer.lr=1e-3"),
    "fitted": ("sv", *MANIFEST, "split.longer_than=0", "head.kind=plda"),
}  # fmt: skip
COMPARING = ("speaker", "fitted")  # those whose answers are about pairs


def write_words(folder: Path) -> Path:
    """Write every speaker's words, twice each, with a manifest whose columns serve every family."""
    generator, lines = np.random.default_rng(0), ["path,speaker,split,emotion,text"]
    for number, (speaker, split) in enumerate(SPEAKERS.items()):
        for take in (0, 1):
            for word in WORDS:
                name = f"{speaker}{take}-{word.replace(' ', '')}.wav"
                pitches = [LETTERS.get(letter, 0.0) * 1.03**number for letter in word]
                sound = np.concatenate([0.3 * np.sin(2 * np.pi * p * np.arange(1_600) / 16_000) for p in pitches])
                noisy = sound + 0.01 * generator.standard_normal(len(sound))
                soundfile.write(folder / name, noisy, 16_000)
                lines.append(f"{name},{speaker},{split},{word.replace(' ', '')},{word}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def small_run(family: str, corpus: Path, place: Path, *overrides: str, final: bool = False) -> Result:
    """Return the record of a run of an untrained WavLM; of a filterbank, whose letters are learned in seconds."""
    recipe, *own = FAMILIES[family]
    places = {"results": place / "results", "store": place / "store"}
    chosen, changed = experiment.chosen_recipe(recipe, [*own, *overrides])
    options = Options(data=corpus, **places, seed=3, final=final, progress=False, overrides=changed)
    is_filterbank = family == "text"
    name = "fbank_no_cmvn" if is_filterbank else "wavlm_nano"
    model = upstream.load(name, random_init=not is_filterbank, seed=3)
    outcome = experiment.run(model, chosen, options)
    assert outcome is not None
    return outcome.result
