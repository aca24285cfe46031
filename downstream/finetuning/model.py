"""An encoder and a head that learn together: waveforms in, losses out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from downstream.states import Cut, cut_all
from downstream.tasks import Head, Task
from downstream.training import in_precision
from upstream.base import HiddenStates
from upstream.trainable import TrainableEncoder


class EncoderWithHead(nn.Module):
    """The encoder computes in a precision that autocast chooses product by product, the head in float32."""

    def __init__(
        self, encoder: TrainableEncoder, head: Head, task: Task, dtype: torch.dtype, cut: Cut | None = None
    ) -> None:
        """task: of the fold. dtype: of the encoder's products. cut: of states, where training cuts them to a window."""
        super().__init__()
        self.encoder, self.head = encoder, head
        self._task, self._dtype, self._cut = task, dtype, cut

    def forward(self, waveforms: Sequence[Tensor], seeds: Sequence[int], utterances: Tensor, places: Tensor) -> Tensor:
        """Return the loss of each utterance, (B,).

        waveforms: (S_i,) each. seeds: of what is random in the encoder. utterances: (B,) their indices in the dataset.
        places: (B,) where a window of states begins, from 0 to 1.
        """
        with in_precision(self._dtype, self.encoder.device):
            states = self.encoder(waveforms, seeds)
        states = HiddenStates(states.layers.float(), states.lengths)
        if self._cut is not None:
            whole = [states.utterance(index) for index in range(len(states.lengths))]
            states = HiddenStates.from_utterances(cut_all(whole, places, self._cut))
        return self._task.losses(self.head, states, utterances)

    def learned(self) -> list[nn.Parameter]:
        """Return the parameters that learn, of both."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]
