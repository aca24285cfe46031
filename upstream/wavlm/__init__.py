"""WavLM (Chen et al. 2022): configuration, model, task models, checkpoints.

Importing this package does not import torch; using one of its names does.
"""

from typing import TYPE_CHECKING

from upstream.lazy import lazy_exports

if TYPE_CHECKING:
    from upstream.wavlm.checkpoint import Checkpoint
    from upstream.wavlm.config import WavLMConfig
    from upstream.wavlm.model import WavLM, untrained
    from upstream.wavlm.standardisation import standardise
    from upstream.wavlm.task_models import (
        TASK_MODELS,
        WavLMForAudioFrameClassification,
        WavLMForCTC,
        WavLMForSequenceClassification,
        WavLMForXVector,
        WavLMModel,
        load_task_model,
    )
    from upstream.wavlm.upstream import WavLMUpstream, untrained_fingerprints
else:
    TASKS = "upstream.wavlm.task_models"
    __getattr__ = lazy_exports(
        __name__,
        {
            "Checkpoint": "upstream.wavlm.checkpoint",
            "WavLMConfig": "upstream.wavlm.config",
            "WavLM": "upstream.wavlm.model",
            "untrained": "upstream.wavlm.model",
            "standardise": "upstream.wavlm.standardisation",
            "TASK_MODELS": TASKS,
            "WavLMForAudioFrameClassification": TASKS,
            "WavLMForCTC": TASKS,
            "WavLMForSequenceClassification": TASKS,
            "WavLMForXVector": TASKS,
            "WavLMModel": TASKS,
            "load_task_model": TASKS,
            "WavLMUpstream": "upstream.wavlm.upstream",
            "untrained_fingerprints": "upstream.wavlm.upstream",
        },
    )

__all__ = [
    "TASK_MODELS",
    "Checkpoint",
    "WavLM",
    "WavLMConfig",
    "WavLMForAudioFrameClassification",
    "WavLMForCTC",
    "WavLMForSequenceClassification",
    "WavLMForXVector",
    "WavLMModel",
    "WavLMUpstream",
    "load_task_model",
    "standardise",
    "untrained",
    "untrained_fingerprints",
]
