"""WavLM for classes of utterances and of frames."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.errors import UserError
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.task_models.base import LayerSumModel, TaskOutput
from upstream.wavlm.task_models.batches import Waveforms, padded, require_numbers


class WavLMForSequenceClassification(LayerSumModel):
    """A class for each utterance: projection, mean over frames, linear layer."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config)
        self.projector = nn.Linear(config.hidden_size, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)

    def forward(
        self, input_values: Waveforms, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> TaskOutput:
        """Return logits (B, num_labels) for prepared waveforms: 1-D tensors, or (B, S) padded on the right.

        attention_mask: (B, S), 0 for padding. labels: (B,) classes, -100 for none; the loss is cross-entropy, whatever
        `problem_type` says, as in transformers.

        Raises UserError for labels of another shape or beyond the classes.
        """
        output = self.head(*self.packed(input_values, attention_mask))
        if labels is None:
            return output
        return replace(output, loss=F.cross_entropy(output.logits, checked(labels, output.logits).view(-1)))

    def head(self, frames: Tensor, lengths: list[int]) -> TaskOutput:
        """Return the logits of packed frames (N, D); lengths: frames of each utterance."""
        means = [own.mean(dim=0) for own in torch.split(self.projector(frames), lengths)]
        return TaskOutput(self.classifier(torch.stack(means)), torch.tensor(lengths))


class WavLMForAudioFrameClassification(LayerSumModel):
    """Classes of each frame, such as the speakers who are heard in it: one linear layer."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(
        self, input_values: Waveforms, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> TaskOutput:
        """Return logits (B, T, num_labels) for prepared waveforms: 1-D tensors, or (B, S) padded on the right.

        attention_mask: (B, S), 0 for padding. labels: (B, T, num_labels), the class of a frame as ones among zeros.

        The loss is transformers': cross-entropy with the largest label of a frame, also where several are on. There it
        counts the frames of padding, too; here there are none, so that the two are equal where all utterances are as
        long as each other.

        Raises UserError for labels of another shape.
        """
        output = self.head(*self.packed(input_values, attention_mask))
        if labels is None:
            return output
        lengths = output.lengths.tolist()
        logits = torch.cat([own[:frames] for own, frames in zip(output.logits, lengths, strict=True)])
        return replace(output, loss=F.cross_entropy(logits, self._classes(labels, lengths).to(logits.device)))

    def head(self, frames: Tensor, lengths: list[int]) -> TaskOutput:
        """Return the logits of packed frames (N, D); lengths: frames of each utterance."""
        return TaskOutput(padded(self.classifier(frames), lengths), torch.tensor(lengths))

    def _classes(self, labels: Tensor, lengths: list[int]) -> Tensor:
        """Return the class of every frame, (N,), from labels (B, T, num_labels)."""
        wanted = (len(lengths), max(lengths), self.config.num_labels)
        if labels.shape != wanted:
            raise UserError(
                f"The labels have shape {tuple(labels.shape)}; expected {wanted}: utterances, frames, and a one for "
                "the class of each frame."
            )
        return torch.cat([own[:frames].argmax(dim=1) for own, frames in zip(labels, lengths, strict=True)])


def checked(labels: Tensor, logits: Tensor) -> Tensor:
    """Return labels of utterances, on the logits' device; raise UserError unless each is a class of logits (B, C)."""
    require_numbers(labels)
    if labels.numel() != len(logits):
        raise UserError(f"There are {labels.numel()} labels for {len(logits)} utterances; give one for each.")
    wrong = (labels >= logits.shape[1]) | ((labels < 0) & (labels != -100))
    if bool(wrong.any()):
        raise UserError(
            f"There is a label {int(labels[wrong][0])}; expected 0 to {logits.shape[1] - 1}, the classes of id2label, "
            "or -100 for none."
        )
    return labels.to(logits.device, torch.int64)
