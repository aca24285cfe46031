"""WavLM's task models in transformers, and ours of the same weights, small enough for tests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peers import KINDS, relative_error, shaken
from torch import Tensor

from upstream.wavlm import TASK_MODELS
from upstream.wavlm.checkpoint import Checkpoint
from upstream.wavlm.config_formats import from_hugging_face
from upstream.wavlm.task_models import PretrainedWavLM, TaskOutput, WavLMModel

TASKS = tuple(TASK_MODELS)
CTC, UTTERANCE, FRAME, SPEAKER = TASKS
SETTINGS = {
    "vocab_size": 11,
    "num_labels": 5,
    "classifier_proj_size": 20,
    "tdnn_dim": [24, 24, 24, 24, 40],
    "xvector_output_dim": 16,
}
BOTH_KINDS = tuple(KINDS)
LIMIT = 1e-5  # relative, float32
NONE, SUM, TIED = "last layer", "weighted sum", "weighted sum, last layer tied"
LAYER_SUMS: dict[str, dict[str, Any]] = {
    NONE: {},
    SUM: {"use_weighted_layer_sum": True},
    TIED: {"use_weighted_layer_sum": True, "tie_last_hidden_states": True},
}


def task_peer(name: str, settings: dict[str, Any], seed: int = 0) -> Any:
    """transformers' model of a class, every parameter random, and the head's so large that its outputs differ."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = transformers.WavLMConfig(**settings | SETTINGS)
        model: Any = shaken(getattr(transformers, name)(config)).eval()
        with torch.no_grad():
            for own, parameter in model.named_parameters():
                if own.startswith("wavlm."):
                    continue
                spread = math.sqrt(2.0 / parameter.shape[1]) if parameter.ndim == 2 else 1.0
                parameter.copy_(torch.randn_like(parameter) * spread)
    return model


def ours_of(peer: Any) -> PretrainedWavLM:
    """Our model with the weights of transformers', without a file between."""
    config = from_hugging_face(peer.config.to_dict(), None)
    state, kind = peer.state_dict(), TASK_MODELS.get(type(peer).__name__)
    if kind is None:
        return WavLMModel.from_parts(config, Checkpoint(config, state, "", "").build(), {})
    encoder = {name.removeprefix("wavlm."): own for name, own in state.items() if name.startswith("wavlm.")}
    head = {name: own for name, own in state.items() if not name.startswith("wavlm.")}
    return kind.from_parts(config, Checkpoint(config, encoder, "", "").build(), head)


def labels_for(name: str, frames: int, batch: int = 2) -> Tensor:
    """Labels as transformers takes them: transcripts padded with -100, classes, ones in frames, speakers."""
    generator = torch.Generator().manual_seed(5)
    if name == CTC:
        labels = torch.randint(1, SETTINGS["vocab_size"], (batch, 6), generator=generator)  # type: ignore[call-overload]
        labels[0, 4:] = -100
        return labels
    classes = torch.randint(0, 5, (batch, frames) if name == FRAME else (batch,), generator=generator)
    return torch.nn.functional.one_hot(classes, 5) if name == FRAME else classes


@dataclass(frozen=True)
class Compared:
    """One number of a parity table: output, error relative to transformers', and limit."""

    output: str
    error: float
    limit: float = LIMIT


def compared(peer: Any, waveforms: Tensor) -> list[Compared]:
    """Compare logits, embeddings and loss on waveforms of one length, (B, S), where padding cannot matter."""
    ours = ours_of(peer)
    name = type(peer).__name__
    labels = labels_for(name, ours.config.frames(waveforms.shape[1]), len(waveforms))
    with torch.no_grad():
        mine: TaskOutput = ours(waveforms, labels=labels)
        theirs = peer(waveforms, labels=labels)
    assert mine.loss is not None
    found = [
        Compared("logits", relative_error(mine.logits, theirs.logits)),
        Compared("loss", relative_error(mine.loss, theirs.loss)),
    ]
    if mine.embeddings is not None:
        found.append(Compared("embeddings", relative_error(mine.embeddings, theirs.embeddings)))
    return found


def save_ours(model: PretrainedWavLM, folder: Path) -> Path:
    """A Hugging Face directory as we write it."""
    model.save_pretrained(folder)
    return folder
