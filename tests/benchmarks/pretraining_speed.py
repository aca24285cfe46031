"""Pre-training here against transformers' own model: audio seconds a second, as wall time and as time of the processor.

One update is all of it: a forward pass of windows of equal length, the loss of masked prediction, a backward pass,
clipping, AdamW; a turn has an update of each length. Both are updates of `wavprobe pretrain`; for transformers its
WavLMModel, with the attention and the front end that it has, takes the encoder's place, and everything else is the
same: first weights (untrained, seed 0), windows of noise, masks, targets, heads, loss and optimiser; nothing is dropped
out. Before anything is timed, the losses of two updates are compared in float32. Both take turns in one process, and a
ratio is the median over turns of transformers' seconds by ours of the same turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from downstream.pretraining import load_pretraining
from downstream.pretraining.first_model import config_of, drawn
from downstream.pretraining.flow import EVERYTHING
from downstream.pretraining.learner import StageLearner
from downstream.pretraining.masked_prediction import PredictsCodes
from downstream.pretraining.speech import frames_of, samples_of
from downstream.pretraining.targets import Codebook
from downstream.pretraining.windows import WindowOfSpeech, Windows, drawn_mask
from downstream.recipes import PretrainingRecipe, Target
from upstream.base import SAMPLE_RATE
from upstream.catalog import torch_dtype
from upstream.ranks import ALONE
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.masking import Masks
from upstream.wavlm.training import TrainableWavLM

from . import common

RECIPE = "wavlm_tiny"
DROPOUTS = "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"
PRECISIONS = "float32", "bfloat16"
SIZES: dict[str, dict[str, Any]] = {RECIPE: {}, "base": dict.fromkeys(DROPOUTS, 0.0)}  # defaults are those of Base
OURS, COMPILED, THEIRS = "ours", "ours, compiled", "transformers"
SMALL = {"sizes": [RECIPE], "seconds": 2.0, "windows": [0.5, 1.0], "repeats": 1}
NEAR = 1e-4  # relative difference of losses
CHECKED = 1.0  # seconds of the two windows whose losses are compared


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES, help="of the model")
    made.add_argument(
        "--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS, help="float32, or of autocast"
    )
    made.add_argument("--seconds", type=float, default=12.0, help="of audio in an update")
    made.add_argument(
        "--windows", nargs="+", type=float, default=list(load_pretraining(RECIPE).batch.windows), help="their seconds"
    )
    made.add_argument("--repeats", type=int, default=3, help="turns, after one that warms up")
    made.add_argument("--compile", action="store_true", help="measure `compile: true` of a recipe, too")
    made.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda")
    options = common.parse(made, SMALL)
    rows = []
    for size in options.sizes:
        difference = difference_of_losses(size, options.device)
        if not difference < NEAR:
            raise SystemExit(f"{size}: losses differ by {difference:.1e}, so these are not the same updates.")
        common.say(f"{size}: losses of two updates differ by {difference:.1e} of their size")
        for precision in options.precisions:
            rows += rows_of(size, precision, options)
    headings = ["model", "precision", "", "audio s a second", "a processor second", "ratio", "processor ratio"]
    notes = [
        f"{options.seconds:g} s of audio an update; a turn has one in windows of each of "
        f"{', '.join(f'{window:g}' for window in options.windows)} s; medians of {options.repeats} turns, after one "
        "that warms up.",
    ]
    common.show("Updates of pre-training", headings, rows, notes, options.device, left=headings[:3])


# ---------------------------------------------------------------- the peers


class TransformersEncoder(nn.Module):
    """transformers' WavLMModel in the place of `TrainableWavLM`, as a pre-training uses it."""

    step_seed: int | None = None

    def __init__(self, config: WavLMConfig, device: torch.device) -> None:
        super().__init__()
        self.device = device
        module = import_module("transformers")
        self.config, self.dim = config, config.hidden_size
        self.model = module.WavLMModel(module.WavLMConfig(**config.to_hugging_face()))
        self.model.load_state_dict(drawn(config, 0).tensors)

    def features(self, waveforms: list[Tensor]) -> Tensor:
        """Return the batch: the model computes its own features, and they have no other use."""
        return torch.stack(waveforms)

    def states_of(self, batch: Tensor, masks: Masks, _: Sequence[int]) -> Tensor:
        """Return all layers, (L, N, D)."""
        assert masks.frames is not None
        where = masks.frames.view(len(batch), -1)
        output = self.model(batch, mask_time_indices=where, output_hidden_states=True)
        return torch.stack(output.hidden_states).flatten(1, 2)


