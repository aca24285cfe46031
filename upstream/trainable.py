"""The contract of an encoder that learns: waveforms in, hidden states of all layers out, with gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from upstream.base import HiddenStates, Upstream, prepared
from upstream.fingerprint import fingerprint_tensors
from upstream.learned import Learned

__all__ = ["Learned", "TrainableEncoder"]


class TrainableEncoder(nn.Module, ABC):
    """An encoder whose weights learn, in float32. Call it with waveforms to get their `HiddenStates`, with gradients.

    num_layers, dim, stride, shortest: as those of an `Upstream`.
    settings: what learns.
    step_seed: seed of what all utterances of one update share (which blocks are dropped). Set it before every update,
        to the same number in all processes; None draws one from PyTorch's generator at every call.

    In training mode, what is random for an utterance depends on its seed alone: neither on its batch nor on the number
    of processes. In evaluation mode nothing is random, and the states are those of the frozen upstream.

    encoder = upstream.load("wavlm_base").trainable(Learned(from_layer=6))
    states = encoder([torch.randn(16_000)], seeds=[7])
    states.means().square().mean().backward()

    A subclass sets these attributes and implements the abstract methods.
    """

    num_layers: int
    dim: int
    stride: int
    shortest: int
    settings: Learned
    step_seed: int | None = None

    @abstractmethod
    def prepare(self, waveform: Tensor) -> Tensor:
        """Preprocess the samples of one utterance, (S,) -> (S,), as the frozen upstream does; `forward` calls it."""

    @abstractmethod
    def encode(self, waveforms: list[Tensor], seeds: Sequence[int]) -> HiddenStates:
        """Return the states of prepared waveforms, `shortest` samples or more; seeds as in `forward`."""

    @abstractmethod
    def upstream(self, name: str, device: torch.device, dtype: torch.dtype) -> Upstream:
        """Return a frozen copy of the present weights, as fast as any frozen upstream.

        Its fingerprint is that of its weights: the same as that of the saved directory.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the present weights as a Hugging Face directory; raises UserError if it cannot be written."""

    @abstractmethod
    def activation_bytes(self, samples: Sequence[int]) -> int:
        """Estimate the memory of one training batch with utterances of so many samples, beside weights and gradients.

        That is what is kept from the forward to the backward pass, the hidden states that are returned, and their
        gradient.
        """

    def forward(self, waveforms: Sequence[Tensor], seeds: Sequence[int] | None = None) -> HiddenStates:
        """Return the hidden states of all layers, (L, B, T, D), with gradients.

        waveforms: B 1-D waveforms as a frozen upstream takes them, on any device.
        seeds: of each utterance's masks and dropouts; used in training mode only. None draws them from PyTorch's
            generator.

        A dropped block repeats its input, so there are always L layers.

        Raises UserError for anything else than such waveforms.
        """
        ready = prepared(waveforms, self.prepare, self.shortest, self.device)
        if seeds is None:
            seeds = torch.randint(2**62, (len(ready),)).tolist()
        if len(seeds) != len(ready):
            raise ValueError(f"{len(seeds)} seeds for {len(ready)} utterances")
        return self.encode(ready, seeds)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def learned(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters that learn, by name."""
        return [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]

    def frozen_digest(self) -> str:
        """Return a digest of the weights that do not learn; it must be the same before and after training."""
        frozen = {name: parameter for name, parameter in self.named_parameters() if not parameter.requires_grad}
        return fingerprint_tensors(frozen, {})
