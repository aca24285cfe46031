"""What is measured on held-back speech on the way, and when it looks wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from downstream.pretraining.model import Prediction

LEGEND = (
    "On held-back speech: loss on masked frames (accuracy on masked|unmasked frames, codes in use); spread of the "
    "layers; mean norm of the gradient."
)
# A plateau, as it looks in small models: after this many updates masked frames are predicted hardly better than by the
# frequencies of codes, and few codes are predicted at all.
PLATEAU_UPDATES = 400
PLATEAU_GAIN = 0.1  # nats
PLATEAU_CODES = 7.0
COLLAPSED = 0.3  # spread of a layer, relative to its first one


@dataclass(frozen=True)
class Measured:
    """One measurement.

    step: updates so far, in all stages. spread: of every layer: root of the mean variance of its dimensions over
    frames. norm: of the gradient, mean since the last measurement. probe: score of the recipe that is watched, if any,
    in % where it is a share.
    """

    step: int
    stage: int
    hours: float
    predictions: tuple[Prediction, ...]
    spread: tuple[float, ...]
    norm: float
    probe: float | None = None

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Measured:
        """Return a measurement as JSON has it."""
        predictions = tuple(Prediction(**one) for one in kept["predictions"])
        return cls(**{**kept, "predictions": predictions, "spread": tuple(kept["spread"])})


def warnings_of(history: Sequence[Measured]) -> list[str]:
    """Return sentences on what looks wrong in the last measurement: a plateau, or a collapse."""
    last, found = history[-1], []
    same = [one for one in history if one.stage == last.stage]
    if last.step - same[0].step >= PLATEAU_UPDATES:
        for one in last.predictions:
            if one.ignorant - one.masked_loss < PLATEAU_GAIN and one.codes < PLATEAU_CODES:
                found.append(
                    f"Plateau: {one.name} is predicted in masked frames hardly better than without seeing anything "
                    f"({one.masked_loss:.2f} against {one.ignorant:.2f} nats), and {one.codes:.0f} codes are in use. "
                    "Raise objective.unmasked or optimizer.lr, and look at the targets."
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
    predictions = "  ".join(map(words_of, measured.predictions))
    probe = "" if measured.probe is None else f"  probe {measured.probe:.1f}"
    return (
        f"{measured.step:>6} updates, {measured.hours:.1f} h  {predictions}  spread {min(measured.spread):.2f} to "
        f"{max(measured.spread):.2f}  gradient {measured.norm:.2f}{probe}"
    )


def words_of(one: Prediction) -> str:
    """Return how well something is predicted, masked|unmasked."""
    unmasked = "" if one.unmasked_accuracy is None else f"|{one.unmasked_accuracy:.0f}"
    return f"{one.name} {one.masked_loss:.2f} ({one.masked_accuracy:.0f}{unmasked} %, {one.codes:.0f} codes)"
