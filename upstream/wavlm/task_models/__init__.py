"""WavLM with the heads of transformers: the same classes, tensors, logits and losses, on the packed encoder here.

Importing this package does not import torch; using one of its names does.
"""

from typing import TYPE_CHECKING

from upstream.lazy import lazy_exports

if TYPE_CHECKING:
    from upstream.wavlm.task_models.base import PretrainedWavLM, TaskOutput, WavLMModel, WavLMOutput
    from upstream.wavlm.task_models.classification import (
        WavLMForAudioFrameClassification,
        WavLMForSequenceClassification,
    )
    from upstream.wavlm.task_models.ctc import WavLMForCTC
    from upstream.wavlm.task_models.head_inputs import HeadInputs
    from upstream.wavlm.task_models.loading import TASK_MODELS, load_task_model
    from upstream.wavlm.task_models.xvector import WavLMForXVector
else:
    PACKAGE = "upstream.wavlm.task_models"
    __getattr__ = lazy_exports(
        __name__,
        {
            "PretrainedWavLM": f"{PACKAGE}.base",
            "TaskOutput": f"{PACKAGE}.base",
            "WavLMModel": f"{PACKAGE}.base",
            "WavLMOutput": f"{PACKAGE}.base",
            "WavLMForAudioFrameClassification": f"{PACKAGE}.classification",
            "WavLMForSequenceClassification": f"{PACKAGE}.classification",
            "WavLMForCTC": f"{PACKAGE}.ctc",
            "HeadInputs": f"{PACKAGE}.head_inputs",
            "TASK_MODELS": f"{PACKAGE}.loading",
            "load_task_model": f"{PACKAGE}.loading",
            "WavLMForXVector": f"{PACKAGE}.xvector",
        },
    )

__all__ = [
    "TASK_MODELS",
    "HeadInputs",
    "PretrainedWavLM",
    "TaskOutput",
    "WavLMForAudioFrameClassification",
    "WavLMForCTC",
    "WavLMForSequenceClassification",
    "WavLMForXVector",
    "WavLMModel",
    "WavLMOutput",
    "load_task_model",
]
