"""A head on its upstream, whoever learned it, ready to be written in another form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.data import read_lines
from downstream.recipes import EffectsSettings
from downstream.tasks import Head, TaskModelHead
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.text import counted


@dataclass(frozen=True)
class ConvertibleHead:
    """A head on its upstream, in evaluation mode and in float32 on the CPU.

    outputs: the names of its outputs; None where nobody knows them, and for a head whose outputs have no names.
    effects: on the audio that it learned from, which are no part of a model.
    task_model: returns it as a task model of transformers has it, or raises UserError.
    notes: sentences on what was assumed, and what of the source is carried nowhere.
    """

    title: str
    head: Head
    upstream: Upstream
    outputs: Sequence[str] | None
    effects: EffectsSettings
    task_model: Callable[[], TaskModelHead]
    notes: tuple[str, ...]


def read_labels(path: Path, count: int) -> list[str]:
    """Return the names in a file, one a line, in the order of a head's outputs; raise UserError for another number."""
    names = [name for line in read_lines(path) if (name := line.strip())]
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise UserError(f"{path} has the name {twice!r} twice; every output of the head has a name of its own.")
    if len(names) != count:
        raise UserError(
            f"{path} has {counted(len(names), 'name')}, and the head has {counted(count, 'output')}; write one name a "
            "line, in the order of the outputs."
        )
    return names
