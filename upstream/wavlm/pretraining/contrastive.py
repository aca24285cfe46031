"""The objective of wav2vec 2.0 (Baevski et al. 2020): tell the quantized feature of a masked frame from other frames'.

Names of tensors, values and gradients are those of transformers' Wav2Vec2ForPreTraining for the same masks, negatives
and noise. What is drawn for an utterance depends on its seed alone (see `upstream/wavlm/dropout.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.errors import UserError
from upstream.named_tensors import Tensors, require_floats
from upstream.wavlm import shapes
from upstream.wavlm.checkpoint import Checkpoint
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.dropout import Dropouts, generator_of
from upstream.wavlm.pretraining.quantizer import GumbelQuantizer

STEMS = ("quantizer.", "project_hid.", "project_q.")  # of the names of the objective's tensors
CPU = torch.device("cpu")


@dataclass(frozen=True)
class ContrastiveLoss:
    """Loss of a batch.

    loss: (), contrastive_loss + diversity_loss_weight · diversity_loss. All three are sums over masked frames: divide
        by `masked_frames`, of all batches of an update, for the mean.
    logits: (M, 1 + num_negatives) in float32, the right one first; -inf for a negative of the same codes.
    perplexity: (), of the codes in the masked frames.
    masked_frames: M, those that were predicted.
    """

    loss: Tensor
    contrastive_loss: Tensor
    diversity_loss: Tensor
    logits: Tensor
    perplexity: Tensor
    masked_frames: int


class ContrastiveObjective(nn.Module):
    """Quantizer, projections and losses. Make one with `untrained` or `from_checkpoint`: here weights are undefined."""

    def __init__(self, config: WavLMConfig) -> None:
        """Raises UserError for settings that no objective has."""
        super().__init__()
        self.config = config
        self.feature_dropout = feature_dropout(config)
        if not config.contrastive_logits_temperature > 0.0:
            raise UserError(
                "This configuration has contrastive_logits_temperature = "
                f"{config.contrastive_logits_temperature!r}; expected a number above 0, such as 0.1."
            )
        self.quantizer = GumbelQuantizer(config)
        self.project_hid = nn.Linear(config.hidden_size, config.proj_codevector_dim)
        self.project_q = nn.Linear(config.codevector_dim, config.proj_codevector_dim)

    # ---------------------------------------------------------------- making one

    @classmethod
    def untrained(cls, config: WavLMConfig, seed: int) -> Self:
        """Return an objective with weights drawn from `seed`, with transformers' distributions."""
        generator = torch.Generator().manual_seed(seed)
        drawn = {name: _drawn(name, shape, config, generator) for name, shape in cls._shapes(config).items()}
        return cls._of(config, drawn)

    @classmethod
    def from_checkpoint(cls, read: Checkpoint, where: str) -> Self:
        """Return the objective that a checkpoint has beside its encoder; where: its place, for messages.

        Raises UserError where it has none, and for tensors that are missing, not finite or of a wrong shape.
        """
        own = {name: tensor for name, tensor in read.beside.items() if name.startswith(STEMS)}
        if not own:
            raise UserError(
                f"{where} has no contrastive objective beside its encoder: no tensors named {'*, '.join(STEMS)}*. "
                "Start with a new one: ContrastiveObjective.untrained(config, seed)."
            )
        require_floats(own, where)
        shapes.compare(own, cls._shapes(read.config), where)
        return cls._of(read.config, own)

    @classmethod
    def _of(cls, config: WavLMConfig, tensors: Mapping[str, Tensor]) -> Self:
        with torch.device("meta"):  # else constructors would draw from the global generator
            objective = cls(config)
        objective.load_state_dict({name: tensor.float().clone() for name, tensor in tensors.items()}, assign=True)
        return objective

    @classmethod
    def _shapes(cls, config: WavLMConfig) -> dict[str, torch.Size]:
        with torch.device("meta"):
            return {name: tensor.shape for name, tensor in cls(config).state_dict().items()}

    def tensors(self) -> Tensors:
        """Return the present weights under transformers' names, as `TrainableWavLM.save` writes them."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.state_dict().items()}

    # ---------------------------------------------------------------- computing

    def forward(
        self,
        states: Tensor,
        features: Tensor,
        lengths: Sequence[int],
        masked: Tensor,
        seeds: Sequence[int],
        negatives: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> ContrastiveLoss:
        """Return the loss of a packed batch.

        states: (N, D), the encoder's output. features: (N, C), the layer-normed output of the front end.
        lengths: frames of each utterance. masked: (N,) bool. seeds: one for each utterance.
        negatives: used instead of those drawn, see `drawn_negatives`. noise: used in training mode instead of the
            quantizer's; of the masked frames, (M, groups, codes).

        Only masked frames are quantized. An utterance with one masked frame has no negatives for it, so it is left out
        of all sums, of the perplexity and of `masked_frames`. Without any masked frame all losses are zero.
        """
        rows, counts = predicted_frames(masked, lengths)
        rows = rows.to(features.device)
        chosen = features[rows]
        if self.training:
            chosen = Dropouts(seeds, counts, "quantizer")(chosen, self.feature_dropout, "features")
        quantized = self.quantizer(chosen, counts, seeds, noise)
        if negatives is None:
            negatives = drawn_negatives(counts, self.config.num_negatives, seeds)
        logits = self._logits(
            self.project_hid(states[rows]), self.project_q(quantized.vectors), quantized.codes, negatives, counts
        )
        contrastive = F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.int64), reduction="sum")
        codes = self.quantizer.groups * self.quantizer.codes
        diversity = (codes - quantized.perplexity) / codes * len(logits)
        loss = contrastive + self.config.diversity_loss_weight * diversity
        return ContrastiveLoss(loss, contrastive, diversity, logits, quantized.perplexity, len(logits))

    def _logits(
        self, predicted: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor, counts: list[int]
    ) -> Tensor:
        """Return scaled cosines of predictions to targets, the right one first, (M, 1 + num_negatives).

        They are taken from the matrix of all cosines within an utterance, which is far smaller than a copy of every
        negative vector. A negative of the same codes as the right one is -inf. transformers compares the projected
        vectors instead, which rounding of the projection could tell apart.
        """
        parts = (torch.split(own, counts) for own in (predicted, targets, codes, negatives.to(predicted.device)))
        with torch.autocast(predicted.device.type, enabled=False):
            cosines = torch.cat([_cosines(*utterance) for utterance in zip(*parts, strict=True)])
        return cosines / self.config.contrastive_logits_temperature


def _cosines(predicted: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor) -> Tensor:
    """Return the cosines of one utterance's predictions to their targets and negatives, (M, 1 + num_negatives)."""
    cosines = F.normalize(predicted.float(), dim=1) @ F.normalize(targets.float(), dim=1).T
    equal = (codes[negatives] == codes[:, None]).all(dim=-1)
    wrong = cosines.gather(1, negatives).masked_fill(equal, -math.inf)
    return torch.cat([cosines.diagonal()[:, None], wrong], dim=1)


