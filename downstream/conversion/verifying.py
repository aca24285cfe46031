"""Both forms of a head on the same audio: what was written is read back, and computes what the head computes."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from downstream.conversion.convertible import ConvertibleHead
from downstream.tasks import TaskModelHead
from upstream.base import SAMPLE_RATE
from upstream.errors import UserError
from upstream.wavlm import load_task_model

LIMIT = 1e-4  # of the relative difference; forms that are the same differ by 1e-6 in float32
SECONDS = (1.0, 2.3, 4.0)


@dataclass(frozen=True)
class Agreement:
    """What both forms gave: the largest difference, absolute and relative to the norm of the head's own answer.

    by_transformers: the relative one of transformers' own model; None where that is not installed.
    """

    recordings: int
    largest: float
    relative: float
    by_transformers: float | None

    @property
    def sentence(self) -> str:
        """What was compared and found."""
        theirs = (
            "transformers is not installed, so that its own model was not run"
            if self.by_transformers is None
            else f"{self.by_transformers:.1e} by transformers' own model"
        )
        return (
            f"On {self.recordings} recordings the written model and the head differ by {self.largest:.1e} at most, "
            f"{self.relative:.1e} of the answer; {theirs}."
        )


def tones() -> list[Tensor]:
    """Return synthesised waveforms: chords that glide, in noise, of different loudness."""
    generator, found = torch.Generator().manual_seed(0), []
    for number, seconds in enumerate(SECONDS):
        time = torch.arange(round(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
        chord = sum(
            torch.sin(2 * math.pi * pitch * time * (1 + 0.05 * time)) / harmonic
            for harmonic, pitch in enumerate((110.0 + 60 * number, 330.0, 1_250.0), 1)
        )
        noise = torch.randn(len(time), generator=generator, dtype=torch.float64)
        found.append((0.1 / (number + 1) * (chord + 0.3 * noise)).float())
    return found


@torch.no_grad()
def agreement(head: ConvertibleHead, theirs: TaskModelHead, folder: Path, audio: Sequence[Tensor]) -> Agreement:
    """Run a head and the task model in a folder on audio; return how they agree.

    Raises UserError where they do not.
    """
    model: Any = load_task_model(folder)
    expected = [head.head(head.upstream([waveform]))[0] for waveform in audio]
    found = compared(expected, lambda waveform: answer_of(model([model.prepare(waveform)])), theirs, audio)
    refuse_difference(max(relative for _, relative in found), "the written model")
    by_transformers = None
    if importlib.util.find_spec("transformers"):
        own = loaded_by_transformers(folder)
        prepared = compared(expected, lambda waveform: answer_of(own(model.prepare(waveform)[None])), theirs, audio)
        by_transformers = max(relative for _, relative in prepared)
        refuse_difference(by_transformers, "transformers' model of what was written")
    return Agreement(len(audio), max(one for one, _ in found), max(one for _, one in found), by_transformers)


def compared(
    expected: Sequence[Tensor], compute: Callable[[Tensor], Tensor], theirs: TaskModelHead, audio: Sequence[Tensor]
) -> list[tuple[float, float]]:
    """Return the absolute and the relative difference of both forms for each waveform."""
    found = []
    for waveform, wanted in zip(audio, expected, strict=True):
        answer = theirs.as_here(compute(waveform)[0])
        if answer.shape != wanted.shape:
            raise UserError(
                f"The written model answers with {tuple(answer.shape)}, the head with {tuple(wanted.shape)}."
            )
        difference = (answer - wanted).double()
        scale = max(float(wanted.double().norm()), 1e-12)
        found.append((float(difference.abs().max()), float(difference.norm()) / scale))
    return found


def answer_of(output: Any) -> Tensor:
    """Return what a task model answers: the embedding where it has one, else logits."""
    embeddings = getattr(output, "embeddings", None)
    answer: Tensor = output.logits if embeddings is None else embeddings
    return answer


def loaded_by_transformers(folder: Path) -> Any:
    """Return transformers' own model; raise UserError for tensors that it misses or does not expect."""
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = transformers.AutoConfig.from_pretrained(folder)
    (name,) = config.architectures
    model, loading = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    wrong = [key for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in loading[kind]]
    if wrong:
        raise UserError(f"transformers does not load what was written: {wrong[0]} is missing, or not expected.")
    return model.eval()


def refuse_difference(relative: float, what: str) -> None:
    """Raise UserError for forms that disagree."""
    if not relative <= LIMIT:
        raise UserError(
            f"On the same audio {what} and the head differ by {relative:.1e} of the answer, and {LIMIT:g} is the "
            "limit: nothing was written. With --audio FILE other recordings are compared."
        )
