"""The convolutional front end: one utterance's waveform to 50 frames a second.

Sizes below are those of the published models: 512 channels, 320 samples a frame. Everything here works on
one utterance at a time, on channels-last rows, so nothing of a batch-mate and no padding can enter, and each
convolution is a matrix product over rows that already lie in memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.wavlm.config import WavLMConfig

NORM_EPSILON = 1e-5  # of the convolutional layers; in no implementation does it follow layer_norm_eps


class ConvLayer(nn.Module):
    """One convolution without padding, then a norm if it has one, then GELU."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int, stride: int, bias: bool, norm: str | None) -> None:
        """norm: "group" (per channel over time), "layer" (per frame over channels) or None."""
        super().__init__()
        self.kernel, self.stride, self.norm = kernel, stride, norm
        self.weight = nn.Parameter(torch.empty(dim_out, dim_in, kernel))
        self.bias = nn.Parameter(torch.empty(dim_out)) if bias else None
        if norm is not None:
            self.norm_weight = nn.Parameter(torch.empty(dim_out))
            self.norm_bias = nn.Parameter(torch.empty(dim_out))

    def forward(self, rows: Tensor) -> Tensor:
        """(n, dim_in) -> ((n - kernel) // stride + 1, dim_out), in the precision of `rows`."""
        dtype = rows.dtype
        if self.norm == "group":
            return F.gelu(convolve(rows, *self._with_group_norm_folded_in(rows), self.stride))
        bias = None if self.bias is None else self.bias.to(dtype)
        rows = convolve(rows, self.weight.to(dtype), bias, self.stride)
        if self.norm == "layer":
            rows = F.layer_norm(
                rows, rows.shape[-1:], self.norm_weight.to(dtype), self.norm_bias.to(dtype), NORM_EPSILON
            )
        return F.gelu(rows)

    def _with_group_norm_folded_in(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that gives this utterance's group-normed outputs directly.

        The convolution is linear, so mean and variance over time of each output channel follow from mean μ
        and covariance Σ of the input windows: m = W μ + b, v = diag(W Σ Wᵀ). Normalising is then a change of
        weights, W γ/√(v+ε), and no pass over the largest tensor of the network is needed.
        The moments are float64: on a signal with an offset, Σ is the small difference of large numbers.
        """
        windows = rows.double().unfold(0, self.kernel, self.stride).flatten(1)  # (m, dim_in · kernel)
        mean = windows.mean(dim=0)
        centred = windows - mean
        covariance = centred.T @ centred / len(windows)
        weight = self.weight.double().flatten(1)
        variance = ((weight @ covariance) * weight).sum(dim=1).clamp_min(0.0)
        scale = self.norm_weight.double() / (variance + NORM_EPSILON).sqrt()
        shift = self.norm_bias.double() - scale * (weight @ mean)  # a bias of the convolution cancels out
        folded = (weight * scale[:, None]).view_as(self.weight)
        return folded.to(rows.dtype), shift.to(rows.dtype)


def convolve(rows: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """1-D convolution of rows (n, C) with weight (D, C, kernel): ((n - kernel) // stride + 1, D).

    A window of w ≤ stride consecutive rows is contiguous, and windows lie stride · C apart, so they form a
    matrix as they stand. A longer kernel is a sum of such products, each over the next `stride` taps.
    """
    dim_out, channels, kernel = weight.shape
    count = (len(rows) - kernel) // stride + 1
    rows = rows.contiguous()
    total: Tensor | None = bias
    for first in range(0, kernel, stride):
        taps = weight[:, :, first : first + stride]
        width = taps.shape[2] * channels
        windows = rows.as_strided((count, width), (stride * channels, 1), rows.storage_offset() + first * channels)
        matrix = taps.transpose(1, 2).reshape(dim_out, width).T
        total = windows @ matrix if total is None else torch.addmm(total, windows, matrix)
    assert total is not None
    return total


class FrontEnd(nn.Module):
    """Waveform (S,) to the features of its frames (T, 512)."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        dims = (1, *config.conv_dim)
        self.layers = nn.ModuleList(
            ConvLayer(dims[i], dims[i + 1], kernel, stride, config.conv_bias, self._norm_of(i, config))
            for i, (kernel, stride) in enumerate(zip(config.conv_kernel, config.conv_stride, strict=True))
        )

    @staticmethod
    def _norm_of(index: int, config: WavLMConfig) -> str | None:
        if config.feat_extract_norm == "layer":
            return "layer"
        return "group" if index == 0 else None

    def forward(self, waveform: Tensor) -> Tensor:
        """(S,) -> (T, 512); T = (S - 80) // 320.

        The first layer always runs in float32: it is 0.2 % of the work, and a waveform rounded to bfloat16
        has lost its quiet half.
        """
        first, *others = self.layers
        rows: Tensor = first(waveform[:, None].float()).to(first.weight.dtype)
        for layer in others:
            rows = layer(rows)
        return rows
