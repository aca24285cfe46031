"""What a WavLM is pre-trained with: objectives on its states, and mixing of utterances."""

from upstream.wavlm.pretraining.contrastive import ContrastiveLoss, ContrastiveObjective
from upstream.wavlm.pretraining.masked_prediction import MaskedPrediction, Predicted, weighted_loss
from upstream.wavlm.pretraining.mixing import mixed, noise
from upstream.wavlm.pretraining.quantizer import GumbelQuantizer, Quantized, gumbel_temperature

__all__ = [
    "ContrastiveLoss",
    "ContrastiveObjective",
    "GumbelQuantizer",
    "MaskedPrediction",
    "Predicted",
    "Quantized",
    "gumbel_temperature",
    "mixed",
    "noise",
    "weighted_loss",
]
