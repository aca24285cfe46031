"""Fine-tuning: the encoder learns with the head. `flow.py` first; then `learning.py`, `learner.py`, `model.py`."""

from downstream.finetuning.flow import fine_tuned

__all__ = ["fine_tuned"]
