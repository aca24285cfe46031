"""The matrix products and convolutions that WavLM consists of, and the fastest way to each on this machine.

Whoever computes with them sees PyTorch's numbers. Inside, a CPU whose PyTorch brings oneDNN takes frozen weights in
that library's own layout, packed once, and adds bias, GELU or the residual before a result leaves the processor's
cache. That matters twice. In float32 PyTorch otherwise multiplies by MKL, which reaches less than half the speed on
processors of another make (measured: 95 against 215 GF/s a core of an AMD EPYC with AVX-512, 2.3 times). In bfloat16
it otherwise packs the weights anew at every call.

This file alone knows of these operations. They are PyTorch's, made for its compiler; where they are absent, weights
are not packed and everything is computed by its ordinary functions, as it is on a GPU and while weights learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@cache
def packable(dtype: torch.dtype) -> bool:
    """Whether this machine's oneDNN computes faster than PyTorch otherwise would, in this precision."""
    needed = ("_reorder_linear_weight", "_reorder_convolution_weight", "_linear_pointwise", "_convolution_pointwise")
    operations = torch.ops.mkldnn
    if not torch._C._has_mkldnn or not all(hasattr(operations, name) for name in needed):
        return False
    if dtype == torch.bfloat16:
        return bool(operations._is_mkldnn_bf16_supported())
    return dtype == torch.float32 and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has products of its own for it, else float32.

    bfloat16 takes about half the time, and moves scores by less than their intervals; the README has the figures.
    """
    if device.type == "cuda":
        has_own = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    else:
        capabilities = torch.cpu.get_capabilities()
        has_own = packable(torch.bfloat16) and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.bfloat16 if has_own else torch.float32


def on_cpu_by_onednn(x: Tensor) -> bool:
    """Whether to multiply `x` by oneDNN's own operations, which know no gradients."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and packable(x.dtype)


class Packable(nn.Module):
    """Something with a weight that may be packed, after which it can neither learn nor be saved nor move.

    weight: as checkpoints hold it, or what `pack` has made of it: the opaque tensor of the library.
    """

    weight: Tensor
    bias: Tensor | None
    is_packed = False

    def pack(self) -> None:
        """Give the weight the layout that this machine computes with fastest; nothing where there is none.

        The layout has no place in a state dictionary, so the weight is no parameter any more.
        """
        if self.weight.device.type != "cpu" or self.weight.requires_grad or not packable(self.weight.dtype):
            return
        packed = self._packed()
        del self.weight
        self.weight = packed
        self.is_packed = True

    def _packed(self) -> Tensor:
        raise NotImplementedError

    def _refuse_gradients(self, x: Tensor) -> None:
        """Else they would be lost without a word."""
        if x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError("Weights packed for extraction know no gradients; build the model anew to learn.")

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        if self.is_packed:
            raise RuntimeError(f"{prefix}weight is packed for extraction; save a model that is built anew instead.")
        super()._save_to_state_dict(destination, prefix, keep_vars)


class Linear(Packable):
    """x Wᵀ + b, optionally followed by GELU, or added to something."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in))
        self.bias = nn.Parameter(torch.empty(dim_out))

    def forward(self, x: Tensor, gelu: bool = False, plus: Tensor | None = None) -> Tensor:
        """(N, dim_in) -> (N, dim_out); plus: (N, dim_out)."""
        if self.is_packed:
            self._refuse_gradients(x)
            return packed_product(x.contiguous(), self.weight, self.bias, gelu, plus)
        y = F.linear(x, self.weight, self.bias)
        if gelu:
            y = F.gelu(y)
        return y if plus is None else plus + y

    def _packed(self) -> Tensor:
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach().contiguous())
        return packed


class Convolution(Packable):
    """Convolution over time without padding, over channels-last rows, optionally followed by GELU."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = True):
        super().__init__()
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in // groups, kernel))
        self.bias = nn.Parameter(torch.empty(dim_out)) if bias else None

    def forward(self, rows: Tensor, gelu: bool = False) -> Tensor:
        """(B, n, dim_in) -> (B, (n - kernel) // stride + 1, dim_out)."""
        image = rows[:, None].permute(0, 3, 1, 2)  # (B, dim_in, 1, n), the channels last in memory as they were
        if self.is_packed:
            self._refuse_gradients(rows)
            activation = "gelu" if gelu else "none"
            y = torch.ops.mkldnn._convolution_pointwise(
                image, self.weight, self.bias, [0, 0], [1, self.stride], [1, 1], self.groups, activation, [], "none"
            )
            packed: Tensor = y.permute(0, 2, 3, 1)[:, 0]
            return packed
        with whole_float32():
            y = F.conv2d(image, self.weight[:, :, None], self.bias, (1, self.stride), groups=self.groups)
        y = y.permute(0, 2, 3, 1)[:, 0]
        return F.gelu(y) if gelu else y

    def _packed(self) -> Tensor:
        weight = self.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)
        channels = weight.shape[1] * self.groups
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            weight, [0, 0], [1, self.stride], [1, 1], self.groups, [1, channels, 1, 64 * self.kernel]
        )
        return packed


@contextmanager
def whole_float32() -> Iterator[None]:
    """Keep cuDNN from rounding float32 to ten bits (TF32), which it does in convolutions unless it is told."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def batched_linear(x: Tensor, weights: Tensor, biases: Tensor, gelu: bool = False) -> Tensor:
    """A linear layer each: x (B, M, K), weights (B, D, K), biases (B, D) -> (B, M, D), float32."""
    if on_cpu_by_onednn(x):
        each = [packed_product(*one, gelu)[None] for one in zip(x.contiguous(), weights, biases, strict=True)]
        return each[0] if len(each) == 1 else torch.cat(each)
    y = torch.baddbmm(biases[:, None], x, weights.mT)
    return F.gelu(y) if gelu else y


def multiply(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """a (M, K) times the rows of b (N, K), plus (M, N), which may be overwritten; all of them contiguous."""
    if on_cpu_by_onednn(a):
        return packed_product(a, b, plus=plus)
    return a @ b.T if plus is None else plus.addmm_(a, b.T)


def packed_product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False, plus: Tensor | None = None
) -> Tensor:
    """x Wᵀ + b by oneDNN; x (N, K), contiguous; weight (D, K), packed or contiguous."""
    if plus is not None:
        result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, plus, weight, bias, "add")
    else:
        result = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none")
    return result


def pack(model: nn.Module) -> None:
    """Pack all weights of a frozen model for this machine. It can be computed with as before, but not saved."""
    for module in model.modules():
        if isinstance(module, Packable):
            module.pack()
