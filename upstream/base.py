"""The contract of every upstream: waveforms in, hidden states of all layers out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors
from upstream.learned import Learned
from upstream.object_state import state_of

SAMPLE_RATE = 16_000  # Hz, of the input of every upstream

MOST_DRAWN = 4_000_000_000  # weights that are drawn at random: 16 GB in float32

# Float audio is in [-1, 1]; resampling and loud mastering overshoot a little. A peak beyond this is integer PCM
# that was cast to float without scaling.
LARGEST_PEAK = 8.0

LARGEST_DENOMINATOR = 1000  # of a fractional stride; 16,000 samples over 75 frames are 640/3


@dataclass(frozen=True)
class HiddenStates:
    """The hidden states of a batch of B utterances.

    layers: (L, B, T, D) float states of all L layers, padded in time to the longest utterance. For a transformer,
        layers[0] is the input of the first block and layers[-1] the encoder's output; on the upstream's device.
    lengths: (B,) int64 on the CPU, valid frames of each utterance; frames beyond them are meaningless.

    states = wavlm(waveforms)
    states.utterance(0)         # (L, T_0, D), the first utterance without padding
    states.means()              # (B, L, D), mean over valid frames
    states.statistics()         # (B, L, 2 D), mean and standard deviation over valid frames
    """

    layers: Tensor
    lengths: Tensor

    @classmethod
    def from_utterances(cls, states: Sequence[Tensor | Sequence[Tensor]]) -> HiddenStates:
        """Pad the states of single utterances into one batch.

        states: (L, T_i, D) of each, or its L layers, (T_i, D_l) each, as for `from_layers`.
        """
        single = [state if isinstance(state, Tensor) else stacked_layers(state) for state in states]
        lengths = torch.tensor([state.shape[1] for state in single])
        num_layers, _, dim = single[0].shape
        layers = single[0].new_zeros(num_layers, len(single), int(lengths.max()), dim)
        for index, state in enumerate(single):
            layers[:, index, : state.shape[1]] = state
        return cls(layers, lengths)

    @classmethod
    def from_layers(cls, layers: Sequence[Tensor], lengths: Tensor) -> HiddenStates:
        """Stack the layers of a batch, (B, T, D_l) each; narrower ones get zeros up to the widest.

        lengths: (B,) valid frames.

        A zero adds nothing to a linear head, so a single layer is read as if it had its own width; only the head's
        first weights are drawn for the widest. In a weighted sum, dimension d of all layers shares one weight of the
        head, as ever.

        Raises UserError for layers of another batch or other numbers of frames.
        """
        return cls(stacked_layers(layers), lengths)

    def utterance(self, index: int) -> Tensor:
        """Return the valid frames of one utterance, (L, T_index, D)."""
        return self.layers[:, index, : int(self.lengths[index])]

    def means(self) -> Tensor:
        """Return the mean over each utterance's valid frames, (B, L, D) float32.

        Each utterance is averaged separately, so its mean does not depend on the padding.
        """
        return torch.stack([means_of(self.utterance(i)) for i in range(len(self.lengths))])

    def statistics(self) -> Tensor:
        """Return mean and standard deviation over each utterance's valid frames, (B, L, 2 D) float32.

        The first D are those of `means`, bit for bit; each utterance is taken separately, as there.
        """
        return torch.stack([statistics_of(self.utterance(i)) for i in range(len(self.lengths))])


def means_of(frames: Tensor) -> Tensor:
    """Return the mean over the frames of one utterance, (L, T, D) of any precision -> (L, D) float32."""
    return frames.float().mean(dim=1)


def statistics_of(frames: Tensor) -> Tensor:
    """Return mean and standard deviation over the frames of one utterance, (L, T, D) -> (L, 2 D) float32."""
    return torch.cat([means_of(frames), deviations(frames.float())], dim=1)


def deviations(frames: Tensor) -> Tensor:
    """Return the population standard deviation over frames, (…, T, D) float32 -> (…, D); of one frame it is zero.

    In two passes, over differences from the first frame: a channel far from zero loses no digits, and one that never
    changes has a deviation of exactly zero, whose gradient is zero.
    """
    shifted = frames - frames[..., :1, :]
    variances = (shifted - shifted.mean(dim=-2, keepdim=True)).square().mean(dim=-2)
    if not variances.requires_grad:
        return variances.sqrt()
    varies = variances > 0  # at zero the root has no slope
    return torch.where(varies, torch.where(varies, variances, 1.0).sqrt(), 0.0)


def stacked_layers(layers: Sequence[Tensor]) -> Tensor:
    """Return layers of different widths, (..., D_l) each, as one tensor (L, ..., D), padded with zeros to the widest.

    Raises UserError for layers that differ in more than their width.
    """
    shapes = [tuple(layer.shape) for layer in layers]
    if len({shape[:-1] for shape in shapes}) != 1:
        raise UserError(
            f"The layers have shapes {shapes}; only their last dimension, the width, may differ. Bring them to one "
            "frame rate first: average the frames of faster layers, or repeat those of slower ones."
        )
    widest = max(shape[-1] for shape in shapes)
    return torch.stack([torch.nn.functional.pad(layer, (0, widest - layer.shape[-1])) for layer in layers])


# A batch of states as heads read it: per-layer means (L, B, D), means and deviations (L, B, 2 D), or all frames.
States = Tensor | HiddenStates


@dataclass(frozen=True)
class Provenance:
    """Where an upstream's weights came from, for the record of a run.

    source: hub repository, path or function that was loaded.
    format: kind of checkpoint, in words.
    revision: commit of the hub repository; None without one.
    file_sha256: digest of the weight file (several files: of their digests in order); None without a file.
    random_init: True for untrained weights.
    notes: sentences that a reader of the score should know.
    """

    source: str
    format: str
    revision: str | None = None
    file_sha256: str | None = None
    random_init: bool = False
    notes: tuple[str, ...] = ()


class Upstream(ABC):
    """A frozen speech encoder. Call it with waveforms to get their `HiddenStates`.

    name: as the user typed it.
    num_layers, dim: L and D.
    stride: samples between two frames, an int where it is whole. Frame t begins at sample t * stride, rounded or not.
    fingerprint: hexadecimal digest of everything the states depend on (weights, settings); keys the store.
    provenance: where the weights came from.
    first_centre: samples from the beginning to the middle of the first frame's receptive field, 200 of 400; None where
        that is not known. Of a user's model it is what the model declares, or the middle of `shortest`.

    A subclass sets these attributes and implements `encode`.
    """

    name: str
    num_layers: int
    dim: int
    stride: float
    fingerprint: str
    provenance: Provenance
    sample_rate: int = SAMPLE_RATE
    shortest: int = 400  # samples; shorter utterances are padded with zeros to this
    first_centre: float | None = None
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32

    @property
    def dtype_name(self) -> str:
        """The precision as typed and recorded: "float32"."""
        return str(self.dtype).removeprefix("torch.")

    def frames(self, seconds: float) -> int:
        """Return the number of frames of so many seconds of audio, one at least."""
        return frames_of(round(seconds * SAMPLE_RATE), self.shortest, self.stride)

    def frame_times(self, frames: int) -> Tensor:
        """Return the centres of the first frames in seconds, (T,) float64.

        Where `first_centre` is not known, a frame is taken to see `shortest` samples.
        """
        first = self.shortest / 2 if self.first_centre is None else self.first_centre
        return (torch.arange(frames, dtype=torch.float64) * float(self.stride) + first) / SAMPLE_RATE

    @abstractmethod
    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """Return the hidden states of checked waveforms: 1-D float32 on `self.device`, `shortest` samples or more."""

    def __call__(self, waveforms: Sequence[Tensor]) -> HiddenStates:
        """Return the hidden states of a batch of utterances: layers (L, B, T, D), lengths (B,).

        waveforms: list of B 1-D float tensors (S_i,), 16 kHz, in [-1, 1], on any device, not padded. An utterance
            shorter than one frame's receptive field (`shortest` samples) is padded with zeros on the right.

        No gradients are computed. An utterance's states do not depend on the rest of its batch.

        Raises UserError for anything else than such waveforms, with the fix.

        waveforms = [torch.randn(16_000) * 0.1, torch.randn(8_000) * 0.1]   # 1 s and 0.5 s
        states = upstream.load("wavlm_base")(waveforms)
        states.layers.shape, states.lengths       # (13, 2, 49, 768), [49, 24]
        """
        with torch.no_grad():
            return self.encode(self._prepared(waveforms))

    def means(self, waveforms: Sequence[Tensor]) -> Tensor:
        """Return the mean over frames of every layer, (B, L, D) float32; waveforms and errors as for a call."""
        with torch.no_grad():
            return self.encode_means(self._prepared(waveforms))

    def encode_means(self, waveforms: list[Tensor]) -> Tensor:
        """Return the means of checked waveforms; override it to average without keeping the frames of all layers."""
        return self.encode(waveforms).means()

    def statistics(self, waveforms: Sequence[Tensor]) -> Tensor:
        """Return mean and standard deviation over frames of every layer, (B, L, 2 D) float32; otherwise as `means`."""
        with torch.no_grad():
            return self.encode_statistics(self._prepared(waveforms))

    def encode_statistics(self, waveforms: list[Tensor]) -> Tensor:
        """Return the statistics of checked waveforms; override it as `encode_means`."""
        return self.encode(waveforms).statistics()

    def _prepared(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        return prepared(waveforms, self.prepare, self.shortest, self.device)

    def prepare(self, waveform: Tensor) -> Tensor:
        """Preprocess the samples of one utterance, (S,) -> (S,), before padding; the identity by default."""
        return waveform

    def trainable(self, learned: Learned) -> Any:
        """Return a `TrainableEncoder` with these weights, on the same device, in float32; this one stays frozen.

        learned: what of it learns. The class is that of `upstream.trainable`, a contract that builds on this one.

        Raises UserError for an encoder that cannot be trained here, and for settings that do not fit it.
        """
        raise UserError(
            f"{self.name} cannot be fine-tuned here: only WavLM has a training mode. Name a WavLM, such as wavlm_base "
            "or the path of a checkpoint, or probe this encoder frozen."
        )

    def weights_digest(self) -> str:
        """Return a digest of the weights as they are in memory: the same before and after a run if they are frozen."""
        return fingerprint_tensors(state_of({"upstream": self}).tensors, {})


def prepared(
    waveforms: Sequence[Tensor], prepare: Callable[[Tensor], Tensor], shortest: int, device: torch.device
) -> list[Tensor]:
    """Return checked waveforms as an encoder computes them: float32, on `device`, prepared, padded to `shortest`.

    Raises UserError for anything else than a list of 1-D waveforms in [-1, 1].
    """
    if not isinstance(waveforms, list | tuple) or not waveforms:
        raise UserError(
            "An upstream takes a non-empty list of 1-D waveforms, one per utterance; "
            "split a padded (B, S) tensor into its utterances first: [x[:n] for x, n in zip(batch, lengths)]."
        )
    for index, waveform in enumerate(waveforms):
        check_waveform(waveform, f"Waveform {index} of the batch")
    return [pad_to(prepare(waveform.to(device, torch.float32)), shortest) for waveform in waveforms]


def check_waveform(waveform: object, where: str) -> None:
    """Raise UserError unless `waveform` is a 1-D float tensor, non-empty, finite and scaled to [-1, 1].

    where: name of the waveform in the message.
    """
    if not isinstance(waveform, Tensor):
        raise UserError(f"{where} is a {type(waveform).__name__}; make it a tensor: torch.as_tensor(waveform).")
    if waveform.ndim != 1:
        raise UserError(
            f"{where} has shape {tuple(waveform.shape)}; expected one dimension (samples). "
            "Average the channels of a stereo recording first: waveform.mean(dim=0)."
        )
    if not waveform.is_floating_point():
        raise UserError(
            f"{where} has {waveform.dtype} samples; expected floats in [-1, 1]. Divide 16-bit PCM by 32768 first."
        )
    if waveform.numel() == 0:
        raise UserError(f"{where} is empty; remove it or check how it was segmented.")
    peak = float(waveform.abs().max())
    if not peak < float("inf"):  # NaN compares false as well
        raise UserError(f"{where} has NaN or infinite samples; decode it again or leave it out.")
    if peak > LARGEST_PEAK:
        raise UserError(f"{where} peaks at {peak:.6g}; expected floats in [-1, 1]. Divide 16-bit PCM by 32768 first.")


def pad_to(waveform: Tensor, shortest: int) -> Tensor:
    """Pad `waveform` (S,) with zeros on the right to at least `shortest` samples."""
    missing = shortest - waveform.numel()
    return torch.nn.functional.pad(waveform, (0, missing)) if missing > 0 else waveform


def frames_of(samples: int, shortest: int, stride: float) -> int:
    """Return the number of frames of so many samples, one at least; a fractional stride adds up without rounding.

    shortest: samples under one frame.
    """
    return max(0, samples - shortest) // exact(stride) + 1


def exact(stride: float) -> Fraction:
    """Return a stride as the fraction that was meant: 213.333… is 640/3, which hours of audio are a multiple of."""
    return Fraction(stride).limit_denominator(LARGEST_DENOMINATOR)


def plain(stride: Fraction) -> float:
    """Return a stride as a number to be written: an int where it is whole."""
    return int(stride) if stride.denominator == 1 else float(stride)


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return the receptive field in samples of a stack of convolutions, first layer first (wav2vec 2.0: 400)."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def frozen(module: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """Return `module` in evaluation mode, without gradients, on `device`, its real numbers in `dtype`.

    Complex tensors stay as they are: `module.to(dtype)` would drop their imaginary parts.
    """
    moved = module.eval().requires_grad_(False).to(device=device)
    for tensor in chain(moved.parameters(), moved.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return moved


def require_drawable(parameters: int, configuration: str) -> None:
    """Raise UserError for a configuration of so many untrained parameters that a damaged file must have asked for them.

    configuration: its name in the message.
    """
    if parameters > MOST_DRAWN:
        raise UserError(
            f"{configuration} describes {parameters:,} parameters; at most {MOST_DRAWN:,} are drawn at random. "
            "Check the sizes in its config.json."
        )
