"""The quantizer of wav2vec 2.0 (Baevski et al. 2020): each frame becomes a combination of learned vectors.

There are groups of vectors, and one vector of each group is chosen for a frame. In training the choice is a draw by
Gumbel softmax (Jang et al. 2017). Names of tensors, values and gradients are those of transformers'
Wav2Vec2GumbelVectorQuantizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.errors import UserError
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.dropout import generator_of


def gumbel_temperature(update: int, maximum: float = 2.0, decay: float = 0.999995, minimum: float = 0.5) -> float:
    """Return the temperature of Gumbel softmax at an update, counted from 0; by default wav2vec 2.0's for Base."""
    return max(maximum * decay**update, minimum)


@dataclass(frozen=True)
class Quantized:
    """Quantized frames.

    vectors: (N, codevector_dim), the chosen vectors of all groups side by side.
    codes: (N, groups), their numbers within each group.
    perplexity: (), of the codes in all frames, see `perplexity_of`.
    """

    vectors: Tensor
    codes: Tensor
    perplexity: Tensor


class GumbelQuantizer(nn.Module):
    """Chooses learned vectors for frames.

    In training mode the choice is random, and its gradient is that of the softmax (straight through). In evaluation
    mode it is the most probable one, without a gradient.

    temperature: of Gumbel softmax; high for gradients of little variance, low for those of the hard choice.
    """

    def __init__(self, config: WavLMConfig) -> None:
        """Raises UserError for a codevector_dim that cannot be divided among the groups."""
        super().__init__()
        self.groups, self.codes = config.num_codevector_groups, config.num_codevectors_per_group
        if config.codevector_dim % self.groups:
            raise UserError(
                f"This configuration has codevector_dim = {config.codevector_dim}; expected a multiple of "
                f"num_codevector_groups, {self.groups}."
            )
        self.temperature = gumbel_temperature(0)
        self.weight_proj = nn.Linear(config.conv_dim[-1], self.groups * self.codes)
        self.codevectors = nn.Parameter(torch.empty(1, self.groups * self.codes, config.codevector_dim // self.groups))

    def forward(
        self, features: Tensor, lengths: Sequence[int], seeds: Sequence[int], noise: Tensor | None = None
    ) -> Quantized:
        """Quantize frames (N, C) of utterances of these lengths.

        seeds: one for each utterance, from which the noise of training is drawn.
        noise: (N, groups, codes), used instead; standard Gumbel.
        """
        logits = self.weight_proj(features).view(len(features), self.groups, self.codes)
        if self.training:
            if noise is None:
                noise = self.drawn_noise(lengths, seeds, features.device)
            soft = ((logits.float() + noise) / self.temperature).softmax(dim=-1)
            codes = soft.argmax(dim=-1)
            chosen = F.one_hot(codes, self.codes) - soft.detach() + soft
            perplexity = perplexity_of(logits.float().softmax(dim=-1))
        else:
            codes = logits.argmax(dim=-1)
            chosen = F.one_hot(codes, self.codes).float()
            perplexity = perplexity_of(chosen)
        vectors = self.codevectors.view(self.groups, self.codes, -1)
        quantized = torch.einsum("ngc,gcd->ngd", chosen.to(vectors.dtype), vectors)
        return Quantized(quantized.flatten(start_dim=1), codes, perplexity)

    def drawn_noise(self, lengths: Sequence[int], seeds: Sequence[int], device: torch.device) -> Tensor:
        """Return standard Gumbel noise, (N, groups, codes); that of an utterance depends on its seed and length."""
        each = []
        for frames, seed in zip(lengths, seeds, strict=True):
            drawn = torch.empty(frames, self.groups, self.codes, device=device)
            each.append(-drawn.exponential_(generator=generator_of(seed, "gumbel noise", device)).log())
        return torch.cat(each)


def perplexity_of(distributions: Tensor) -> Tensor:
    """Return the perplexity of the mean distribution over frames, summed over the groups, (N, groups, codes) -> ().

    It is between `groups`, where one code of each is all that is used, and groups · codes, where all are used alike.
    Of no frames it is `groups`.
    """
    mean = distributions.sum(dim=0) / max(1, len(distributions))
    smallest = torch.finfo(mean.dtype).tiny  # log(0) has no gradient; 0 · log(smallest) is zero, as it should be
    return (-(mean * mean.clamp_min(smallest).log()).sum(dim=-1)).exp().sum()
