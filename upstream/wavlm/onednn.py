"""oneDNN's products and convolutions with packed weights, which PyTorch has for its compiler.

Only this file uses these operations. Bias, GELU or the residual are added while a result is in the cache. They have no
gradients, and where PyTorch was built without them, `available` is False.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 64  # results of a piece: utterances of a second have 49 frames, and a piece is filled up

NEEDED = ("_reorder_linear_weight", "_reorder_convolution_weight", "_linear_pointwise", "_convolution_pointwise")


def available(dtype: torch.dtype) -> bool:
    """Return True if this PyTorch has the operations and this processor supports them in this precision."""
    operations = torch.ops.mkldnn
    if not torch._C._has_mkldnn or not all(hasattr(operations, name) for name in NEEDED):
        return False
    if dtype == torch.bfloat16:
        return bool(operations._is_mkldnn_bf16_supported())
    return dtype == torch.float32 and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def multiplies_bfloat16() -> bool:
    """Return True if the processor has instructions for products of bfloat16, which oneDNN else imitates."""
    if not available(torch.bfloat16):
        return False
    if hasattr(torch.cpu, "get_capabilities"):  # since PyTorch 2.11
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def packed_linear(weight: Tensor) -> Tensor:
    """Return the weight (D, K) of a linear layer in oneDNN's layout, an opaque tensor."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
    return packed


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False, plus: Tensor | None = None
) -> Tensor:
    """Return x Wᵀ + b, with GELU or plus `plus` (N, D). x: (N, K), contiguous. weight: (D, K), packed or contiguous."""
    if plus is not None:
        result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, plus, weight, bias, "add")
    else:
        result = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu" if gelu else "none", [], "none")
    return result


def packed_convolution(weight: Tensor, stride: int, groups: int, width: int) -> Tensor:
    """Return the weight (D, K / groups, kernel) of a convolution over rows in oneDNN's layout, an opaque tensor.

    width: rows of the input that the layout is made for. Other widths are right too, but on some processors slow.
    """
    image = weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        image, [0, 0], [1, stride], [1, 1], groups, [1, image.shape[1] * groups, 1, width]
    )
    return packed


def convolution(rows: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int, gelu: bool) -> Tensor:
    """Convolve rows (B, n, K) without padding, then GELU if asked: (B, (n - kernel) // stride + 1, D).

    weight: of `packed_convolution`.
    """
    activation = "gelu" if gelu else "none"
    y = torch.ops.mkldnn._convolution_pointwise(
        as_image(rows), weight, bias, [0, 0], [1, stride], [1, 1], groups, activation, [], "none"
    )
    result: Tensor = as_rows(y)
    return result


def convolution_in_pieces(
    rows: Tensor, weight: Tensor, bias: Tensor | None, kernel: int, groups: int, gelu: bool
) -> Tensor:
    """`convolution` of stride one in pieces of `PIECE` results, the last filled up with zeros.

    weight: packed for the width of a piece, PIECE + kernel - 1, and used for no other.
    """
    size = rows.shape[1] - kernel + 1
    count = -(-size // PIECE)
    rows = F.pad(rows, (0, 0, 0, count * PIECE - size))
    pieces = [rows[:, first : first + PIECE + kernel - 1] for first in range(0, count * PIECE, PIECE)]
    return torch.cat([convolution(piece, weight, bias, 1, groups, gelu) for piece in pieces], dim=1)[:, :size]


def as_image(rows: Tensor) -> Tensor:
    """Return rows (B, n, K) as an image (B, K, 1, n), channels-last in memory."""
    return rows[:, None].permute(0, 3, 1, 2)


def as_rows(image: Tensor) -> Tensor:
    """Return an image (B, D, 1, n) as rows (B, n, D)."""
    return image.permute(0, 2, 3, 1)[:, 0]
