"""The folder of a pre-training: snapshots, the models of its stages, and the one that comes out."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from downstream.pretraining.model import PretrainingModel
from downstream.pretraining.options import PretrainingOptions
from downstream.pretraining.speech import Speech
from downstream.pretraining.watch import Measured
from downstream.recipes import PretrainingRecipe
from downstream.training import read_snapshot, write_snapshot
from upstream.errors import UserError
from upstream.files import write_atomically
from upstream.json_file import read_json_object
from upstream.unfinished import UNFINISHED, held, remove_leftover, remove_leftovers, unfinished_folder
from upstream.wavlm import checkpoint

logger = logging.getLogger("wavprobe")

RECORD = "pretraining.json"
QUESTION = "question.json"  # which training a folder holds
SNAPSHOT = "snapshot"
STAGES = "stages"
OBJECTIVE = "objective.safetensors"
OTHER_CODE = "Other code, or another PyTorch, began this training: what comes out is not bit for bit what either makes."


@dataclass
class State:
    """How far a training is.

    stage: its number. step: updates of it. place: updates of all stages. audio: seconds learned from. seconds: that it
    took. norms: of gradients since the last measurement. history: measurements. targets: of every stage that has begun,
    as records describe them. code: digests of the code that learned, one where no other code went on with it.
    machines: on which it did, one after the other.
    """

    stage: int = 0
    step: int = 0
    place: int = 0
    audio: float = 0.0
    seconds: float = 0.0
    norms: list[float] = field(default_factory=list)
    history: list[Measured] = field(default_factory=list)
    targets: list[list[dict[str, Any]]] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    machines: list[str] = field(default_factory=list)

    def learn_by(self, code: str) -> None:
        """Note the code that goes on; one that began with other code ends in bits that neither code gives alone."""
        if self.code and self.code[-1] != code:
            logger.warning(OTHER_CODE)
        if code not in self.code[-1:]:
            self.code.append(code)

    def learned_on(self, machine: str) -> None:
        """Note the machine of an update."""
        if machine not in self.machines[-1:]:
            self.machines.append(machine)


class Folder:
    """The folder of one training and what is in it.

    question: digest of all that the training depends on.
    """

    def __init__(self, recipe: PretrainingRecipe, speech: Speech, options: PretrainingOptions) -> None:
        """Find the folder; nothing is written."""
        # Without defaults: a setting that is new changes no training that does not name it.
        settings = recipe.model_dump(mode="json", exclude={"title", "watch", "compile"}, exclude_defaults=True)
        content = settings | {"data": speech.digest()}
        self.question = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        self.path = options.results / recipe.name / (options.name or f"seed{recipe.seed}-{self.question[:8]}")

    @property
    def is_finished(self) -> bool:
        """True if the training was recorded."""
        return (self.path / RECORD).is_file()

    def record(self) -> dict[str, Any]:
        """Return the record of a finished training."""
        return read_json_object(self.path / RECORD)

    def refuse_other_content(self, fresh: bool) -> None:
        """Raise UserError where the folder holds another training that is not to be discarded, or files of none."""
        found = sorted(one.name for one in self.path.glob("*") if not one.name.startswith(UNFINISHED))
        if found and not {QUESTION, RECORD, SNAPSHOT} & set(found):
            raise UserError(
                f"{self.path} holds files that no pre-training wrote ({', '.join(found[:3])}): choose another --name."
            )
        if not fresh and self._asked() not in (None, self.question):
            raise UserError(
                f"{self.path} holds a training with other settings or other speech. Add --fresh to discard it, or "
                "choose another --name."
            )

    def _asked(self) -> str | None:
        """Return the question of the training in the folder; None where there is none, or it does not say."""
        if not (self.path / QUESTION).is_file():
            return None
        return str(read_json_object(self.path / QUESTION).get("asked"))

    @contextmanager
    def begun(self, fresh: bool) -> Iterator[None]:
        """Make the folder, empty for `fresh`, and let no other command learn in it meanwhile.

        Raises UserError where it cannot be made, and where another command is at work in it.
        """
        with ExitStack() as until_the_end:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                is_ours = until_the_end.enter_context(held(self.path))
                for one in list(self.path.iterdir()) if fresh and is_ours else ():
                    remove_leftover(one)
            except OSError as error:
                raise UserError(
                    f"Cannot make or empty the folder {self.path}: {error.strerror}. Choose another place with "
                    "--results."
                ) from error
            if not is_ours:
                raise UserError(
                    f"Another command is pre-training in {self.path}. Wait for it, or choose another --name."
                )
            self.refuse_other_content(fresh)  # again: another command may have ended in the meantime
            remove_leftovers(self.path)
            remove_leftovers(self.path / STAGES)
            write_atomically(self.path / QUESTION, json.dumps({"asked": self.question}).encode() + b"\n")
            yield

    def keep(self, state: State, tensors: Mapping[str, Tensor]) -> None:
        """Write a snapshot; raises UserError where that is impossible, and then the one before is kept."""
        write_snapshot(self.path / SNAPSHOT, tensors, asdict(state))

    def resumed(self) -> tuple[State, dict[str, Tensor]]:
        """Return how far the last snapshot is, and its tensors; the beginning where there is none."""
        found = read_snapshot(self.path / SNAPSHOT)
        if found is None:
            return State(), {}
        tensors, facts = found
        history = [Measured.of(one) for one in facts.pop("history")]
        state = State(**facts, history=history)
        logger.info("The training goes on at update %d of stage %d.", state.step, state.stage + 1)
        return state, tensors

    def stage(self, number: int) -> Path:
        """Return the directory of the model at the end of a stage, counted from 0."""
        return self.path / STAGES / str(number + 1)

    def keep_stage(self, number: int, model: PretrainingModel) -> None:
        """Write the model at the end of a stage; raises UserError where that is impossible."""
        place = self.stage(number)
        try:
            place.parent.mkdir(exist_ok=True)
            with unfinished_folder(place.parent) as unfinished:
                write_model(unfinished / place.name, model)
                shutil.rmtree(place, ignore_errors=True)
                os.replace(unfinished / place.name, place)
        except OSError as error:
            raise UserError(f"Cannot write the model {place}: {error.strerror}. Make room there.") from error

    def objective(self, number: int) -> dict[str, Tensor]:
        """Return the weights of the objective at the end of a stage."""
        return load_file(self.stage(number) / OBJECTIVE)

    def parameters(self) -> int:
        """Return how many numbers the encoder has."""
        return sum(tensor.numel() for tensor in checkpoint.read(self.stage(0)).tensors.values())

    def finish(self, stage: int, record: Mapping[str, Any], half: bool) -> None:
        """Put the model of the last stage in its place, then the record, and remove the snapshot."""
        weights = checkpoint.read(self.stage(stage))
        tensors = {name: tensor.half() if half else tensor for name, tensor in weights.tensors.items()}
        checkpoint.write(self.path, weights.config, tensors)
        write_atomically(self.path / RECORD, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
        (self.path / SNAPSHOT).unlink(missing_ok=True)


def write_model(folder: Path, model: PretrainingModel) -> None:
    """Write the encoder as a Hugging Face directory, and the objective beside it."""
    model.encoder.save(folder)
    objective = {name: tensor.detach().cpu().contiguous() for name, tensor in model.objective.state_dict().items()}
    write_atomically(folder / OBJECTIVE, save(objective))
