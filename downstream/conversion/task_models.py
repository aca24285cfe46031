"""A head on its encoder as a task model: a Hugging Face directory, which is there if it computes what the head does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from downstream.conversion.convertible import ConvertibleHead
from downstream.conversion.folding import FoldedSum, folded
from downstream.conversion.verifying import Agreement, agreement
from downstream.tasks import TaskModelHead
from upstream.errors import UserError
from upstream.unfinished import unfinished_folder
from upstream.wavlm import checkpoint
from upstream.wavlm.checkpoint import Checkpoint
from upstream.wavlm.config import WavLMConfig, numbered_labels
from upstream.wavlm.config_formats import with_values
from upstream.wavlm.upstream import WavLMUpstream

FAMILY = "WavLM"


@dataclass(frozen=True)
class WrittenModel:
    """A task model that was written. name: its class. notes: sentences on what it leaves out."""

    folder: Path
    name: str
    agreement: Agreement
    notes: tuple[str, ...]


def write_task_model(head: ConvertibleHead, to: Path, audio: Sequence[Tensor]) -> WrittenModel:
    """Write a head and its encoder as a task model, run both forms on audio, and keep what agrees.

    audio: waveforms (S,) in [-1, 1] at 16 kHz.

    Raises UserError where transformers has no such model, and where the two forms disagree; then nothing is left.
    """
    refuse_place(to)
    upstream = head.upstream
    if not isinstance(upstream, WavLMUpstream):
        raise UserError(
            f"{head.title} reads {upstream.name}, which is no WavLM; task models are written of WavLM alone. As a file "
            "that wavprobe predict applies it can be kept: name a destination that ends in .safetensors."
        )
    theirs = head.task_model()
    own = folded(head.head.weighted_sum, *(theirs.tensors[f"{theirs.reads}.{part}"] for part in ("weight", "bias")))
    read = upstream.checkpoint()
    config, tensors = config_of(read.config, theirs, own, head.outputs), tensors_of(theirs, own)
    to.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(to.parent) as scratch:
        folder = scratch / "model"
        checkpoint.write(folder, config, read.tensors, f"{FAMILY}{theirs.model}", tensors)
        found = agreement(head, theirs, folder, audio)
        if to.is_dir():
            to.rmdir()  # an empty one
        shutil.move(folder, to)
    return WrittenModel(to, f"{FAMILY}{theirs.model}", found, tuple(notes_on(head, theirs, own, read)))


def refuse_place(to: Path) -> None:
    """Raise UserError for a place that has something."""
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise UserError(f"{to} is there already; name a new folder, or remove it.")


def config_of(config: WavLMConfig, theirs: TaskModelHead, own: FoldedSum, outputs: Sequence[str] | None) -> WavLMConfig:
    """Return the encoder's configuration with that of its head."""
    labels = dict(enumerate(outputs)) if outputs else numbered_labels(number_of_outputs(theirs))
    is_sum = own.layer_weights is not None
    values = {
        "use_weighted_layer_sum": is_sum,
        # Heads here sum the encoder's output, and transformers 5 what is before its last norm, unless told otherwise.
        "tie_last_hidden_states": True if is_sum and config.do_stable_layer_norm else None,
        "id2label": labels,
        "label2id": None,
        "extra": tuple((name, value) for name, value in config.extra if name != "architectures"),
    }
    return with_values(config, values | dict(theirs.config))


def number_of_outputs(theirs: TaskModelHead) -> int:
    """Return the number of labels: of the classes of training for x-vectors, whose classifier has none."""
    objective = theirs.tensors.get("objective.weight")
    return len(theirs.tensors["classifier.bias"]) if objective is None else objective.shape[1]


def tensors_of(theirs: TaskModelHead, own: FoldedSum) -> dict[str, Tensor]:
    """Return the tensors of the task model's head."""
    tensors = dict(theirs.tensors) | {f"{theirs.reads}.weight": own.weight, f"{theirs.reads}.bias": own.bias}
    return tensors if own.layer_weights is None else tensors | {"layer_weights": own.layer_weights}


def notes_on(head: ConvertibleHead, theirs: TaskModelHead, own: FoldedSum, read: Checkpoint) -> Sequence[str]:
    """Return what a task model has otherwise than the head, and leaves to whoever uses it."""
    notes, effects, config = [*head.notes, *theirs.unlike], head.effects, read.config
    if own.is_folded:
        notes.append("The standardisation of the layer that it reads went into its first linear layer.")
    if effects.gain:
        notes.append(f"The head learned from audio with a gain of {effects.gain:g} dB; give the model such audio.")
    if effects.remove_silence:
        notes.append("The head learned from audio without its silences; give the model such audio.")
    if config.normalize_waveform and config.normalize_epsilon != 1e-7:
        notes.append(
            f"Waveforms are standardised with {config.normalize_epsilon:g} added to the variance; transformers' "
            "feature extractor adds 1e-07, which very quiet recordings show."
        )
    return notes
