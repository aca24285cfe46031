"""Where a run lies: a folder that is named after its question, or one that the user named."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.data import Dataset
from downstream.recipes import Options, Recipe
from downstream.results.folder import QUESTION, RECORD, SNAPSHOT
from downstream.results.names import run_names, upstream_names
from downstream.results.question import Question
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.files import write_atomically
from upstream.json_file import read_json_object
from upstream.unfinished import UNFINISHED


@dataclass(frozen=True)
class Place:
    """The folders of a run.

    stored: its folder. unstored: its folder where the store had no room for its states: states that are computed again
        and again are rounded otherwise than stored ones, so that its scores may differ; the same one of a named run.
    beside: the folders of this upstream's runs on this recipe, in which heads of the same training may be found.
    """

    stored: Path
    unstored: Path
    beside: Sequence[Path]
    question: Question
    is_named: bool

    @classmethod
    def of(cls, question: Question, upstream: Upstream, recipe: Recipe, dataset: Dataset, options: Options) -> Place:
        """Return the place of a run; the same question always has the same one, by whatever name it once began."""
        beside = [options.results / name for name in upstream_names(upstream, recipe)]
        named = options.folder if options.name is None else beside[0] / options.name
        if named is not None:
            return cls(named, named, beside, question, is_named=True)
        names = run_names(question, recipe, dataset, options)
        folders = [(folder / name, folder / f"{name}-unstored") for folder in beside for name in names]
        begun = [pair for pair in folders if any(map(os.path.isdir, pair))]
        return cls(*(begun or folders)[0], beside, question, is_named=False)

    @property
    def folders(self) -> Sequence[Path]:
        """Every folder in which the run may be found."""
        return list(dict.fromkeys((self.stored, self.unstored)))

    def began_unstored(self) -> bool:
        """Return True for a run that began without room for its states, and goes on so."""
        if not self.is_named:
            return os.path.isdir(self.unstored)
        return (self.stored / QUESTION).is_file() and bool(read_json_object(self.stored / QUESTION).get("unstored"))

    def make(self, folder: Path, is_unstored: bool) -> None:
        """Make one of the folders; a named one says at once which run it holds, and whether the store had no room.

        Raises UserError where that cannot be done.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Cannot make the folder {folder}: {error.strerror}. Choose another place with --results or -p."
            ) from error
        if self.is_named:
            content = {"asked": self.question.asked, "unstored": is_unstored}
            write_atomically(folder / QUESTION, json.dumps(content).encode() + b"\n")

    def refuse_other_content(self, fresh: bool) -> None:
        """Raise UserError where a named folder holds another run that is not to be discarded, or files of no run."""
        folder = self.stored
        if not self.is_named or not os.path.isdir(folder) or self._holds_the_run():
            return
        found = sorted(name for name in os.listdir(folder) if not name.startswith(UNFINISHED))
        if found and not {QUESTION, RECORD, SNAPSHOT} & set(found):
            raise UserError(
                f"{folder} holds files that no run wrote ({', '.join(found[:3])}), and a run needs a folder of its "
                f"own: choose a new or an empty one, such as {folder / 'run1'}."
            )
        if found and not fresh:
            raise UserError(
                f"{folder} holds another run: of other settings, other data or another upstream. "
                f"{self._how_it_was_made()}Choose another name, or add --fresh to discard that run."
            )

    def _how_it_was_made(self) -> str:
        """Return a sentence on the command of the finished run in the folder; "" where none is recorded."""
        if not (self.stored / RECORD).is_file():
            return ""
        command = read_json_object(self.stored / RECORD).get("command")
        return f"`{command}` (paths shortened) shows that run. " if isinstance(command, str) and command else ""

    def _holds_the_run(self) -> bool:
        """Return True for a folder that says, in its file or by its name, that it holds the run of this question."""
        if (self.stored / QUESTION).is_file():
            return bool(read_json_object(self.stored / QUESTION).get("asked") == self.question.asked)
        return self.stored.resolve().name.endswith(f"-{self.question.asked[:8]}")
