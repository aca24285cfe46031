"""Training WavLM here against transformers' own model: updates a second, and peak memory.

One update is that of an ordinary loop: a forward pass of a batch, a backward pass, clipping by norm, AdamW, and
gradients deleted. Both begin from the same weights (untrained, seed 0), are given the same noise, and learn a weighted
sum of all layers and everything behind the front end, with the dropouts and masks of the published configuration and no
dropped blocks. transformers fills the batch up to its longest utterance. Both take turns in one process, and a ratio is
the median over turns of its seconds by ours of the same turn.
Memory is measured in a process of each one's own, over two updates: AdamW has its state from the second on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from upstream.errors import UserError
from upstream.learned import Learned
from upstream.wavlm import names
from upstream.wavlm.config import BASE, LARGE, NANO
from upstream.wavlm.model import untrained
from upstream.wavlm.training import TrainableWavLM
from upstream.wavlm.upstream import drawn

from . import common
from .encoder_peers import sample_mask
from .memory import STATUS, Watch, anonymous_memory
from .s3prl_loop import SEED, synchronize

SIZES = {"base": BASE, "large": LARGE, "tiny": NANO}
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
OURS, AGAIN, THEIRS = "ours", "ours, checkpointing", "transformers"
SMALL = {"size": "tiny", "seconds": [0.3, 0.5], "repeats": 1}
RATE, NORM = 1e-5, 1.0  # of AdamW; to which gradients are clipped
GB = 1e9


@dataclass(frozen=True)
class Peak:
    """Bytes with the model in memory before the first update, and at the peak."""

    before: int
    peak: int


@dataclass(frozen=True)
class Update:
    """One peer, ready to learn.

    states: of all layers, (B, T, D) each. module: what learns.
    """

    name: str
    module: nn.Module
    states: Callable[[], Sequence[Tensor]]


def main() -> None:
    options = common.parse(command_line(), SMALL)
    if options.memory and options.device == "cpu" and not anonymous_memory():
        raise UserError(f"{STATUS} does not say RssAnon, so memory cannot be measured here; type --no-memory.")
    if options.measure:
        print(json.dumps(asdict(measure(options.measure, options))))
        return
    turns = in_turns(options)
    peaks = {name: in_a_process_of_its_own(name) for name in turns} if options.memory else {}
    rows = []
    for name, seconds in turns.items():
        ratio = statistics.median(own / ours for own, ours in zip(seconds, turns[OURS], strict=True))
        row = [name, f"{1 / statistics.median(seconds):.3f}", f"{ratio:.2f}"]
        if name in peaks:
            row += [f"{size / GB:.2f}" for size in (peaks[name].before, peaks[name].peak)]
        rows.append(row)
    headings = ["", "updates a second", "time by ours", *(["GB before", "GB at the peak"] if peaks else [])]
    learns = "everything" if options.front_end else "all but the front end"
    title = f"{options.size}, {options.precision}: utterances of {', '.join(f'{s:g}' for s in options.seconds)} s"
    notes = [f"{learns} learns; medians of {options.repeats} turns after one that warms up."]
    common.show(title, headings, rows, notes, torch.device(options.device))


def command_line() -> argparse.ArgumentParser:
    made = common.parser(__doc__)
    made.add_argument("--size", default="base", choices=SIZES, help="of the model")
    made.add_argument("--seconds", type=float, nargs="+", default=[3.0, 4.5, 6.0, 8.0], help="of each utterance")
    made.add_argument("--repeats", type=int, default=5, help="turns, after one that warms up")
    made.add_argument("--precision", default="float32", choices=PRECISIONS, help="float32, or that of autocast")
    made.add_argument("--front-end", action="store_true", help="let the front end learn, too")
    made.add_argument("--peers", nargs="+", default=[OURS, AGAIN, THEIRS], choices=[OURS, AGAIN, THEIRS], help="who")
    made.add_argument("--device", default="cpu", help="cpu or cuda")
    made.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="measure memory, too")
    made.add_argument("--measure", help=argparse.SUPPRESS)  # the peer whose memory a process of its own measures
    return made


# ---------------------------------------------------------------- the peers


def ready(name: str, options: argparse.Namespace) -> Callable[[], None]:
    """One peer's update, to be called."""
    device = torch.device(options.device)
    waveforms = [common.noise(round(16_000 * own), index).to(device) for index, own in enumerate(options.seconds)]
    peer = theirs(waveforms, options) if name == THEIRS else ours(name, waveforms, options)
    weights = nn.Parameter(torch.zeros(layers_of(options), device=device))
    learned = [parameter for parameter in peer.module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW([weights, *learned], lr=RATE)
    clipped = partial(torch.nn.utils.clip_grad_norm_, [weights, *learned], NORM)
    precision = PRECISIONS[options.precision]
    autocast: Callable[[], Any] = nullcontext
    if precision is not None:
        autocast = partial(torch.autocast, device.type, precision)
    scaler = torch.GradScaler(device.type, enabled=precision == torch.float16)

    def update() -> None:
        optimizer.zero_grad()
        with autocast():
            states = peer.states()
            summed = sum(weight * state for weight, state in zip(weights.softmax(0), states, strict=True))
            assert isinstance(summed, Tensor)
            loss = summed.float().square().mean()
        torch.autograd.backward(scaler.scale(loss))
        scaler.unscale_(optimizer)
        clipped()
        scaler.step(optimizer)
        scaler.update()
        synchronize(device)

    return update


def layers_of(options: argparse.Namespace) -> int:
    return SIZES[options.size].num_hidden_layers + 1


def ours(name: str, waveforms: list[Tensor], options: argparse.Namespace) -> Update:
    config = replace(SIZES[options.size], layerdrop=0.0)
    settings = Learned(front_end=options.front_end, checkpointing=name == AGAIN)
    encoder = TrainableWavLM(drawn(config, SEED), settings, torch.device(options.device)).train()
    seeds = list(range(len(waveforms)))
    return Update(name, encoder, lambda: encoder(waveforms, seeds).layers)


def theirs(waveforms: list[Tensor], options: argparse.Namespace) -> Update:
    module = import_module("transformers")
    config = SIZES[options.size]
    model = module.WavLMModel(module.WavLMConfig(**config.to_hugging_face() | {"layerdrop": 0.0}))
    model.load_state_dict(names.from_native(untrained(config, SEED).state_dict(), config))
    if not options.front_end:
        model.freeze_feature_encoder()
    model.to(options.device).train()
    batch, mask = pad_sequence(waveforms, batch_first=True), sample_mask(waveforms)

    def states() -> Sequence[Tensor]:
        output = model(batch, attention_mask=mask, output_hidden_states=True)
        return [*output.hidden_states[:-1], output.last_hidden_state]

    return Update(THEIRS, model, states)


# ---------------------------------------------------------------- measuring


def in_turns(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each peer's updates, in turns."""
    updates = {name: ready(name, options) for name in options.peers}
    seconds: dict[str, list[float]] = {name: [] for name in updates}
    for turn in range(options.repeats + 1):
        for name, update in updates.items():
            common.say(f"turn {turn} of {options.repeats}: {name}")
            took, _ = common.timed(update)
            if turn:
                seconds[name].append(took)
    return seconds


def in_a_process_of_its_own(name: str) -> Peak:
    command = [sys.executable, "-m", "tests.benchmarks.wavlm_training", *sys.argv[1:], "--measure", name]
    ended = subprocess.run(command, cwd=common.REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return Peak(**json.loads(ended.stdout))


def measure(name: str, options: argparse.Namespace) -> Peak:
    """The peak of this process's first two updates."""
    device = torch.device(options.device)
    update = ready(name, options)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        update()
        update()
        return Peak(before, torch.cuda.max_memory_allocated(device))
    with Watch() as watch:
        update()
        update()
    return Peak(watch.before, watch.peak)


if __name__ == "__main__":
    common.carry_out(main)
