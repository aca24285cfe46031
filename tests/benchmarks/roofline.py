"""What computing WavLM costs at least: its operations, its bytes, and the floor that a machine sets under both.

Operations are those of products and convolutions, a multiplication and an addition counting two; norms, GELU and
softmax are left out. Bytes are what well-fused kernels would move: every tensor between two products written once and
read once, and the weights once a call. Both are of the utterances' own frames: padding is no work that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from upstream.wavlm import shapes
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.products import Linear

from . import common
from .s3prl_loop import synchronize

FRONT_END = "front end"
PROJECTION = "feature projection"
POSITIONAL = "positional convolution"
ATTENTION_PROJECTIONS = "attention, projections"
ATTENTION_SCORES = "attention, scores"
FEED_FORWARD = "feed-forward"

# The matrix product whose rate is taken for the machine's: Base's wider one, on as many rows as fill the device.
ROWS = {"cpu": 2048, "cuda": 65_536}
WIDTH, INNER = 768, 3072
COPIED = 256 * 2**20  # bytes; far beyond any cache
TRIES = 7  # the fastest of which is taken: a floor must not rise with what else the machine does


@dataclass(frozen=True)
class Machine:
    """What the machine can do in one precision.

    rate: operations a second of a large matrix product; how: what computed it.
    bandwidth: bytes a second, read and written, of a large copy.
    """

    rate: float
    how: str
    bandwidth: float

    def describe(self, dtype: str) -> str:
        """The three in a sentence."""
        return (
            f"{dtype}: {self.rate / 1e9:,.0f} GF/s in a product of {WIDTH} x {INNER} by {self.how}, "
            f"{self.bandwidth / 1e9:,.1f} GB/s in a copy."
        )


@dataclass(frozen=True)
class Floor:
    """The least seconds that some work can take: operations at the machine's rate, or bytes at its bandwidth."""

    operations: float
    nbytes: float
    machine: Machine

    @property
    def seconds(self) -> float:
        return max(self.operations / self.machine.rate, self.nbytes / self.machine.bandwidth)

    @property
    def bound(self) -> str:
        """Which of the two sets the floor."""
        return "operations" if self.operations / self.machine.rate >= self.nbytes / self.machine.bandwidth else "bytes"


# ---------------------------------------------------------------- counting


def operations(config: WavLMConfig, samples: int) -> dict[str, float]:
    """Operations of one utterance of so many samples, by component.

    With T frames, width D, feed-forward width I, and L blocks: the four projections of attention take 8·T·D², the gate
    16·T·D (eight outputs of each head's part of the input), the scores and the sum of values 2·T²·D each, and the
    feed-forward 4·T·D·I, all times L.
    """
    frames, dim = config.frames(samples), config.hidden_size
    group = dim // config.num_conv_pos_embedding_groups
    depth = config.num_hidden_layers
    return {
        FRONT_END: sum(2.0 * rows * out * width * kernel for rows, width, out, kernel in convolutions(config, samples)),
        PROJECTION: 2.0 * frames * config.conv_dim[-1] * dim,
        POSITIONAL: 2.0 * frames * dim * group * config.num_conv_pos_embeddings,
        ATTENTION_PROJECTIONS: depth * (8.0 * frames * dim**2 + 16.0 * frames * dim),
        ATTENTION_SCORES: depth * 4.0 * frames**2 * dim,
        FEED_FORWARD: depth * 4.0 * frames * dim * config.intermediate_size,
    }


def convolutions(config: WavLMConfig, samples: int) -> Iterator[tuple[int, int, int, int]]:
    """Rows, channels in, channels out and kernel of each layer of the front end."""
    width = 1
    for out, kernel, stride in zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
        yield samples, width, out, kernel
        width = out


def activation_bytes(config: WavLMConfig, samples: int, itemsize: int) -> float:
    """Bytes of one utterance's tensors between products, each written once and read once.

    Of a block these are 8·D + I numbers a frame: queries, keys and values, attention's output, its projection with the
    residual, the norm, the inner activation, the feed-forward's output with the residual, the norm. Scores and
    position biases are left out: a fused kernel keeps them on the chip.
    """
    front_end = sum(rows * out for rows, _, out, _ in convolutions(config, samples))
    block = 8 * config.hidden_size + config.intermediate_size
    return 2.0 * itemsize * (front_end + config.frames(samples) * config.num_hidden_layers * block)


def floor(config: WavLMConfig, parts: Sequence[Sequence[Tensor]], dtype: torch.dtype, machine: Machine) -> Floor:
    """The floor of these batches, computed one after another."""
    samples = [len(waveform) for part in parts for waveform in part]
    weights = len(parts) * dtype.itemsize * sum(math.prod(shape) for shape in shapes.expected_shapes(config).values())
    return Floor(
        sum(sum(operations(config, one).values()) for one in samples),
        weights + sum(activation_bytes(config, one, dtype.itemsize) for one in samples),
        machine,
    )


# ---------------------------------------------------------------- what the machine can do


def measure(device: torch.device, dtype: torch.dtype) -> Machine:
    """The machine's rate in this precision, by the fastest product that PyTorch offers, and its bandwidth."""
    rows = ROWS.get(device.type, ROWS["cpu"])
    work = 2.0 * rows * WIDTH * INNER
    rates = {name: work / least_seconds(call, device) for name, call in products(device, dtype, rows).items()}
    how = max(rates, key=lambda name: rates[name])
    source = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    copying = least_seconds(lambda: target.copy_(source), device)
    return Machine(rates[how], how, 2 * COPIED / copying)


def products(device: torch.device, dtype: torch.dtype, rows: int) -> dict[str, Callable[[], object]]:
    """Ways to compute the same matrix product; oneDNN's, with weights that it has packed, only on a CPU."""
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(rows, WIDTH, generator=generator).to(device, dtype)
    plain, packed = Linear(WIDTH, INNER), Linear(WIDTH, INNER)
    for layer in (plain, packed):
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, generator=generator)
        layer.requires_grad_(False).to(device, dtype)
    packed.pack()
    ways: dict[str, Callable[[], object]] = {"F.linear": lambda: plain(x)}
    if packed.is_packed:
        ways["oneDNN with packed weights"] = lambda: packed(x)
    return ways


def least_seconds(call: Callable[[], object], device: torch.device) -> float:
    """The least seconds of some calls, after one that warms up."""

    def complete() -> None:
        call()
        synchronize(device)

    with torch.inference_mode():
        complete()
        return min(common.timed(complete)[0] for _ in range(TRIES))
