"""How alike layers are: linear CKA between layers and between upstreams, and the correlation of layers with labels."""

from downstream.similarity.alignment import hsic, linear_cka
from downstream.similarity.canonical import CanonicalDirections, held_out_correlation
from downstream.similarity.kept import measured
from downstream.similarity.measuring import Cka, LabelCorrelation, Similarity, measure
from downstream.similarity.similarity_plots import cka_picture, label_picture

__all__ = [
    "CanonicalDirections",
    "Cka",
    "LabelCorrelation",
    "Similarity",
    "cka_picture",
    "held_out_correlation",
    "hsic",
    "label_picture",
    "linear_cka",
    "measure",
    "measured",
]
