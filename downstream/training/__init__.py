"""Training of heads: the sweep, batches and their order, the loop, learners of one or many heads, scoring."""

from downstream.training.batching import Shuffled
from downstream.training.fitting import fitted_heads
from downstream.training.learner import Schedule, Survivors, make_optimizer
from downstream.training.learning import Bar, batching_of, learn, order_of, refuse_divergence, score_given
from downstream.training.loop import FACTS_OF_FIT, Fit, FoldData, Snapshots, shapes_and_types, train
from downstream.training.memory import enough_memory, smaller_batches
from downstream.training.norms import layer_norms
from downstream.training.one_layer import distinct, for_every_config
from downstream.training.order import Update
from downstream.training.precision import in_precision
from downstream.training.processes import KEPT, summed, summed_all, synchronised, told
from downstream.training.scoring import ScoredHead, device_of_heads, predict, score_heads
from downstream.training.seeds import derived
from downstream.training.separate import RandomState, moments_of, rates, restore_moments, under
from downstream.training.snapshot import SnapshotClock, code_version, read_snapshot, write_snapshot
from downstream.training.sweep import Chosen, Config, LayerSetting, choose, clear_gain, configs, layer_settings

__all__ = [
    "FACTS_OF_FIT",
    "Bar",
    "Chosen",
    "Config",
    "Fit",
    "FoldData",
    "KEPT",
    "LayerSetting",
    "RandomState",
    "Schedule",
    "ScoredHead",
    "Shuffled",
    "SnapshotClock",
    "Snapshots",
    "Survivors",
    "Update",
    "batching_of",
    "choose",
    "clear_gain",
    "code_version",
    "configs",
    "derived",
    "device_of_heads",
    "distinct",
    "enough_memory",
    "fitted_heads",
    "for_every_config",
    "in_precision",
    "layer_norms",
    "layer_settings",
    "learn",
    "make_optimizer",
    "moments_of",
    "order_of",
    "predict",
    "rates",
    "read_snapshot",
    "refuse_divergence",
    "restore_moments",
    "score_given",
    "score_heads",
    "shapes_and_types",
    "smaller_batches",
    "summed",
    "summed_all",
    "synchronised",
    "told",
    "train",
    "under",
    "write_snapshot",
]
