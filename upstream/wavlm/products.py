"""The matrix products and convolutions of WavLM, computed in the fastest way on this machine.

Results are PyTorch's up to rounding. On a CPU with oneDNN, frozen weights are packed once into that library's layout,
and bias, GELU or the residual are added while a result is in the cache. This has two benefits. In float32, PyTorch
otherwise uses MKL, which is less than half as fast on processors that are not Intel's (measured: 95 against 215 GF/s
per core of an AMD EPYC with AVX-512, 2.3 times). In bfloat16, it otherwise packs the weights at every call.

Only this file uses these operations. They are PyTorch's own, made for its compiler; where they are absent, weights are
not packed and PyTorch's ordinary functions compute everything, as on a GPU and during training.
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
    """Return True if oneDNN with packed weights is faster than PyTorch's default on this CPU, in this precision."""
    needed = ("_reorder_linear_weight", "_reorder_convolution_weight", "_linear_pointwise", "_convolution_pointwise")
    operations = torch.ops.mkldnn
    if not torch._C._has_mkldnn or not all(hasattr(operations, name) for name in needed):
        return False
    if dtype == torch.bfloat16:
        return bool(operations._is_mkldnn_bf16_supported())
    return dtype == torch.float32 and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def fastest_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device multiplies it in hardware, else float32.

    bfloat16 takes about half the time and changes scores by less than their intervals; the README has the numbers.
    """
    if device.type == "cuda":
        in_hardware = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    else:
        in_hardware = packable(torch.bfloat16) and cpu_multiplies_bfloat16()
    return torch.bfloat16 if in_hardware else torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """Return True if the processor has instructions for products of bfloat16."""
    if hasattr(torch.cpu, "get_capabilities"):  # since PyTorch 2.11
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def uses_onednn(x: Tensor) -> bool:
    """Return True if products with `x` use oneDNN's operations directly, which have no gradients."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and packable(x.dtype)


class Packable(nn.Module):
    """A module whose weight can be packed, after which it cannot be trained, saved or moved.

    weight: as in checkpoints or, after `pack`, oneDNN's opaque tensor.
    """

    weight: Tensor
    bias: Tensor | None
    is_packed = False

    def pack(self) -> None:
        """Convert the weight to the fastest layout on this machine, if there is one.

        The layout cannot be in a state dictionary, so the weight is no longer a parameter.
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
        """Raise RuntimeError if gradients are required; packed weights would drop them silently."""
        if x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError("Weights packed for extraction have no gradients; build the model again to train it.")

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        if self.is_packed:
            raise RuntimeError(f"{prefix}weight is packed for extraction; build the model again to save it.")
        super()._save_to_state_dict(destination, prefix, keep_vars)


class Linear(Packable):
    """x Wᵀ + b, optionally followed by GELU or added to another tensor."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in))
        self.bias = nn.Parameter(torch.empty(dim_out))

    def forward(self, x: Tensor, gelu: bool = False, plus: Tensor | None = None) -> Tensor:
        """(N, dim_in) -> (N, dim_out). plus: (N, dim_out), added to the result."""
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
        image = rows[:, None].permute(0, 3, 1, 2)  # (B, dim_in, 1, n), still channels-last in memory
        if self.is_packed:
            self._refuse_gradients(rows)
            activation = "gelu" if gelu else "none"
            y = torch.ops.mkldnn._convolution_pointwise(
                image, self.weight, self.bias, [0, 0], [1, self.stride], [1, 1], self.groups, activation, [], "none"
            )
            packed: Tensor = y.permute(0, 2, 3, 1)[:, 0]
            return packed
        with no_tf32():
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
def no_tf32() -> Iterator[None]:
    """Keep cuDNN from rounding float32 to ten bits (TF32), its default in convolutions."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def batched_linear(x: Tensor, weights: Tensor, biases: Tensor, gelu: bool = False) -> Tensor:
    """Apply a different linear layer to each item: x (B, M, K), weights (B, D, K), biases (B, D) -> (B, M, D)."""
    if uses_onednn(x):
        each = [packed_product(*one, gelu)[None] for one in zip(x.contiguous(), weights, biases, strict=True)]
        return each[0] if len(each) == 1 else torch.cat(each)
    y = torch.baddbmm(biases[:, None], x, weights.mT)
    return F.gelu(y) if gelu else y


def multiply(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """Return a (M, K) times b (N, K) transposed, plus `plus` (M, N), which may be overwritten; all contiguous."""
    if uses_onednn(a):
        return packed_product(a, b, plus=plus)
    return a @ b.T if plus is None else plus.addmm_(a, b.T)


def packed_product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False, plus: Tensor | None = None
) -> Tensor:
    """Return x Wᵀ + b, computed by oneDNN. x: (N, K), contiguous. weight: (D, K), packed or contiguous."""
    if plus is not None:
        result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, plus, weight, bias, "add")
    else:
        result = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none")
    return result


def pack(model: nn.Module) -> None:
    """Pack all weights of a frozen model for this machine. It computes as before, but cannot be saved."""
    for module in model.modules():
        if isinstance(module, Packable):
            module.pack()
