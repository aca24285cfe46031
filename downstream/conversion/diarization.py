"""s3prl's head for diarization: who speaks, frame by frame. No family of the harness has one; transformers has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from downstream.tasks import Head, HeadOfS3prl, TaskModelHead, WeightedSum
from upstream.base import HiddenStates
from upstream.errors import UserError

LINEAR, RECURRENT = "model.linear", "model.rnn."


class FrameClassifier(Head):
    """Weighted sum of layers and a linear layer on every frame; a speaker talks where its logit is above 0."""

    def __init__(self, num_layers: int, layer: int | None, weight: Tensor, bias: Tensor) -> None:
        """weight, bias: (speakers, D) and (speakers,)."""
        super().__init__()
        self.weighted_sum = WeightedSum(num_layers, layer)
        self.output = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.output.weight.copy_(weight)
            self.output.bias.copy_(bias)

    def forward(self, states: HiddenStates) -> Tensor:
        """Hidden states (L, B, T, D) -> logits (B, T, speakers)."""
        logits: Tensor = self.output(self.weighted_sum(states.layers))
        return logits

    def task_model(self) -> TaskModelHead:
        """Return it as ForAudioFrameClassification, whose logits are the same."""
        tensors = {f"classifier.{name}": tensor.detach() for name, tensor in self.output.named_parameters()}
        return TaskModelHead("ForAudioFrameClassification", tensors, reads="classifier")


def frame_classifier(theirs: HeadOfS3prl) -> FrameClassifier | None:
    """Return s3prl's head for diarization; None for a head of another structure.

    Raises UserError for one with an LSTM, as SUPERB has it, which transformers' model has no place for.
    """
    names = theirs.tensors.keys()
    if any(name.startswith(RECURRENT) for name in names) and f"{LINEAR}.weight" in names:
        raise UserError(
            "This head for diarization has an LSTM before its linear layer (modelrc.rnn_layers), as SUPERB's has; "
            "ForAudioFrameClassification of transformers is a linear layer alone. One learned with "
            "config.downstream_expert.modelrc.rnn_layers=0 can be carried."
        )
    if names != {f"{LINEAR}.weight", f"{LINEAR}.bias"}:
        return None
    return FrameClassifier(
        theirs.num_layers, theirs.layer, theirs.tensors[f"{LINEAR}.weight"], theirs.tensors[f"{LINEAR}.bias"]
    )
