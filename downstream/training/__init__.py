"""Training of heads: the sweep, batches and their order, the loop, learners of one or many heads, scoring."""

from downstream.training.batching import Shuffled
from downstream.training.learning import batching_of, learn, refuse_divergence
from downstream.training.loop import Fit, Snapshots, shapes_and_types
from downstream.training.norms import layer_norms
from downstream.training.one_layer import distinct, for_every_config
from downstream.training.scoring import ScoredHead, score_heads
from downstream.training.separate import under
from downstream.training.sweep import Chosen, Config, LayerSetting, choose, clear_gain, configs, layer_settings

__all__ = [
    "Chosen",
    "Config",
    "Fit",
    "LayerSetting",
    "ScoredHead",
    "Shuffled",
    "Snapshots",
    "batching_of",
    "choose",
    "clear_gain",
    "configs",
    "distinct",
    "for_every_config",
    "layer_norms",
    "layer_settings",
    "learn",
    "refuse_divergence",
    "score_heads",
    "shapes_and_types",
    "under",
]
