"""Pre-training of a WavLM: `flow.py` first, then `speech.py`, `targets.py`, `learner.py` and `watch.py`."""

from downstream.pretraining.flow import Outcome, pretrain
from downstream.pretraining.options import PretrainingOptions
from downstream.pretraining.reading import load_pretraining

__all__ = ["Outcome", "PretrainingOptions", "load_pretraining", "pretrain"]
