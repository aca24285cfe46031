"""Masked prediction of cluster numbers: HuBERT's objective, WavLM's too (Hsu et al. 2021; Chen et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.wavlm.dropout import generator_of


@dataclass(frozen=True)
class Predicted:
    """What was predicted of some frames, one entry a codebook.

    losses: (C, N) cross entropy in nats. right: (C, N) bool, True where the likeliest code is the target.
    codes: (C, N) the likeliest code.
    """

    losses: Tensor
    right: Tensor
    codes: Tensor


class MaskedPrediction(nn.Module):
    """Heads that predict the code of every frame in several codebooks, from hidden states.

    clusters: codes of each codebook, by its name.

    Cosine logits: the state is projected and compared with a learned vector of every code; the cosine is divided by the
    temperature. HuBERT divides by 0.1 and projects to 256 dimensions, with a projection of its own for each codebook.
    Linear logits: a softmax layer (MelHuBERT, Lin et al. 2023, found it to learn as well in less time).
    Inner layers may have heads of their own, which predict the same codes (Wang et al. 2022, ILS-SSL).
    """

    def __init__(
        self,
        dim: int,
        clusters: Mapping[str, int],
        logits: str = "cosine",
        projection: int = 256,
        temperature: float = 0.1,
        seed: int = 0,
        inner: Sequence[int] = (),
    ) -> None:
        """dim: of the states. seed: of the initial weights, which are those of nn.Linear and, for codes, of HuBERT.

        inner: layers with heads of their own; 0 is the input of the first block.
        """
        super().__init__()
        self.clusters, self.names, self.temperature = dict(clusters), tuple(clusters), temperature
        self.cosine = logits == "cosine"
        with torch.device("meta"):  # else constructors would draw from the global generator
            width = {name: projection if self.cosine else count for name, count in clusters.items()}
            self.projections = nn.ModuleDict({name: nn.Linear(dim, width[name]) for name in self.names})
            codes = {name: nn.Parameter(torch.empty(clusters[name], projection)) for name in self.names if self.cosine}
            self.codes = nn.ParameterDict(codes)
        kind = dim, clusters, logits, projection, temperature, seed
        self.inner = nn.ModuleDict({str(layer): MaskedPrediction(*kind) for layer in inner})
        self.to_empty(device="cpu")
        self._draw(seed, dim)

    @torch.no_grad()
    def _draw(self, seed: int, dim: int) -> None:
        for name, parameter in self.named_parameters():  # a codebook's numbers do not depend on the others
            generator = generator_of(seed, name, torch.device("cpu"))
            low, high = (0.0, 1.0) if "codes" in name.split(".") else (-(dim**-0.5), dim**-0.5)
            parameter.uniform_(low, high, generator=generator)

    def logits(self, states: Tensor) -> list[Tensor]:
        """Return the logits of every codebook, (N, K) float32, for states (N, D)."""
        projected = [self.projections[name](states) for name in self.names]
        with torch.autocast(states.device.type, enabled=False):
            if not self.cosine:
                return [one.float() for one in projected]
            pairs = zip(projected, self.names, strict=True)
            return [
                F.linear(F.normalize(one.float(), dim=-1), F.normalize(self.codes[name], dim=-1)) / self.temperature
                for one, name in pairs
            ]

    def of_layers(self, states: Tensor, targets: Tensor) -> list[Predicted]:
        """Return what the last layer and then each inner one predicts: states (L, N, D), targets (C, N)."""
        inner = [head(states[int(layer)], targets) for layer, head in self.inner.items()]
        return [self(states[-1], targets), *inner]

    def forward(self, states: Tensor, targets: Tensor) -> Predicted:
        """Return what is predicted of frames with these states, (N, D), and targets, (C, N)."""
        logits = self.logits(states)
        losses = [F.cross_entropy(one, own, reduction="none") for one, own in zip(logits, targets, strict=True)]
        codes = torch.stack([one.detach().argmax(dim=-1) for one in logits])
        return Predicted(torch.stack(losses), codes == targets, codes)


def weighted_loss(
    predicted: Predicted,
    masked: Tensor,
    weights: Tensor,
    masked_weight: float,
    unmasked_weight: float,
    frames: Sequence[int],
) -> Tensor:
    """Return the loss: over codebooks, the mean on masked frames and the mean on the others, each with its weight.

    predicted: of N frames. masked: (N,) bool. weights: (C,) of the codebooks, such as 1 / log K.
    frames: how many frames are masked, and how many are not, in the whole update: of several processes or micro-batches
        each adds its part.
    """
    by_frame = weights @ predicted.losses / len(weights)
    inside, outside = frames
    of_masked = by_frame[masked].sum() / max(1, inside)
    return masked_weight * of_masked + unmasked_weight * by_frame[~masked].sum() / max(1, outside)
