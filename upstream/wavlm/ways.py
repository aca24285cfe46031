"""The ways to compute WavLM's operations, and the fastest of them on this machine (`fastest.py`).

Each operation is tried once in the sizes of WavLM Base, on noise: some tenths of a second for a precision.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from upstream.wavlm import onednn
from upstream.wavlm.fastest import MARGIN, Outcome, Way, remembered

logger = logging.getLogger(__name__)

# Operations. A product is one of two matrices that are computed, neither of them a weight.
LINEAR, CONVOLUTION, POSITIONAL, PRODUCT = "linear layer", "convolution", "positional convolution", "product"
# Ways.
ONEDNN, PIECES, PLAIN = "onednn", "onednn in pieces", "plain"

# How often each, in the size in which it is tried, is in five seconds of Base: by their multiplications, those of the
# front end's convolutions together.
TIMES = MappingProxyType({LINEAR: 36.0, CONVOLUTION: 60.0, POSITIONAL: 2.0, PRODUCT: 47.0})

WIDTH = 64  # times the kernel: the width of input that a convolution is packed for, unless it is computed in pieces


def way_of(operation: str, dtype: torch.dtype) -> str:
    """Return the fastest way of an operation on this machine's CPU, without gradients."""
    if not onednn.available(dtype):
        return PLAIN
    return outcomes(torch.device("cpu"), dtype)[operation].chosen


def fastest_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device multiplies it in hardware and Base is faster in it, each in its fastest ways.

    bfloat16 then takes about half the time and changes scores by less than their intervals; the README has the numbers.
    """
    if device.type == "cuda":
        in_hardware = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    else:
        in_hardware = onednn.multiplies_bfloat16()
    if not in_hardware:
        return torch.float32
    took = {dtype: seconds_of_base(device, dtype) for dtype in (torch.bfloat16, torch.float32)}
    logger.info("five seconds in WavLM Base: %s", ", ".join(f"{dtype} {own:.3f} s" for dtype, own in took.items()))
    return torch.bfloat16 if took[torch.bfloat16] * MARGIN < took[torch.float32] else torch.float32


def seconds_of_base(device: torch.device, dtype: torch.dtype) -> float:
    """Return about how long five seconds of audio take in Base's operations, each in its fastest way."""
    found = outcomes(device, dtype)
    return sum(times * found[operation].seconds[found[operation].chosen] for operation, times in TIMES.items())


@cache
def outcomes(device: torch.device, dtype: torch.dtype) -> Mapping[str, Outcome]:
    """Return what was the fastest when this machine compared the ways of every operation."""
    with torch.inference_mode(), one_thread():
        found = remembered(f"WavLM in {dtype}", ways_of_operations(device, dtype), device)
    for operation, outcome in found.items():
        logger.info("%s in %s: %s", operation, dtype, outcome.describe())
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: several wait for the slowest, which on a busy machine says nothing about a way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---------------------------------------------------------------- the ways


def ways_of_operations(device: torch.device, dtype: torch.dtype) -> dict[str, dict[str, Way]]:
    """Return the ways of each operation on noise in Base's sizes, the preferred way first, the plain one last.

    Nothing is drawn or packed before a way is first called: most processes find the machine's choice on disk.
    """
    draw = Noise(device, dtype)
    fast = device.type == "cpu" and onednn.available(dtype)
    return {
        LINEAR: linear_ways(draw, fast),
        CONVOLUTION: convolution_ways(draw, (1, 513, 512), (512, 512, 3), 2, 1, (ONEDNN,) if fast else ()),
        POSITIONAL: convolution_ways(draw, (1, 252, 768), (768, 48, 128), 1, 16, (ONEDNN, PIECES) if fast else ()),
        PRODUCT: product_ways(draw, fast),
    }


class Noise:
    """Tensors of noise, the same in every process."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.device, self.dtype = device, dtype

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(self.device, self.dtype)


def linear_ways(draw: Noise, fast: bool) -> dict[str, Way]:
    """Return the ways of the wide layer of a feed-forward block, with GELU. fast: oneDNN can be used."""
    operands = cache(lambda: (draw(249, 768), draw(3072, 768), draw(3072)))
    packed = cache(lambda: onednn.packed_linear(operands()[1]))

    def by_onednn() -> Tensor:
        x, _, bias = operands()
        return onednn.linear(x, packed(), bias, gelu=True)

    return ({ONEDNN: by_onednn} if fast else {}) | {PLAIN: lambda: F.gelu(F.linear(*operands()))}


def product_ways(draw: Noise, fast: bool) -> dict[str, Way]:
    """Return the ways of a product of two computed matrices that is added to a third. fast: oneDNN can be used."""
    operands = cache(lambda: (draw(512, 64), draw(749, 64), draw(512, 749)))

    def by_onednn() -> Tensor:
        a, b, plus = operands()
        return onednn.linear(a, b, plus=plus.clone())

    def plain() -> Tensor:
        a, b, plus = operands()
        return plus.clone().addmm_(a, b.T)

    return ({ONEDNN: by_onednn} if fast else {}) | {PLAIN: plain}


def convolution_ways(
    draw: Noise,
    rows: tuple[int, int, int],
    weight: tuple[int, int, int],
    stride: int,
    groups: int,
    fast: tuple[str, ...],
) -> dict[str, Way]:
    """Return the ways of a convolution with GELU.

    rows, weight: the shapes of both. fast: those of `ONEDNN` and `PIECES` that can be used.
    """
    operands = cache(lambda: (draw(*rows), draw(*weight), draw(weight[0])))
    packed = cache(lambda way: packed_convolution(way, operands()[1], stride, groups))

    def by_onednn() -> Tensor:
        x, _, bias = operands()
        return onednn.convolution(x, packed(ONEDNN), bias, stride, groups, True)

    def in_pieces() -> Tensor:
        x, _, bias = operands()
        return onednn.convolution_in_pieces(x, packed(PIECES), bias, weight[2], groups, True)

    ways: dict[str, Way] = {ONEDNN: by_onednn, PIECES: in_pieces}
    chosen = {name: ways[name] for name in fast}
    return chosen | {PLAIN: lambda: plain_convolution(*operands(), stride, groups, True)}


def packed_convolution(way: str, weight: Tensor, stride: int, groups: int) -> Tensor:
    """Return a convolution's weight (D, K / groups, kernel) in the layout for a way, ONEDNN or PIECES."""
    kernel = weight.shape[2]
    width = onednn.PIECE + kernel - 1 if way == PIECES else WIDTH * kernel
    return onednn.packed_convolution(weight, stride, groups, width)


def plain_convolution(
    rows: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int, gelu: bool
) -> Tensor:
    """Convolve rows (B, n, K) in PyTorch's own way; see `onednn.convolution`. weight: (D, K / groups, kernel)."""
    with no_tf32():
        y = F.conv2d(onednn.as_image(rows), weight[:, :, None], bias, (1, stride), groups=groups)
    y = onednn.as_rows(y)
    return F.gelu(y) if gelu else y


@contextmanager
def no_tf32() -> Iterator[None]:
    """Keep cuDNN from rounding float32 to ten bits (TF32), its default in convolutions."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
