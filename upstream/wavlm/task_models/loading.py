"""Load a task model by the class that its checkpoint names."""

from __future__ import annotations

from pathlib import Path

from upstream.errors import UserError
from upstream.wavlm import checkpoint
from upstream.wavlm.directory import is_of_another_model
from upstream.wavlm.task_models.base import PretrainedWavLM, located
from upstream.wavlm.task_models.classification import WavLMForAudioFrameClassification, WavLMForSequenceClassification
from upstream.wavlm.task_models.ctc import WavLMForCTC
from upstream.wavlm.task_models.xvector import WavLMForXVector

TASK_MODELS: dict[str, type[PretrainedWavLM]] = {
    kind.__name__: kind
    for kind in (WavLMForCTC, WavLMForSequenceClassification, WavLMForAudioFrameClassification, WavLMForXVector)
}


def load_task_model(name: str | Path, revision: str | None = None) -> PretrainedWavLM:
    """Load a task model, in float32 and in evaluation mode.

    name: a Hugging Face directory whose config.json names one of `TASK_MODELS`, or a repository of the hub with one.

    Raises UserError for a checkpoint without a head or of another class, and as `from_pretrained`.
    """
    path = located(name, revision)
    if is_of_another_model(path):
        raise UserError(f"{path} is of another kind of model than WavLM, whose heads alone are known here.")
    read = checkpoint.read(path)
    classes = read.config.architectures
    chosen = next((one for one in classes if one in TASK_MODELS), None)
    if chosen is None:
        raise UserError(
            f"{path} is a {', '.join(classes) or 'WavLM of no named class'}, which has no head that is known here. "
            f"Expected a config.json with architectures of {', '.join(TASK_MODELS)}; an encoder alone is an upstream, "
            "-u."
        )
    return TASK_MODELS[chosen].from_checkpoint(read, path)