class NoiseWindows(Windows):
    """Windows of noise: updates take turns among some lengths, and those of one length have the same windows."""

    def __init__(self, recipe: PretrainingRecipe, seconds: float, windows: Sequence[float]) -> None:
        self.batches: list[list[WindowOfSpeech]] = []
        for samples in map(samples_of, windows):
            first, count = sum(map(len, self.batches)), max(1, round(seconds * SAMPLE_RATE / samples))
            numbers = range(first, first + count)
            self.batches.append(
                [WindowOfSpeech(i, 0, samples, drawn_mask(recipe.mask, i, samples), i) for i in numbers]
            )

    def update(self, step: int) -> list[list[WindowOfSpeech]]:
        return [self.batches[step % len(self.batches)]]

    def waveform(self, window: WindowOfSpeech) -> Tensor:
        return common.noise(window.samples, window.seed)

    def codebook(self, target: Target) -> Codebook:
        """Codes drawn at random."""
        shapes = [(frames_of(window.samples),) for batch in self.batches for window in batch]
        generator = torch.Generator().manual_seed(target.clusters)
        codes = tuple(torch.randint(target.clusters, shape, generator=generator) for shape in shapes)
        return Codebook(target, codes, float(target.clusters), 1.0, Path())


def learner(
    peer: str, size: str, precision: str, seconds: float, windows: Sequence[float], device: torch.device
) -> StageLearner:
    """One peer, ready to learn the last stage of the recipe."""
    recipe = load_pretraining(RECIPE)
    recipe = recipe.model_copy(update={"model": SIZES[size] or recipe.model})
    config, stage = config_of(recipe), recipe.stages[-1]
    encoder: TransformersEncoder | TrainableWavLM
    if peer == THEIRS:
        encoder = TransformersEncoder(config, device)
    else:
        encoder = TrainableWavLM(drawn(config, 0), EVERYTHING, device)
        if peer == COMPILED:
            encoder.compile_blocks()
    noise = NoiseWindows(recipe, seconds, windows)
    codebooks = [noise.codebook(target) for target in stage.targets]
    assert stage.objective.kind == "masked_prediction"
    model = PredictsCodes(cast(TrainableWavLM, encoder), stage.objective, codebooks, torch_dtype(precision), 0)
    return StageLearner(model.to(device).train(), stage, noise, 0, ALONE)


def difference_of_losses(size: str, device: torch.device) -> float:
    """The largest difference of both peers' losses in two updates in float32, relative to the loss."""
    peers = [learner(peer, size, "float32", 2 * CHECKED, [CHECKED], device) for peer in (OURS, THEIRS)]
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        losses = [[one.learn(step, step).loss for one in peers] for step in (1, 2)]
    return max(abs(ours - theirs) / theirs for ours, theirs in losses)


# ---------------------------------------------------------------- measuring


def rows_of(size: str, precision: str, options: argparse.Namespace) -> list[list[str]]:
    """Measure one size in one precision, in turns."""
    names = [OURS, *([COMPILED] if options.compile else []), THEIRS]
    settings = precision, options.seconds, options.windows, options.device
    peers = {name: learner(name, size, *settings) for name in names}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    for turn in range(options.repeats + 1):
        for name, peer in peers.items():
            common.say(f"{size}, {precision}: turn {turn} of {options.repeats}, {name}")
            own = seconds_of(peer, turn * len(options.windows), len(options.windows))
            if turn:
                took[name].append(own)
            elif name == COMPILED:
                common.say(f"compiling and one turn took {own[0] * options.seconds * len(options.windows):.0f} s")
    return [[size, precision, name, *speeds(own), *ratios(took[THEIRS], own)] for name, own in took.items()]


def seconds_of(peer: StageLearner, done: int, updates: int) -> tuple[float, float]:
    """Wall seconds and processor seconds of the updates after `done`, for each second of audio."""
    wall, processor = time.perf_counter(), time.process_time()
    audio = sum(peer.learn(step, step).seconds for step in range(done + 1, done + updates + 1))
    return (time.perf_counter() - wall) / audio, (time.process_time() - processor) / audio


def speeds(took: Sequence[tuple[float, float]]) -> list[str]:
    """Seconds of audio in a second, and in a second of the processor."""
    return [f"{1 / statistics.median(kind):.1f}" for kind in zip(*took, strict=True)]


def ratios(theirs: Sequence[tuple[float, float]], ours: Sequence[tuple[float, float]]) -> list[str]:
    """How many times as long transformers takes, turn by turn: wall time, and time of the processor."""
    each = [(a[0] / b[0], a[1] / b[1]) for a, b in zip(theirs, ours, strict=True)]
    return [f"{statistics.median(kind):.2f}" for kind in zip(*each, strict=True)]


if __name__ == "__main__":
    common.carry_out(main)
