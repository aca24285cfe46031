"""WavLM for recognition: a linear layer over the tokens of CTC."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.errors import UserError
from upstream.wavlm.checkpoint import Checkpoint
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.task_models.base import PretrainedWavLM, TaskOutput
from upstream.wavlm.task_models.batches import Waveforms, padded, require_numbers
from upstream.wavlm.task_models.vocabulary import CTCVocabulary, read_vocabulary

IGNORED = -100  # a label that is no token: padding of shorter transcripts


class WavLMForCTC(PretrainedWavLM):
    """Logits of tokens in each frame, and the CTC loss. It has no weighted sum of layers, in transformers neither.

    vocabulary: the tokens, read from vocab.json beside the weights and written with them; None without one.
    """

    vocabulary: CTCVocabulary | None = None

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.final_dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(
        self, input_values: Waveforms, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> TaskOutput:
        """Return logits (B, T, vocab_size) for prepared waveforms: 1-D tensors, or (B, S) padded on the right.

        attention_mask: (B, S), 0 for padding. labels: (B, U) tokens, -100 for none.

        Raises UserError for labels that are no tokens.
        """
        output = self.head(*self.packed(input_values, attention_mask))
        if labels is None:
            return output
        return replace(output, loss=self.loss(output.logits, output.lengths, labels.to(output.logits.device)))

    def head(self, frames: Tensor, lengths: list[int]) -> TaskOutput:
        """Return the logits of packed frames (N, D); lengths: frames of each utterance."""
        return TaskOutput(padded(self.lm_head(self.dropout(frames)), lengths), torch.tensor(lengths))

    def transcripts(self, output: TaskOutput) -> list[str]:
        """Return the text of each utterance: of the best token of every frame, as transformers' tokenizer decodes it.

        Raises UserError without a vocabulary.
        """
        vocabulary, best = self.named_tokens, output.logits.argmax(dim=-1).tolist()
        return [vocabulary.text(own[:n]) for own, n in zip(best, output.lengths.tolist(), strict=True)]

    @property
    def named_tokens(self) -> CTCVocabulary:
        """The vocabulary; raises UserError without one."""
        if self.vocabulary is None:
            raise UserError("There is no vocab.json beside the weights, so tokens have no names; put it there.")
        return self.vocabulary

    @classmethod
    def from_checkpoint(cls, read: Checkpoint, path: Path) -> Self:
        """Return the model of a checkpoint, with the vocabulary beside it."""
        model = super().from_checkpoint(read, path)
        model.vocabulary = read_vocabulary(path if path.is_dir() else path.parent)
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a Hugging Face directory, with the files of a tokenizer where there is a vocabulary."""
        super().save_pretrained(folder)
        if self.vocabulary is not None:
            self.vocabulary.write(Path(folder))

    def loss(self, logits: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        """Return the CTC loss, of the configuration's reduction; logits (B, T, V), lengths (B,), labels (B, U).

        As transformers 5, and unlike 4, labels that equal the blank are dropped as well as those of -100. The mean is
        over utterances, each loss divided by its labels.
        """
        config, blank = self.config, self.config.pad_token_id
        if blank is None or blank >= config.vocab_size:
            raise UserError(
                f"The configuration has pad_token_id {blank}, and it is the blank of CTC; to learn, set it to one of "
                f"the {config.vocab_size} tokens."
            )
        require_numbers(labels)
        if labels.ndim != 2 or len(labels) != len(logits):
            raise UserError(
                f"The labels have shape {tuple(labels.shape)}; expected ({len(logits)}, tokens), shorter transcripts "
                f"padded with {IGNORED}."
            )
        wrong = (labels >= config.vocab_size) | ((labels < 0) & (labels != IGNORED))
        if bool(wrong.any()):
            raise UserError(
                f"There is a label {int(labels[wrong][0])}; expected 0 to {config.vocab_size - 1}, the tokens of the "
                f"vocabulary, or {IGNORED} for none."
            )
        kept = (labels != IGNORED) & (labels != blank)
        scores = F.log_softmax(logits, dim=-1, dtype=torch.float32).transpose(0, 1)
        with torch.backends.cudnn.flags(enabled=False):
            return F.ctc_loss(
                scores,
                labels[kept],
                lengths,
                kept.sum(dim=1),
                blank=blank,
                reduction=config.ctc_loss_reduction,
                zero_infinity=config.ctc_zero_infinity,
            )
