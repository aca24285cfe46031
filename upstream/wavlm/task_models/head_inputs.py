"""What a task model's head reads, as hidden states of one layer: the model's encoder, frozen."""

from __future__ import annotations

import torch
from torch import Tensor

from upstream.base import HiddenStates, Provenance, Upstream, frozen
from upstream.errors import UserError
from upstream.wavlm import products
from upstream.wavlm.task_models.base import PretrainedWavLM
from upstream.wavlm.task_models.batches import padded


class HeadInputs(Upstream):
    """The encoder of a task model: one layer, the encoder's output or the weighted sum that its head reads.

    The weights are packed for this machine, after which the model can be neither saved nor trained. It has no
    fingerprint: its states are not stored.
    """

    num_layers = 1
    fingerprint = ""

    def __init__(self, name: str, model: PretrainedWavLM, device: torch.device) -> None:
        self.name, self.device, self.provenance = name, device, Provenance(name, "task model")
        config = model.config
        self.dim, self.stride, self.shortest = config.hidden_size, config.stride, config.receptive_field
        self.first_centre = self.shortest / 2
        frozen(model, device, self.dtype)
        products.pack(model)
        self.model = model

    def prepare(self, waveform: Tensor) -> Tensor:
        """Standardise the waveform (S,) if the model was trained on standardised waveforms."""
        return self.model.prepare(waveform)

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """Return the frames that the head reads, (1, B, T, D); raise UserError for fewer than it can read."""
        lengths = [self.model.config.frames(len(waveform)) for waveform in waveforms]
        if min(lengths) < self.model.fewest_frames:
            raise UserError(
                f"It has {min(lengths)} frames, and {type(self.model).__name__} takes {self.model.fewest_frames}; "
                "leave it out."
            )
        return HiddenStates(padded(self.model.encoded(waveforms), lengths)[None], torch.tensor(lengths))
