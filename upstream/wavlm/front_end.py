"""The convolutional front end: waveforms to 50 frames a second.

Sizes in comments are those of the published models: 512 channels, 320 samples per frame. A waveform is cut into pieces
that are computed separately. Each begins at a frame and ends with the last sample in the receptive field of its last
frame, so pieces overlap by 80 samples and give the frames of the whole waveform. No other utterance and no padding can
affect a frame, only one piece is in memory (on a CPU, in its cache), and there are only a few different shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.equal_lengths import equal_runs
from upstream.wavlm.products import Convolution, batched_linear

NORM_EPSILON = 1e-5  # of the convolutional layers; no implementation uses layer_norm_eps here

# Frames of a piece. On a CPU, the output of the first layer, the largest tensor, should stay in the cache (17 MB in
# float32), and the last piece of an utterance is shorter; a narrower front end learns in longer pieces. A GPU computes
# pieces of all utterances at once; there all pieces have the same length, padded with zeros, and are short so that
# padding is small.
FRAMES_ON_CPU = 128
CHANNELS = 512  # for which that is chosen
FRAMES_ON_GPU = 32
PIECES_ON_GPU = 256  # at once: 2.7 minutes of audio, 1.1 GB from the first layer

MOMENTS_AT_ONCE = 2**19  # windows, in float64; 42 MB

# Pieces computed at once: samples (B, S), index of each piece's utterance, valid frames of each piece.
Pieces = tuple[Tensor, list[int], list[int]]


class ConvLayer(Convolution):
    """One convolution without padding, an optional norm, GELU."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int, stride: int, bias: bool, norm: str | None) -> None:
        """norm: "group" (per channel over time), "layer" (per frame over channels) or None."""
        super().__init__(dim_in, dim_out, kernel, stride, bias=bias)
        self.norm = norm
        if norm is not None:
            self.norm_weight = nn.Parameter(torch.empty(dim_out))
            self.norm_bias = nn.Parameter(torch.empty(dim_out))

    def forward(self, rows: Tensor, gelu: bool = True) -> Tensor:
        """(B, n, dim_in) -> (B, (n - kernel) // stride + 1, dim_out)."""
        if self.norm is None:
            return super().forward(rows, gelu)
        return F.gelu(self.layer_normed(super().forward(rows)))

    def layer_normed(self, rows: Tensor) -> Tensor:
        """Layer norm over the channels of each row, in the precision of `rows`."""
        weight, bias = self.norm_weight.to(rows.dtype), self.norm_bias.to(rows.dtype)
        return F.layer_norm(rows, rows.shape[-1:], weight, bias, NORM_EPSILON)


