"""What is measured on held-back speech on the way, and when it looks wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from downstream.pretraining.model import EncoderWithTargets, codes_of, figures_of
from downstream.pretraining.speech import Stream
from downstream.pretraining.targets import Codebook, perplexity
from downstream.pretraining.windows import WindowOfSpeech

AT_ONCE = 8  # windows
# A plateau, as it looks in small models: after this many updates masked frames are predicted hardly better than by the
# frequencies of codes, and few codes are predicted at all.
PLATEAU_UPDATES = 400
PLATEAU_GAIN = 0.1  # nats
PLATEAU_CODES = 7.0
COLLAPSED = 0.3  # spread of a layer, relative to its first one


@dataclass(frozen=True)
class OfCodebook:
    """How well one codebook is predicted on held-back speech.

    masked_loss, unmasked_loss: nats. masked_accuracy, unmasked_accuracy: %. codes: in use among predictions, exp of the
    entropy. unigram: the loss of whoever knows nothing but the frequencies of held-back codes, nats.
    """

    name: str
    masked_loss: float
    unmasked_loss: float
    masked_accuracy: float
    unmasked_accuracy: float
    codes: float
    unigram: float


@dataclass(frozen=True)
class Measured:
    """One measurement.

    step: updates so far, in all stages. spread: of every layer: root of the mean variance of its dimensions over
    frames. norm: of the gradient, mean since the last measurement. probe: score of the recipe that is watched, if any.
    """

    step: int
    stage: int
    hours: float
    codebooks: tuple[OfCodebook, ...]
    spread: tuple[float, ...]
    norm: float
    probe: float | None = None

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Measured:
        """Return a measurement as JSON has it."""
        books = tuple(OfCodebook(**book) for book in kept["codebooks"])
        return cls(**{**kept, "codebooks": books, "spread": tuple(kept["spread"])})


@torch.no_grad()
def measure(
    model: EncoderWithTargets,
    codebooks: Sequence[Codebook],
    held: Sequence[tuple[Stream, WindowOfSpeech]],
) -> tuple[tuple[OfCodebook, ...], tuple[float, ...]]:
    """Return how well held-back windows are predicted, and the spread of every layer in the unmasked frames."""
    model.eval()
    device = model.encoder.device
    sums, frames = torch.zeros(4, len(codebooks), dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    codes: list[Tensor] = []
    targets: list[Tensor] = []
    moments = []
    for first in range(0, len(held), AT_ONCE):
        some = held[first : first + AT_ONCE]
        windows = [window for _, window in some]
        waveforms = [stream.window(window.frame, window.samples).to(device) for stream, window in some]
        own = codes_of(codebooks, windows).to(device)
        states = model.states(waveforms, windows)
        predicted = model.objective(states[-1], own)
        masked = torch.cat([window.mask for window in windows]).to(device)
        sums += figures_of(predicted, masked).cpu()
        frames += torch.tensor([masked.sum(), (~masked).sum()], dtype=torch.float64)
        codes.append(predicted.codes.cpu())
        targets.append(own.cpu())
        seen = states[:, ~masked].double()
        moments.append(torch.stack([seen.sum(dim=1), seen.square().sum(dim=1)]).cpu())
    model.train()
    means = sums / frames[[0, 0, 1, 1]].clamp_min(1)[:, None]
    every, right = torch.cat(codes, dim=1), torch.cat(targets, dim=1)
    found = tuple(
        OfCodebook(
            book.target.called,
            masked_loss=float(means[0, number]),
            masked_accuracy=100 * float(means[1, number]),
            unmasked_loss=float(means[2, number]),
            unmasked_accuracy=100 * float(means[3, number]),
            codes=perplexity(every[number], book.target.clusters),
            unigram=math.log(perplexity(right[number], book.target.clusters)),
        )
        for number, book in enumerate(codebooks)
    )
    total, squares = (sum(one[part] for one in moments) / frames[1].clamp_min(1) for part in range(2))
    spread = (squares - total.square()).clamp_min(0.0).mean(dim=1).sqrt()
    return found, tuple(spread.tolist())


def warnings_of(history: Sequence[Measured]) -> list[str]:
    """Return sentences on what looks wrong in the last measurement: a plateau, or a collapse."""
    last, found = history[-1], []
    same = [one for one in history if one.stage == last.stage]
    if last.step - same[0].step >= PLATEAU_UPDATES:
        for book in last.codebooks:
            if book.unigram - book.masked_loss < PLATEAU_GAIN and book.codes < PLATEAU_CODES:
                found.append(
                    f"Plateau: {book.name} is predicted in masked frames hardly better than by the frequencies of its "
                    f"codes ({book.masked_loss:.2f} against {book.unigram:.2f} nats), and {book.codes:.0f} codes are "
                    "in use. Raise objective.unmasked or optimizer.lr, and look at the targets."
                )
    for layer, (now, first) in enumerate(zip(last.spread, history[0].spread, strict=True)):
        if now < COLLAPSED * first:
            found.append(
                f"Collapse: the states of layer {layer} differ by {now:.2f} over frames, and by {first:.2f} at first. "
                "Lower optimizer.lr."
            )
    return found


def line_of(measured: Measured) -> str:
    """Return a measurement as one line of the terminal."""
    books = "  ".join(
        f"{book.name} {book.masked_loss:.2f} nats ({book.masked_accuracy:.0f}|{book.unmasked_accuracy:.0f} %, "
        f"{book.codes:.0f} codes)"
        for book in measured.codebooks
    )
    probe = "" if measured.probe is None else f"  probe {measured.probe:.1f}"
    return (
        f"{measured.step:>6} updates, {measured.hours:.1f} h  {books}  spread {min(measured.spread):.2f} to "
        f"{max(measured.spread):.2f}  gradient {measured.norm:.2f}{probe}"
    )
