"""WavLM for recognition: a linear layer over the tokens of CTC."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.errors import UserError
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.task_models.base import PretrainedWavLM, TaskOutput
from upstream.wavlm.task_models.batches import Waveforms, padded

IGNORED = -100  # a label that is no token: padding of shorter transcripts


class WavLMForCTC(PretrainedWavLM):
    """Logits of tokens in each frame, and the CTC loss. It has no weighted sum of layers, in transformers neither."""

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
        frames, lengths = self.packed(input_values, attention_mask)
        logits = padded(self.lm_head(self.dropout(frames)), lengths)
        loss = None if labels is None else self.loss(logits, torch.tensor(lengths), labels.to(logits.device))
        return TaskOutput(logits, torch.tensor(lengths), loss)

    def loss(self, logits: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        """Return the CTC loss, of the configuration's reduction; logits (B, T, V), lengths (B,), labels (B, U).

        As transformers 5, and unlike 4, labels that equal the blank are dropped as well as those of -100. The mean is
        over utterances, each loss divided by its labels.
        """
        config, blank = self.config, self.config.pad_token_id
        if blank is None:
            raise UserError("The configuration has no pad_token_id, which is the blank of CTC; set it to learn.")
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
