"""WavLM's task models of transformers on new recordings: a Hugging Face directory, or a repository of the hub."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.prediction.applied import Applied
from downstream.recipes import EffectsSettings
from downstream.results import RECORD, is_file_of_heads
from downstream.tasks import Head, Predictions, Predictor, as_rows
from upstream.base import SAMPLE_RATE, HiddenStates, States
from upstream.catalog import torch_device
from upstream.errors import UserError
from upstream.wavlm import (
    WavLMForAudioFrameClassification,
    WavLMForCTC,
    WavLMForSequenceClassification,
    load_task_model,
)
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.task_models import HeadInputs, PretrainedWavLM

DIGITS = 6  # of a posterior
HUB = "hf:"
SEVERAL, VALUES = "multi_label_classification", "regression"  # values of problem_type in config.json


def is_task_model(named: str | Path) -> bool:
    """Return True for "hf:ORG/NAME", and for a folder with a config.json, or a weight file in one, that is no run.

    A weight file of any name is one, but a file of heads of this harness is none, wherever it lies.
    """
    if str(named).startswith(HUB):
        return True
    path = Path(os.path.expanduser(named))
    folder = path.parent if path.is_file() else path
    if not (folder / "config.json").is_file() or (folder / RECORD).exists():
        return False
    return path.is_dir() or not is_file_of_heads(path)


def refuse_choices(choices: Mapping[str, object]) -> None:
    """Raise UserError for options, by their names, that only heads of a run have."""
    for option, value in choices.items():
        if value:
            raise UserError(
                f"{option} is of the heads of a run; a task model is one head with its encoder. Leave it out."
            )


def applied_task_model(named: str | Path, device: str) -> Applied:
    """Return a task model, ready for recordings; raises UserError where there is none, or it cannot be read."""
    model = load_task_model(named if str(named).startswith(HUB) else os.path.expanduser(named))
    encoder = HeadInputs(str(named), model, torch_device(device))
    name = type(model).__name__
    return Applied(
        title=name,
        upstream=encoder,
        predictor=predictor_of(model, encoder.stride / SAMPLE_RATE),
        heads={name: WholeHead(model)},
        reduction="frames",
        codec=None,
        effects=EffectsSettings(),
        sentence=f"The {name} of {named} answers; nothing here tells how good its answers are.",
        notes=model.notes,
    )


class WholeHead(Head):
    """The head of a task model: it reads the one layer that `HeadInputs` gives."""

    def __init__(self, model: PretrainedWavLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, states: States) -> list[Tensor]:
        """Return the output for each utterance: logits (T_i, C) of frames or (C,), or an embedding (E,)."""
        assert isinstance(states, HiddenStates)
        lengths = states.lengths.tolist()
        frames = torch.cat([states.utterance(index)[0] for index in range(len(lengths))])
        output = self.model.head(frames, lengths)
        if output.embeddings is not None:
            return list(output.embeddings)
        if output.logits.ndim == 2:
            return list(output.logits)
        return [own[:count] for own, count in zip(output.logits, lengths, strict=True)]


class TaskPredictor(Predictor):
    """A task model's answers: embeddings and their cosines, unless a subclass answers otherwise."""

    compares = True

    def __init__(self, model: PretrainedWavLM, frame_seconds: float) -> None:
        self.model, self.frame_seconds = model, frame_seconds

    def build(self, layer: int | None) -> Head:
        """Return the head; a task model has but one, on the layers that it was trained on."""
        return WholeHead(self.model)

    def predict(self, head: Head, states: States) -> Predictions:
        """Return the head's output for each recording."""
        outputs: list[Tensor] = head(states)
        return outputs

    def answers(self, predictions: Predictions) -> Sequence[Mapping[str, Any]]:
        """Return the embedding of each recording."""
        return [{"embedding": own} for own in as_rows(predictions).tolist()]

    def similarities(self, head: Head, predictions: Predictions, one: Tensor, other: Tensor) -> Tensor:
        """Return the cosine of each pair of embeddings, (N,)."""
        directions = F.normalize(as_rows(predictions), dim=1)
        return (directions[one] * directions[other]).sum(dim=1)

    def seconds(self, frame: int) -> float:
        """Return when a frame begins."""
        return round(frame * self.frame_seconds, 3)


