"""WavLM for speaker verification: x-vectors (Snyder et al. 2018), learned with the additive margin softmax."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.errors import UserError
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.task_models.base import LayerSumModel, TaskOutput
from upstream.wavlm.task_models.batches import Waveforms, require_numbers

SCALE, MARGIN = 30.0, 0.4  # of the additive margin softmax; transformers' and s3prl's


class TDNNLayer(nn.Module):
    """A convolution over time with ReLU; its weight is stored as (out, kernel · in), with the taps outermost."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.width, self.taps, self.dilation = dim_in, kernel, dilation
        self.kernel = nn.Linear(dim_in * kernel, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(1, dim_in, T) -> (1, dim_out, T - dilation · (kernel - 1))."""
        weight = self.kernel.weight.view(-1, self.taps, self.width).transpose(1, 2)
        return F.relu(F.conv1d(x, weight, self.kernel.bias, dilation=self.dilation))


class AMSoftmaxLoss(nn.Module):
    """Cross-entropy of scaled cosines to the speakers' directions, a margin taken off the right one's (Wang 2018)."""

    def __init__(self, dim: int, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, num_labels))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss; x: (B, dim), labels: (B,) speakers."""
        cosines = F.normalize(x, dim=1) @ F.normalize(self.weight, dim=0)
        right = F.one_hot(labels, cosines.shape[1]).bool()
        return F.cross_entropy(SCALE * torch.where(right, cosines - MARGIN, cosines), labels)


class WavLMForXVector(LayerSumModel):
    """An embedding of the speaker for each utterance. Compare embeddings by their cosine."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config)
        widths = (config.tdnn_dim[0], *config.tdnn_dim)
        self.projector = nn.Linear(config.hidden_size, widths[0])
        self.tdnn = nn.ModuleList(
            TDNNLayer(widths[i], widths[i + 1], kernel, dilation)
            for i, (kernel, dilation) in enumerate(zip(config.tdnn_kernel, config.tdnn_dilation, strict=True))
        )
        self.feature_extractor = nn.Linear(2 * widths[-1], config.xvector_output_dim)
        self.classifier = nn.Linear(config.xvector_output_dim, config.xvector_output_dim)
        self.objective = AMSoftmaxLoss(config.xvector_output_dim, config.num_labels)

    @property
    def fewest_frames(self) -> int:
        """Frames of the shortest utterance: the convolutions' reach, and one more, as one frame has no deviation."""
        pairs = zip(self.config.tdnn_kernel, self.config.tdnn_dilation, strict=True)
        return 2 + sum(dilation * (kernel - 1) for kernel, dilation in pairs)

    def forward(
        self, input_values: Waveforms, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> TaskOutput:
        """Return embeddings and logits, (B, xvector_output_dim) each, for prepared waveforms: 1-D, or (B, S) padded.

        attention_mask: (B, S), 0 for padding. labels: (B,) speakers.

        Raises UserError for an utterance of under `fewest_frames`, and for labels that are no speakers.
        """
        output = self.head(*self.packed(input_values, attention_mask))
        if labels is None:
            return output
        return replace(output, loss=self.objective(output.logits, self._speakers(labels, output.logits)))

    def head(self, frames: Tensor, lengths: list[int]) -> TaskOutput:
        """Return embeddings and logits of packed frames (N, D); lengths: frames of each utterance."""
        if min(lengths) < self.fewest_frames:
            seconds = (self.fewest_frames - 1) * self.config.stride + self.config.receptive_field
            raise UserError(
                f"Waveform {lengths.index(min(lengths))} of the batch has {min(lengths)} frames; an x-vector takes "
                f"{self.fewest_frames}, {seconds:,} samples. Leave it out, or join it with another of its speaker."
            )
        projected = torch.split(self.projector(frames), lengths)
        embeddings = self.feature_extractor(torch.stack([self._statistics(own) for own in projected]))
        return TaskOutput(self.classifier(embeddings), torch.tensor(lengths), embeddings=embeddings)

    def _statistics(self, frames: Tensor) -> Tensor:
        """Return mean and deviation of one utterance's frames after the convolutions, (T, D) -> (2 D',).

        The deviation is the unbiased one. In a padded batch transformers pools up to 6 frames beyond the last one: its
        formula for the length after the convolutions ignores their dilation. An utterance alone has no such frames.
        """
        x = frames.T[None]
        for layer in self.tdnn:
            x = layer(x)
        return torch.cat([x[0].mean(dim=1), x[0].std(dim=1)])

    def _speakers(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Return the labels on the device of logits (B, D); raise UserError unless there is a speaker for each."""
        require_numbers(labels)
        speakers, count = labels.flatten(), len(logits)
        if len(speakers) != count or bool(((speakers < 0) | (speakers >= self.config.num_labels)).any()):
            raise UserError(
                f"The labels are {speakers.tolist()[:10]}; expected {count}, one for each utterance, from 0 to "
                f"{self.config.num_labels - 1}, the speakers of id2label."
            )
        return speakers.to(logits.device, torch.int64)
