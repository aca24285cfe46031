"""Curves of a pre-training for TensorBoard."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Self

from downstream.pretraining.learner import Learned
from downstream.pretraining.watch import Measured
from upstream.errors import words_of

logger = logging.getLogger("wavprobe")

EVENTS = "events"
EVERY = 10  # updates between two points of what is known of every update


class Curves:
    """Writes what every update and every measurement gave below a folder; nothing where TensorBoard is not usable."""

    def __init__(self, folder: Path, place: int, writes: bool = True) -> None:
        """place: update at which the training goes on; what an interrupted one wrote beyond it is hidden.

        writes: False for nothing, in all processes but the first.
        """
        self._writer: Any = None
        if not writes:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(folder / EVENTS, purge_step=place + 1)
        except Exception as error:  # protobuf raises a TypeError where its version does not fit
            logger.warning("There are no curves for TensorBoard (%s).", words_of(error))

    def update(self, place: int, learned: Learned, speed: float) -> None:
        """Write an update. speed: audio seconds a second, so far."""
        if place % EVERY == 0:
            numbers = {"loss": learned.loss, "gradient": learned.norm, "rate": learned.rate, "speed": speed}
            self._write({f"training/{name}": value for name, value in numbers.items()}, place)

    def measurement(self, measured: Measured) -> None:
        """Write a measurement on held-back speech."""
        numbers = {f"spread/layer {number}": value for number, value in enumerate(measured.spread)}
        for one in measured.predictions:
            for name in ("masked_loss", "unmasked_loss", "masked_accuracy", "unmasked_accuracy", "codes"):
                if (value := getattr(one, name)) is not None:
                    numbers[f"{one.name}/{name}"] = value
        if measured.probe is not None:
            numbers["probe/score"] = measured.probe
        self._write(numbers, measured.step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left in memory."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, numbers: dict[str, float], place: int) -> None:
        if self._writer is not None:
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, place)