def feature_dropout(config: WavLMConfig) -> float:
    """Return the dropout of the features that are quantized, 0 unless there is wav2vec 2.0's feat_quantizer_dropout.

    Raises UserError for one that is no probability.
    """
    probability = dict(config.extra).get("feat_quantizer_dropout") or 0.0
    if not isinstance(probability, int | float) or not 0.0 <= probability <= 1.0:
        raise UserError(f"This configuration has feat_quantizer_dropout = {probability!r}; expected a probability.")
    return float(probability)


def predicted_frames(masked: Tensor, lengths: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Return the numbers of the frames to predict among (N,), on the CPU, and how many each utterance has.

    These are the masked ones of utterances with at least two.
    """
    each = torch.split(masked.cpu(), list(lengths))
    counts = [int(own.sum()) for own in each]
    kept = [own if count > 1 else torch.zeros_like(own) for own, count in zip(each, counts, strict=True)]
    return torch.cat(kept).nonzero()[:, 0], [count if count > 1 else 0 for count in counts]


def drawn_negatives(counts: Sequence[int], number: int, seeds: Sequence[int]) -> Tensor:
    """Return the negatives of each masked frame, (M, number): other masked frames of its utterance, drawn uniformly.

    counts: masked frames of each utterance, 0 or at least 2. A negative is the place of a frame among the masked ones
    of its utterance, from 0. The draws are with replacement, and never the frame itself.
    """
    each = []
    for count, seed in zip(counts, seeds, strict=True):
        generator = generator_of(seed, "negatives", CPU)
        drawn = torch.randint(max(1, count - 1), (count, number), generator=generator)
        each.append(drawn + (drawn >= torch.arange(count)[:, None]))
    return torch.cat(each)


def _drawn(name: str, shape: torch.Size, config: WavLMConfig, generator: torch.Generator) -> Tensor:
    if name == "quantizer.weight_proj.weight":
        return torch.randn(shape, generator=generator)
    if name == "quantizer.weight_proj.bias":
        return torch.zeros(shape)
    drawn = torch.rand(shape, generator=generator)
    if name == "quantizer.codevectors":
        return drawn
    width = config.hidden_size if name.startswith("project_hid.") else config.codevector_dim
    return (2.0 * drawn - 1.0) / math.sqrt(width)