class FirstLayer(ConvLayer):
    """The layer that reads the samples. It computes in float32 for weights of any precision: a waveform rounded to
    bfloat16 loses its quiet parts.

    With one input channel and ten taps it is computed as a product with the matrix of windows, not as a convolution.
    It is never packed, because group norm changes its weights for every utterance.
    """

    def pack(self) -> None:
        """Do nothing: see above."""

    def filters(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (B, 512, kernel) and biases (B, 512) for utterances (B, S), with their group norms folded in,
        if any.

        The convolution is linear, so mean and variance over time of each output channel follow from mean μ
        and covariance Σ of the input windows: m = W μ, v = diag(W Σ Wᵀ). The norm is then a change of weights,
        W γ/√(v+ε), without a pass over the largest tensor of the network. A bias of the convolution cancels.
        """
        weight = self.weight[:, 0].float()
        if self.norm != "group":
            bias = weight.new_zeros(len(weight)) if self.bias is None else self.bias.float()
            return weight.expand(len(waveforms), -1, -1), bias.expand(len(waveforms), -1)
        means, covariances = moments(waveforms, self.kernel, self.stride)
        exact = weight.double()
        variance = ((exact @ covariances) * exact).sum(dim=-1).clamp_min(0.0)
        scale = self.norm_weight.double() / (variance + NORM_EPSILON).sqrt()
        return (exact * scale[..., None]).float(), (self.norm_bias.double() - scale * (means @ exact.T)).float()

    def filtered(self, waves: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
        """Apply the filters of each piece, (B, 512, kernel) and (B, 512), to its waveform: (B, S) -> (B, n, 512)."""
        windows = waves.unfold(1, self.kernel, self.stride)
        if self.norm == "layer":
            return F.gelu(self.layer_normed(batched_linear(windows, weights, biases)))
        return batched_linear(windows, weights, biases, gelu=True)


def moments(waveforms: Tensor, kernel: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return means (B, kernel) and covariances (B, kernel, kernel) of the windows of waveforms (B, S), in float64.

    The mean of each waveform is subtracted first. With a large offset, the covariance would otherwise be a small
    difference of large numbers.
    """
    samples = waveforms.double()
    offsets = samples.mean(dim=1, keepdim=True)
    windows = (samples - offsets).unfold(1, kernel, stride)
    means = windows.mean(dim=1)
    parts = torch.split(windows, max(1, MOMENTS_AT_ONCE // len(windows)), dim=1)
    products = sum(part.mT @ part for part in (some.contiguous() for some in parts))
    return means + offsets, products / windows.shape[1] - means[:, :, None] * means[:, None]


class FrontEnd(nn.Module):
    """The convolutional layers: waveforms to features of frames."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.frames, self.samples_per_frame, self.receptive_field = config.frames, config.stride, config.receptive_field
        dims = (1, *config.conv_dim)
        self.layers = nn.ModuleList(
            (FirstLayer if i == 0 else ConvLayer)(
                dims[i], dims[i + 1], kernel, stride, config.conv_bias, self._norm_of(i, config)
            )
            for i, (kernel, stride) in enumerate(zip(config.conv_kernel, config.conv_stride, strict=True))
        )

    @staticmethod
    def _norm_of(index: int, config: WavLMConfig) -> str | None:
        if config.feat_extract_norm == "layer":
            return "layer"
        return "group" if index == 0 else None

    def forward(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """Return the concatenated frames (N, 512) of waveforms (S_i,), and the frames of each, (S_i - 80) // 320."""
        lengths = [self.frames(len(waveform)) for waveform in waveforms]
        first, others = cast(FirstLayer, self.layers[0]), self.layers[1:]
        # The features of a frozen utterance must not depend on others, not even by rounding.
        runs = equal_runs([len(waveform) for waveform in waveforms], None if torch.is_grad_enabled() else 1)
        with torch.autocast(waveforms[0].device.type, enabled=False):  # see `FirstLayer`
            filters = [first.filters(torch.stack([waveforms[one] for one in run])) for run in runs]
        weights, biases = torch.cat([weight for weight, _ in filters]), torch.cat([bias for _, bias in filters])
        features = []
        for waves, owners, frames in self._pieces(waveforms, lengths):
            with torch.autocast(waves.device.type, enabled=False):
                rows = first.filtered(waves, weights[owners], biases[owners]).to(first.weight.dtype)
            for layer in others:
                rows = layer(rows)
            features.append(without_padding(rows, frames))
        return torch.cat(features), lengths

    def _pieces(self, waveforms: Sequence[Tensor], lengths: Sequence[int]) -> Iterator[Pieces]:
        """Yield the utterances' pieces in order, as many at once as suits the device."""
        on_cpu = waveforms[0].device.type == "cpu"
        return self._one_by_one(waveforms, lengths) if on_cpu else self._together(waveforms, lengths)

    def _one_by_one(self, waveforms: Sequence[Tensor], lengths: Sequence[int]) -> Iterator[Pieces]:
        """Yield pieces of one utterance; where they learn, of as many of equal length as are no longer than a piece."""
        channels, learns = len(cast(FirstLayer, self.layers[0]).weight), torch.is_grad_enabled()
        longest = FRAMES_ON_CPU * max(1, CHANNELS // channels if learns else 1)
        for some in equal_runs(lengths, longest if learns else 0):
            frames = lengths[some.start]
            for begin in range(0, frames, longest):
                size = min(longest, frames - begin)
                spans = [self._span(waveforms[utterance], begin, size) for utterance in some]
                yield torch.stack(spans), list(some), [size] * len(some)

    def _together(self, waveforms: Sequence[Tensor], lengths: Sequence[int]) -> Iterator[Pieces]:
        """Yield pieces of all utterances, of one length: the last ones of an utterance are padded."""
        longest = min(FRAMES_ON_GPU, max(lengths)) if torch.is_grad_enabled() else FRAMES_ON_GPU
        size, hop = self._samples(longest), longest * self.samples_per_frame
        spans, owners, valid = [], [], []
        for run in equal_runs([len(waveform) for waveform in waveforms]):
            frames = lengths[run.start]
            sizes = [min(longest, frames - begin) for begin in range(0, frames, longest)]
            together = torch.stack([waveforms[one] for one in run])
            spans.append(self._span(together, 0, len(sizes) * longest).unfold(1, size, hop).flatten(0, 1))
            owners += [one for one in run for _ in sizes]
            valid += sizes * len(run)
        waves = torch.cat(spans)
        for begin in range(0, len(waves), PIECES_ON_GPU):
            group = slice(begin, begin + PIECES_ON_GPU)
            yield waves[group], owners[group], valid[group]

    def _span(self, waveform: Tensor, begin: int, frames: int) -> Tensor:
        """Return the samples under frames `begin` to `begin + frames`, padded with zeros beyond the waveform, which
        is (S,) or (B, S)."""
        samples = waveform[..., begin * self.samples_per_frame :][..., : self._samples(frames)].float()
        return F.pad(samples, (0, self._samples(frames) - samples.shape[-1]))

    def _samples(self, frames: int) -> int:
        """Return the number of samples under this many consecutive frames."""
        return (frames - 1) * self.samples_per_frame + self.receptive_field


def without_padding(rows: Tensor, valid: Sequence[int]) -> Tensor:
    """Return the first `valid` rows of each of B pieces, (B, n, D) -> (N, D)."""
    flat, size = rows.flatten(0, 1), rows.shape[1]
    if all(frames == size for frames in valid):
        return flat
    return flat[valid_rows(valid, size).to(rows.device)]


def valid_rows(valid: Sequence[int], size: int) -> Tensor:
    """Return the numbers of the first `valid` rows of each of B pieces of `size` rows, among all rows, (N,)."""
    return torch.cat([torch.arange(frames) + number * size for number, frames in enumerate(valid)])
