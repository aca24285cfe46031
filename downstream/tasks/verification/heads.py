"""Heads of verification by `head.kind`."""

from __future__ import annotations

from downstream.tasks.head import initialised
from downstream.tasks.verification.pooled import CosineHead, LDAHead, LinearHead, PLDAHead, pooled_width
from downstream.tasks.verification.recipe import VerifierSettings
from downstream.tasks.verification.xvector import XVector, x_vector

Verifier = XVector | LinearHead | CosineHead | LDAHead

EMBEDDING = 128  # width of a linear embedding


def verifier(
    settings: VerifierSettings, num_layers: int, dim: int, num_speakers: int, seed: int, layer: int | None
) -> Verifier:
    """Return the head that a recipe asks for; initial weights are drawn from `seed`.

    num_layers, dim: L and D of the upstream. num_speakers: of the training part.
    """
    if settings.kind == "xvector":
        return x_vector(settings, num_layers, dim, num_speakers, seed, layer)
    shape = (num_layers, dim, settings.pooling, layer)
    if settings.kind == "linear":
        embedding, margin = settings.projection or EMBEDDING, settings.margin
        return initialised(seed, lambda: LinearHead(*shape, num_speakers, embedding, settings.scale, margin))
    if settings.kind == "cosine":
        return CosineHead(*shape, settings.transform, settings.shrinkage)
    width = pooled_width(dim, settings.pooling)
    directions = min(settings.projection or width, width, num_speakers - 1)
    return {"lda": LDAHead, "plda": PLDAHead}[settings.kind](*shape, directions, settings.shrinkage)
