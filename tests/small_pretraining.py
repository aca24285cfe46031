"""Small pre-trainings: some seconds of structured tones, two blocks of width 32, and updates that take moments."""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from downstream.pretraining import PretrainingOptions, pretrain
from downstream.pretraining.flow import Outcome
from downstream.recipes import PretrainingRecipe
from upstream.ranks import ALONE, Ranks, current

RATE = 16_000
SPEAKERS = 6
NOTES = (150.0, 250.0, 400.0, 700.0, 1_100.0, 1_900.0, 3_100.0)  # Hz; each follows the one before it
NOTE_SECONDS = 0.12

NOTHING_DROPPED = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"), 0.0
)
MODEL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "num_codevectors_per_group": 8,
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
    "num_negatives": 5,
}
MASKED = {
    "steps": 4,
    "targets": [{"features": "mfcc", "clusters": 8}, {"features": "pitch", "clusters": 4}],
    "objective": {"kind": "masked_prediction", "logits": "linear", "unmasked": [1.0, 0.5]},
    "optimizer": {"lr": 1e-3, "warmup": 0.5},
}
SECOND = {
    "steps": 3,
    "targets": [{"features": "layer", "layer": 1, "clusters": 6}, {"features": "pitch", "clusters": 4}],
    "objective": {"kind": "masked_prediction"},
    "optimizer": {"lr": 1e-3},
}
CONTRASTIVE = {"steps": 4, "objective": {"kind": "contrastive"}, "optimizer": {"lr": 1e-3}}
CONTENT: dict[str, Any] = {
    "name": "pretrain/small",
    "version": 1,
    "title": "A small one",
    "speech": [{"corpus": "manifest", "name": "tones"}],
    "held_back": {"seconds": 3.0, "window": 1.0},
    "model": MODEL,
    "batch": {"seconds": 3.0, "windows": [0.5, 1.0]},
    "stages": [MASKED],
    "watch": {"every": 2},
}


def write_tones(folder: Path, speakers: int = SPEAKERS, seconds: float = 4.0) -> Path:
    """Write a manifest corpus: every speaker repeats the same notes, at a pitch and with noise of their own."""
    generator = np.random.default_rng(0)
    lines = ["path,speaker"]
    for speaker in range(speakers):
        for take in range(2):
            name = f"s{speaker}_{take}.wav"
            soundfile.write(folder / name, melody(generator, seconds / 2), RATE)
            lines.append(f"{name},s{speaker}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def melody(generator: np.random.Generator, seconds: float) -> Any:
    """Return notes in their order, from a drawn one on, in noise."""
    note, first = round(NOTE_SECONDS * RATE), int(generator.integers(len(NOTES)))
    higher = generator.uniform(0.95, 1.05)
    count = round(seconds * RATE)
    frequencies = [NOTES[(first + number) % len(NOTES)] * higher for number in range(count // note + 1)]
    phases = 2 * np.pi * np.cumsum(np.repeat(frequencies, note)[:count]) / RATE
    return 0.3 * np.sin(phases) + 0.01 * generator.standard_normal(count)


def recipe_of(**changes: Any) -> PretrainingRecipe:
    """Return the small recipe with other keys; a mapping changes keys of a section."""
    content = copy.deepcopy(CONTENT)
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, Mapping) and key in content else value
    return PretrainingRecipe.model_validate(content)


def options_of(corpus: Path, place: Path, **changes: Any) -> PretrainingOptions:
    """Return options that keep everything below a place, and a snapshot after every update."""
    given: dict[str, Any] = {
        "data": {"tones": corpus},
        "results": place / "results",
        "store": corpus.parent / "store",  # shared by all pre-trainings of a corpus
        "name": "one",
        "snapshot_seconds": 0.0,
        "progress": False,
    }
    return PretrainingOptions(**given | changes)


def pretrained(recipe: PretrainingRecipe, corpus: Path, place: Path, ranks: Ranks = ALONE, **changes: Any) -> Outcome:
    """Carry out a pre-training, in the first process."""
    outcome = pretrain(recipe, options_of(corpus, place, **changes), ranks)
    assert outcome is not None
    return outcome


SHARED = {
    "a": {"stages": [MASKED, SECOND], "model": {"layerdrop": 0.5}},
    "b": {"stages": [MASKED | {"steps": 2}], "batch": {"seconds": 1.0, "windows": [1.0], "accumulate": 2}},
}


def one_of_several(corpus: Path, place: Path) -> None:
    """Carry out two pre-trainings with other processes; of the second, micro-batches have a single window."""
    torch.set_num_threads(1)
    ranks = current()
    ranks.meet()
    for name, changes in SHARED.items():
        outcome = pretrain(recipe_of(**changes), options_of(corpus, place, name=name), ranks)
        assert (outcome is None) == (not ranks.main)


def both_of_two(corpus: Path, place: Path) -> None:
    """Carry out `one_of_several` in two processes, which import once, since the second is a fork of the first."""
    importlib.import_module("torch._dynamo")  # as optimisers do
    forked = os.fork()
    rank = "0" if forked else "1"
    os.environ |= {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}
    one_of_several(corpus, place)
    if forked:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]))


if __name__ == "__main__":
    both_of_two(*map(Path, sys.argv[1:]))