class Transcripts(TaskPredictor):
    """The text of a recording, and when each word of it was said, of the best token of every frame."""

    compares = False

    def __init__(self, model: WavLMForCTC, frame_seconds: float) -> None:
        """Raises UserError for a model without a vocabulary."""
        super().__init__(model, frame_seconds)
        self.vocabulary = model.named_tokens

    def answers(self, predictions: Predictions) -> Sequence[Mapping[str, Any]]:
        """Return the transcript, and the start and end of each of its words in seconds."""
        best = [own.argmax(dim=1).tolist() for own in predictions]
        return [
            {
                "transcript": self.vocabulary.text(numbers),
                "words": [
                    {"word": word, "start": self.seconds(first), "end": self.seconds(end)}
                    for word, first, end in self.vocabulary.words(numbers)
                ],
            }
            for numbers in best
        ]


class Classes(TaskPredictor):
    """The class of a recording, with the posteriors of all classes."""

    compares = False

    def answers(self, predictions: Predictions) -> Sequence[Mapping[str, Any]]:
        """Return the most probable class, its posterior, and those of all classes; of a regression its values."""
        rows, kind = as_rows(predictions), self.model.config.problem_type
        names = names_of_outputs(self.model.config)
        if kind == VALUES:
            return [{"values": by_name(names, own)} for own in rows.tolist()]
        posteriors = rows.sigmoid() if kind == SEVERAL else rows.softmax(dim=1)
        best = posteriors.argmax(dim=1).tolist()
        return [
            {"class": names[answer], "posterior": round(own[answer], DIGITS), "posteriors": by_name(names, own)}
            for answer, own in zip(best, posteriors.tolist(), strict=True)
        ]


class FrameLabels(TaskPredictor):
    """The labels of each frame of a recording, and the stretches of each label."""

    compares = False

    def answers(self, predictions: Predictions) -> Sequence[Mapping[str, Any]]:
        """Return segments with a label, start and end in seconds, and the labels of every frame."""
        config, found = self.model.config, []
        for logits in predictions:
            # Several labels may be on at once, as in the published models of diarization; of these a logit above zero,
            # a probability above a half, says that a label is on.
            one_each = config.problem_type not in (None, SEVERAL)
            on = F.one_hot(logits.argmax(dim=1), config.num_labels).bool() if one_each else logits > 0
            labels = [[config.label(index) for index in own.nonzero().flatten().tolist()] for own in on]
            found.append({"segments": list(self._segments(on)), "labels": labels})
        return found

    def _segments(self, on: Tensor) -> Iterator[dict[str, Any]]:
        """Yield the stretches of each label in (T, C), the earliest first."""
        stretches = []
        for index, column in enumerate(on.T.tolist()):
            first = 0
            for is_on, run in groupby(column):
                end = first + len(list(run))
                if is_on:
                    stretches.append((first, end, index))
                first = end
        for first, end, index in sorted(stretches):
            yield {"label": self.model.config.label(index), "start": self.seconds(first), "end": self.seconds(end)}


def predictor_of(model: PretrainedWavLM, frame_seconds: float) -> TaskPredictor:
    """Return what turns the outputs of a task model into answers; raises UserError for a CTC model without tokens."""
    if isinstance(model, WavLMForCTC):
        return Transcripts(model, frame_seconds)
    if isinstance(model, WavLMForSequenceClassification):
        return Classes(model, frame_seconds)
    if isinstance(model, WavLMForAudioFrameClassification):
        return FrameLabels(model, frame_seconds)
    return TaskPredictor(model, frame_seconds)


def names_of_outputs(config: WavLMConfig) -> list[str]:
    """Return a name for each output; where id2label has a name twice, with the number of the output behind."""
    labels = [config.label(index) for index in range(config.num_labels)]
    times = Counter(labels)
    return [f"{own} ({index})" if times[own] > 1 else own for index, own in enumerate(labels)]


def by_name(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """Return rounded values by the names of their outputs."""
    return {name: round(value, DIGITS) for name, value in zip(names, values, strict=True)}
