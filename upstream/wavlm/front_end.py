"""The convolutional front end: waveforms to 50 frames a second.

Sizes below are those of the published models: 512 channels, 320 samples a frame. A waveform is cut into pieces that
are computed by themselves: each begins at a frame and ends with the last sample that its last frame sees, so pieces
overlap by 80 samples and their frames are those of the whole. Nothing of a batch-mate and no padding can enter, no more
than a piece is in memory, on a CPU in its cache, and the machine sees the same few shapes whatever the utterances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.products import Convolution, batched_linear

NORM_EPSILON = 1e-5  # of the convolutional layers; in no implementation does it follow layer_norm_eps

# Frames of a piece. On a CPU, what the first layer writes of it, the largest tensor, should stay in the processor's
# cache (17 MB in float32), and the last piece of an utterance is as long as it has to be. A GPU takes pieces of all
# utterances at once; there they are all equally long, filled up with zeros, and short so that little is filled up.
FRAMES_ON_CPU = 128
FRAMES_ON_GPU = 32
PIECES_ON_GPU = 256  # in one go: 2.7 minutes of audio, 1.1 GB from the first layer

MOMENTS_AT_ONCE = 2**19  # windows, in float64; 42 MB

# Pieces to be computed at once: their samples (B, S), the number of the utterance of each, and its valid frames.
Pieces = tuple[Tensor, list[int], list[int]]


class ConvLayer(Convolution):
    """One convolution without padding, then a norm if it has one, then GELU."""

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
        """Each row standardised over its channels, in the precision of `rows`."""
        weight, bias = self.norm_weight.to(rows.dtype), self.norm_bias.to(rows.dtype)
        return F.layer_norm(rows, rows.shape[-1:], weight, bias, NORM_EPSILON)


class FirstLayer(ConvLayer):
    """The layer that hears the samples. It computes in float32 whatever the precision of its weights: a waveform in
    bfloat16 has lost its quiet half.

    With one channel in and ten taps it is no work for a convolution: it is a product with the matrix of windows.
    It is never packed, since group norm changes its weights with every utterance.
    """

    def pack(self) -> None:
        """Nothing: see above."""

    def filters(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (512, kernel) and bias (512,) for an utterance (S,), its group norm included if there is one.

        The convolution is linear, so mean and variance over time of each output channel follow from mean μ
        and covariance Σ of the input windows: m = W μ, v = diag(W Σ Wᵀ). Normalising is then a change of weights,
        W γ/√(v+ε), and no pass over the largest tensor of the network is needed. A bias of the convolution cancels.
        """
        weight = self.weight[:, 0].float()
        if self.norm != "group":
            return weight, weight.new_zeros(len(weight)) if self.bias is None else self.bias.float()
        mean, covariance = moments(waveform, self.kernel, self.stride)
        exact = weight.double()
        variance = ((exact @ covariance) * exact).sum(dim=1).clamp_min(0.0)
        scale = self.norm_weight.double() / (variance + NORM_EPSILON).sqrt()
        return (exact * scale[:, None]).float(), (self.norm_bias.double() - scale * (exact @ mean)).float()

    def hear(self, waves: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
        """Waveforms (B, S) and the filters of each, (B, 512, kernel) and (B, 512) -> (B, n, 512)."""
        windows = waves.unfold(1, self.kernel, self.stride)
        if self.norm == "layer":
            return F.gelu(self.layer_normed(batched_linear(windows, weights, biases)))
        return batched_linear(windows, weights, biases, gelu=True)


def moments(waveform: Tensor, kernel: int, stride: int) -> tuple[Tensor, Tensor]:
    """Mean (kernel,) and covariance (kernel, kernel) of a waveform's windows, in float64.

    The utterance's offset is taken off first: else, on a signal that rides on one, the covariance would be the small
    difference of large numbers.
    """
    samples = waveform.double()
    offset = samples.mean()
    windows = (samples - offset).unfold(0, kernel, stride)
    mean = windows.mean(dim=0)
    products = sum(part.T @ part for part in (some.contiguous() for some in torch.split(windows, MOMENTS_AT_ONCE)))
    return mean + offset, products / len(windows) - mean[:, None] * mean


class FrontEnd(nn.Module):
    """Waveforms to the features of their frames."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.frames, self.samples_a_frame, self.receptive_field = config.frames, config.stride, config.receptive_field
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
        """Waveforms (S_i,) -> their frames one after another (N, 512), and how many each has, (S_i - 80) // 320."""
        lengths = [self.frames(len(waveform)) for waveform in waveforms]
        first, others = cast(FirstLayer, self.layers[0]), self.layers[1:]
        filters = [first.filters(waveform) for waveform in waveforms]
        weights, biases = torch.stack([weight for weight, _ in filters]), torch.stack([bias for _, bias in filters])
        features = []
        for waves, owners, frames in self._pieces(waveforms, lengths):
            rows = first.hear(waves, weights[owners], biases[owners]).to(first.weight.dtype)
            for layer in others:
                rows = layer(rows)
            features += [piece[:valid] for piece, valid in zip(rows, frames, strict=True)]
        return torch.cat(features), lengths

    def _pieces(self, waveforms: Sequence[Tensor], lengths: Sequence[int]) -> Iterator[Pieces]:
        """The utterances' pieces in their order, as many at once as the device should take."""
        on_cpu = waveforms[0].device.type == "cpu"
        return self._one_by_one(waveforms, lengths) if on_cpu else self._together(waveforms, lengths)

    def _one_by_one(self, waveforms: Sequence[Tensor], lengths: Sequence[int]) -> Iterator[Pieces]:
        for utterance, (waveform, frames) in enumerate(zip(waveforms, lengths, strict=True)):
            for begin in range(0, frames, FRAMES_ON_CPU):
                own = min(FRAMES_ON_CPU, frames - begin)
                yield self._span(waveform, begin, own)[None], [utterance], [own]

    def _together(self, waveforms: Sequence[Tensor], lengths: Sequence[int]) -> Iterator[Pieces]:
        size, hop = self._samples(FRAMES_ON_GPU), FRAMES_ON_GPU * self.samples_a_frame
        spans, owners, valid = [], [], []
        for utterance, (waveform, frames) in enumerate(zip(waveforms, lengths, strict=True)):
            own = [min(FRAMES_ON_GPU, frames - begin) for begin in range(0, frames, FRAMES_ON_GPU)]
            spans.append(self._span(waveform, 0, len(own) * FRAMES_ON_GPU).unfold(0, size, hop))
            owners += [utterance] * len(own)
            valid += own
        waves = torch.cat(spans)
        for begin in range(0, len(waves), PIECES_ON_GPU):
            some = slice(begin, begin + PIECES_ON_GPU)
            yield waves[some], owners[some], valid[some]

    def _span(self, waveform: Tensor, begin: int, frames: int) -> Tensor:
        """The samples that frames `begin` to `begin + frames` see; zeros for those that there are not."""
        samples = waveform[begin * self.samples_a_frame :][: self._samples(frames)].float()
        return F.pad(samples, (0, self._samples(frames) - len(samples)))

    def _samples(self, frames: int) -> int:
        """That so many frames see together."""
        return (frames - 1) * self.samples_a_frame + self.receptive_field
