"""The contract every upstream keeps: waveforms in, the hidden states of all layers out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from upstream.errors import MendableError

SAMPLE_RATE = 16_000  # Hz; every upstream of this harness listens at this rate

# Float audio lies in [-1, 1]; resampling and loud mastering overshoot a little. A peak beyond this is no
# overshoot but integer PCM that was cast to float without being scaled.
LARGEST_PEAK = 8.0


@dataclass(frozen=True)
class HiddenStates:
    """The hidden states of a batch of utterances.

    layers: (L, B, T, D) states of all L layers, padded in time to the longest utterance.
    lengths: (B,) int64, valid frames of each utterance; frames beyond them hold nothing of meaning.
    """

    layers: Tensor
    lengths: Tensor

    @classmethod
    def from_utterances(cls, states: Sequence[Tensor]) -> HiddenStates:
        """Pad the states of single utterances, (L, T_i, D) each, to one batch."""
        lengths = torch.tensor([state.shape[1] for state in states])
        num_layers, _, dim = states[0].shape
        layers = states[0].new_zeros(num_layers, len(states), int(lengths.max()), dim)
        for index, state in enumerate(states):
            layers[:, index, : state.shape[1]] = state
        return cls(layers, lengths)

    def utterance(self, index: int) -> Tensor:
        """The valid frames of one utterance, (L, T_index, D)."""
        return self.layers[:, index, : int(self.lengths[index])]

    def means(self) -> Tensor:
        """The mean over each utterance's own frames, (B, L, D) float32.

        Each utterance is averaged by itself, so that its mean does not depend on how far it was padded.
        """
        return torch.stack([self.utterance(i).float().mean(dim=1) for i in range(len(self.lengths))])


@dataclass(frozen=True)
class Provenance:
    """Where an upstream's weights came from, for the record of a run.

    source: what was loaded: a hub repository, a path, a function.
    format: what kind of checkpoint it was recognised as.
    revision: commit of the hub repository; None where there is none or it could not be looked up.
    file_sha256: digest of the weight file (several files: of their digests in order); None without a file.
    notes: sentences a reader of the score should know.
    """

    source: str
    format: str
    revision: str | None = None
    file_sha256: str | None = None
    random_init: bool = False
    notes: tuple[str, ...] = ()


class Upstream(ABC):
    """A frozen speech encoder.

    name: as the user typed it.
    num_layers, dim, stride: L, D, and the samples between two frames.
    fingerprint: hexadecimal digest of everything the states depend on, weights first; keys the store.
    """

    name: str
    num_layers: int
    dim: int
    stride: int
    fingerprint: str
    provenance: Provenance
    sample_rate: int = SAMPLE_RATE
    shortest: int = 400  # samples; shorter utterances are filled up with zeros to this
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32

    @property
    def dtype_name(self) -> str:
        """The precision as it is typed and recorded: "float32"."""
        return str(self.dtype).removeprefix("torch.")

    @abstractmethod
    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """Hidden states of checked waveforms: 1-D float32 on `self.device`, `shortest` samples or more."""

    def __call__(self, waveforms: Sequence[Tensor]) -> HiddenStates:
        """Hidden states of a batch of utterances.

        waveforms: 1-D float tensors, 16 kHz, in [-1, 1], each of its own length. An utterance shorter than
        one frame's receptive field (`shortest`) is filled up with zeros on the right to exactly that.
        An utterance's states do not depend on its batch-mates.

        Raises MendableError for anything that is not such a waveform, with the mend.
        """
        with torch.no_grad():
            return self.encode(self._prepared(waveforms))

    def means(self, waveforms: Sequence[Tensor]) -> Tensor:
        """The mean over frames of every layer of each utterance, (B, L, D) float32; waveforms and errors as above."""
        with torch.no_grad():
            return self.encode_means(self._prepared(waveforms))

    def encode_means(self, waveforms: list[Tensor]) -> Tensor:
        """As `encode`, for an upstream that need not keep the frames of all layers to average them."""
        return self.encode(waveforms).means()

    def _prepared(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        if not isinstance(waveforms, list | tuple) or not waveforms:
            raise MendableError(
                "An upstream takes a non-empty list of 1-D waveforms, one per utterance; "
                "split a padded (B, S) tensor into its utterances first: [x[:n] for x, n in zip(batch, lengths)]."
            )
        for index, waveform in enumerate(waveforms):
            check_waveform(waveform, f"Waveform {index} of the batch")
        prepared = [self.prepare(waveform.to(self.device, torch.float32)) for waveform in waveforms]
        return [lengthen(waveform, self.shortest) for waveform in prepared]

    def prepare(self, waveform: Tensor) -> Tensor:
        """What is done to an utterance's own samples, (S,) -> (S,), before it is filled up; nothing by default."""
        return waveform


def check_waveform(waveform: object, where: str) -> None:
    """Raise MendableError unless `waveform` is a 1-D float tensor, non-empty, finite and scaled to [-1, 1].

    where: what to call it in the message.
    """
    if not isinstance(waveform, Tensor):
        raise MendableError(f"{where} is a {type(waveform).__name__}; make it a tensor: torch.as_tensor(waveform).")
    if waveform.ndim != 1:
        raise MendableError(
            f"{where} has shape {tuple(waveform.shape)}; expected one dimension (samples). "
            "Average the channels of a stereo recording first: waveform.mean(dim=0)."
        )
    if not waveform.is_floating_point():
        raise MendableError(
            f"{where} holds {waveform.dtype} numbers; expected floats in [-1, 1]. Divide 16-bit PCM by 32768 first."
        )
    if waveform.numel() == 0:
        raise MendableError(f"{where} is empty; remove it or check how it was cut.")
    peak = float(waveform.abs().max())
    if not peak < float("inf"):  # NaN compares false as well
        raise MendableError(f"{where} holds NaN or infinite samples; decode it again or leave it out.")
    if peak > LARGEST_PEAK:
        raise MendableError(
            f"{where} peaks at {peak:.6g}; expected floats in [-1, 1]. Divide 16-bit PCM by 32768 first."
        )


def lengthen(waveform: Tensor, shortest: int) -> Tensor:
    """Fill `waveform` (S,) up with zeros on the right to at least `shortest` samples."""
    missing = shortest - waveform.numel()
    return torch.nn.functional.pad(waveform, (0, missing)) if missing > 0 else waveform


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that one frame of a stack of convolutions sees, first layer first: 400 for wav2vec 2.0 and its kin."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def frozen(module: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """`module` in evaluation mode, without gradients, on `device` in `dtype`."""
    return module.eval().requires_grad_(False).to(device=device, dtype=dtype)
