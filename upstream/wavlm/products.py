"""The matrix products and convolutions of WavLM, computed in the way that is the fastest on this machine.

Results are PyTorch's up to rounding. On a CPU with oneDNN, frozen weights are packed once into that library's layout
(`onednn.py`). In float32, PyTorch otherwise uses MKL, which is less than half as fast on processors that are not
Intel's (measured: 95 against 215 GF/s per core of an AMD EPYC with AVX-512, 2.3 times). In bfloat16, it otherwise packs
the weights at every call. Whether that is faster is tried where it runs (`ways.py`). Where it is not, on a GPU and
during training, PyTorch's ordinary functions compute everything.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.wavlm import onednn, ways
from upstream.wavlm.ways import CONVOLUTION, LINEAR, PIECES, PLAIN, PRODUCT


def uses_onednn(x: Tensor) -> bool:
    """Return True if products with `x` use oneDNN's operations directly, which have no gradients."""
    on_cpu = x.device.type == "cpu" and not torch.is_grad_enabled()
    return on_cpu and ways.way_of(PRODUCT, x.dtype) != PLAIN


class Packable(nn.Module):
    """A module whose weight can be packed, after which it cannot be trained, saved or moved.

    weight: as in checkpoints or, after `pack`, oneDNN's opaque tensor. operation: what it is called in `ways.py`.
    way: in which it is computed.
    """

    weight: Tensor
    bias: Tensor | None
    operation: str
    way = PLAIN

    @property
    def is_packed(self) -> bool:
        """True if the weight is in oneDNN's layout."""
        return self.way != PLAIN

    def pack(self) -> None:
        """Convert the weight to the fastest layout on this machine, if there is one.

        The layout cannot be in a state dictionary, so the weight is no longer a parameter.
        """
        if self.weight.device.type != "cpu" or self.weight.requires_grad:
            return
        way = ways.way_of(self.operation, self.weight.dtype)
        if way == PLAIN:
            return
        packed = self._packed(way)
        del self.weight
        self.weight, self.way = packed, way

    def _packed(self, way: str) -> Tensor:
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

    operation = LINEAR

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in))
        self.bias = nn.Parameter(torch.empty(dim_out))

    def forward(self, x: Tensor, gelu: bool = False, plus: Tensor | None = None) -> Tensor:
        """(N, dim_in) -> (N, dim_out). plus: (N, dim_out), added to the result."""
        if self.is_packed:
            self._refuse_gradients(x)
            return onednn.linear(x.contiguous(), self.weight, self.bias, gelu, plus)
        y = F.linear(x, self.weight, self.bias)
        if gelu:
            y = F.gelu(y)
        return y if plus is None else plus + y

    def _packed(self, way: str) -> Tensor:
        return onednn.packed_linear(self.weight)


class Convolution(Packable):
    """Convolution over time without padding, over channels-last rows, optionally followed by GELU."""

    operation = CONVOLUTION

    def __init__(self, dim_in: int, dim_out: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = True):
        super().__init__()
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in // groups, kernel))
        self.bias = nn.Parameter(torch.empty(dim_out)) if bias else None

    def forward(self, rows: Tensor, gelu: bool = False) -> Tensor:
        """(B, n, dim_in) -> (B, (n - kernel) // stride + 1, dim_out)."""
        if self.is_packed:
            self._refuse_gradients(rows)
            if self.way == PIECES:
                return onednn.convolution_in_pieces(rows, self.weight, self.bias, self.kernel, self.groups, gelu)
            return onednn.convolution(rows, self.weight, self.bias, self.stride, self.groups, gelu)
        return ways.plain_convolution(rows, self.weight, self.bias, self.stride, self.groups, gelu)

    def _packed(self, way: str) -> Tensor:
        return ways.packed_convolution(way, self.weight, self.stride, self.groups)


def batched_linear(x: Tensor, weights: Tensor, biases: Tensor, gelu: bool = False) -> Tensor:
    """Apply a different linear layer to each item: x (B, M, K), weights (B, D, K), biases (B, D) -> (B, M, D)."""
    if uses_onednn(x):
        each = [onednn.linear(*one, gelu)[None] for one in zip(x.contiguous(), weights, biases, strict=True)]
        return each[0] if len(each) == 1 else torch.cat(each)
    y = torch.baddbmm(biases[:, None], x, weights.mT)
    return F.gelu(y) if gelu else y


def multiply(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """Return a (M, K) times b (N, K) transposed, plus `plus` (M, N), which may be overwritten; all contiguous."""
    if uses_onednn(a):
        return onednn.linear(a, b, plus=plus)
    return a @ b.T if plus is None else plus.addmm_(a, b.T)


def pack(model: nn.Module) -> None:
    """Pack all weights of a frozen model for this machine. It computes as before, but cannot be saved."""
    for module in model.modules():
        if isinstance(module, Packable):
            module.pack()
