"""The flow of a pre-training: speech, targets, updates, measurements, and the model that comes out. Read it first."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from downstream.pretraining.contrastive import TellsApart
from downstream.pretraining.curves import Curves
from downstream.pretraining.first_model import config_of, drawn
from downstream.pretraining.folder import Folder, State
from downstream.pretraining.learner import StageLearner, take
from downstream.pretraining.masked_prediction import PredictsCodes
from downstream.pretraining.model import PretrainingModel
from downstream.pretraining.options import PretrainingOptions
from downstream.pretraining.probe import probe_score, refuse_unfit_probe
from downstream.pretraining.record import record_of
from downstream.pretraining.speech import read_speech, said_of
from downstream.pretraining.targets import Codebook, codebook
from downstream.pretraining.watch import LEGEND, Measured, line_of, warnings_of
from downstream.pretraining.windows import Windows, held_windows
from downstream.recipes import PretrainingRecipe
from downstream.results import machine
from downstream.training import SnapshotClock, code_version, derived
from upstream.base import Upstream
from upstream.catalog import load, torch_dtype
from upstream.errors import UserError
from upstream.learned import Learned
from upstream.ranks import ALONE, Ranks
from upstream.wavlm import checkpoint
from upstream.wavlm.compiled import require_compilable
from upstream.wavlm.training import TrainableWavLM

logger = logging.getLogger("wavprobe")

EVERYTHING = Learned(from_layer=0, front_end=True, masked=False)  # masks are the objective's
TARGETS_SEED = 0  # of k-means: seeds of one recipe share their targets


@dataclass(frozen=True)
class Outcome:
    """What came of a pre-training.

    folder: a Hugging Face directory, which -u takes; the record beside it. record: its content.
    """

    folder: Path
    record: dict[str, Any]
    was_finished: bool


def pretrain(recipe: PretrainingRecipe, options: PretrainingOptions, ranks: Ranks = ALONE) -> Outcome | None:
    """Pre-train a model as a recipe has it.

    A finished one is read back; an interrupted one goes on from its last snapshot, to the same bits on a CPU. Of
    several processes each computes its part of every update; the first one alone writes, and the others return None.
    Raises UserError for whatever the user can fix.
    """
    with logging_redirect_tqdm():
        training = Pretraining(recipe, options, ranks)
        was_finished = training.folder.is_finished and not options.fresh
        if not was_finished:
            training.carry_out()
        return Outcome(training.folder.path, training.folder.record(), was_finished) if ranks.main else None


class Pretraining:
    """One pre-training on its way; one stage after the other."""

    def __init__(self, recipe: PretrainingRecipe, options: PretrainingOptions, ranks: Ranks) -> None:
        """Read the speech, and look for the folder; raises UserError for what the user can fix."""
        self._recipe, self._options, self._ranks = recipe, options, ranks
        self._shown = options.progress and ranks.main
        self._config = config_of(recipe)  # raises before anything is read
        refuse_unfit_probe(recipe.watch.probe, options.probe_data)
        self._speech = read_speech(recipe, options.data, options.store, self._shown)
        self._windows = Windows(recipe, self._speech)
        self._held = held_windows(self._speech.held, len(self._speech.learned), recipe.held_back, recipe.mask)
        if not self._held:
            raise UserError(
                f"No speaker that is held back has {recipe.held_back.window:g} s of speech: choose a shorter "
                "-o held_back.window, or more -o held_back.seconds."
            )
        self.folder = Folder(recipe, self._speech, options)
        if ranks.main:  # which may be writing when others come
            self.folder.refuse_other_content(options.fresh)
        self._state = State()
        self._tensors: Mapping[str, Tensor] = {}  # of the snapshot, until its stage has taken them
        self._clock = SnapshotClock(options.snapshot_seconds)
        several = f"{ranks.world} processes, each " if ranks.world > 1 else ""
        self._machine = several + machine(options.device)

    def carry_out(self) -> None:
        """Learn all stages, and write the model and its record."""
        recipe, ranks = self._recipe, self._ranks
        if recipe.compile:  # before hours of targets
            require_compilable(self._config, self._options.device)
        if ranks.main:
            logger.info(said_of(self._speech))
            if self._speech.notes:
                logger.warning(" ".join(self._speech.notes))
        with self.folder.begun(self._options.fresh) if ranks.main else nullcontext():
            ranks.join(self._options.device)
            ranks.barrier(self._options.device)
            if self.folder.is_finished:  # by another command that ended a moment ago
                return
            self._learn()
            if ranks.main:
                record = record_of(recipe, self._speech, self._state, self.folder.parameters(), self._options, ranks)
                self.folder.finish(len(recipe.stages) - 1, record, half=recipe.saved == "float16")

    def _learn(self) -> None:
        """Learn what is left of all stages."""
        self._state, self._tensors = self.folder.resumed()
        self._state.learn_by(code_version())
        if self._shown:
            tqdm.write(LEGEND)
        progress, curves = self._progress(), Curves(self.folder.path, self._state.place, self._ranks.main)
        with progress as self._bar, curves as self._curves:
            for number in range(self._state.stage, len(self._recipe.stages)):
                self._stage(number)

    def _progress(self) -> tqdm[NoReturn]:
        """Return the bar of all updates."""
        return tqdm(
            total=self._recipe.steps,
            initial=self._state.place,
            desc=f"pre-training {self._recipe.name}",
            unit=" updates",
            disable=None if self._shown else True,  # None: none where nobody watches a terminal
        )

    def _stage(self, number: int) -> None:
        """Carry out what is left of a stage, and keep its model."""
        state, stage = self._state, self._recipe.stages[number]
        codebooks = self._codebooks_of_all(number)
        state.targets[number:] = [[book.described() for book in codebooks]]
        learner = self._learner(number, codebooks)
        if self._tensors:
            learner.restore(self._tensors)
            self._tensors = {}
        if state.step == 0:
            self._measure(learner)
        while state.step < stage.steps:
            began = time.perf_counter()
            learned = learner.learn(state.step + 1, state.place + 1)
            state.norms.append(learned.norm)
            state.step, state.place = state.step + 1, state.place + 1
            state.audio += learned.seconds
            state.learned_on(self._machine)
            state.seconds += time.perf_counter() - began
            self._bar.update()
            self._bar.set_postfix_str(f"{state.audio / state.seconds:.0f} audio s/s", refresh=False)
            self._curves.update(state.place, learned, state.audio / state.seconds)
            if state.place % self._recipe.watch.every == 0 or state.step == stage.steps:
                self._measure(learner)
            if self._ranks.main and self._clock.due():
                self.folder.keep(state, learner.state())
                self._clock.restart()
        if self._ranks.main:
            self.folder.keep_stage(number, learner.model)
        state.stage, state.step = number + 1, 0
        if self._ranks.main:
            self.folder.keep(state, {})
        self._ranks.barrier(self._options.device)

    def _measure(self, learner: StageLearner) -> None:
        """Measure on held-back speech, and the probe where it is due; say what was found."""
        if not self._ranks.main:
            return
        state, probe = self._state, self._recipe.watch.probe
        learner.model.eval()
        predictions, spread = learner.model.measure(self._held)
        learner.model.train()
        score = None
        if probe is not None and (state.place % probe.every == 0 or state.place == self._recipe.steps):
            score = probe_score(probe, learner.model.encoder, self._options)
        finite = [norm for norm in state.norms if math.isfinite(norm)]
        norm = sum(finite) / max(1, len(finite))
        state.norms.clear()
        state.history.append(
            Measured(state.place, state.stage, state.audio / 3600, predictions, tuple(spread), norm, score)
        )
        self._curves.measurement(state.history[-1])
        if self._shown:
            speed = f"  {state.audio / state.seconds:.0f} audio s/s" if state.seconds else ""
            tqdm.write(f"{line_of(state.history[-1])}{speed}")
        for warning in warnings_of(state.history):
            logger.warning(warning)

    # ---------------------------------------------------------------- what a stage begins with

    def _codebooks_of_all(self, number: int) -> list[Codebook]:
        """Return the targets of a stage; the first process makes them, then the others read them from the store."""
        if not self._ranks.main:
            self._ranks.barrier(self._options.device)
        found = self._codebooks(number)
        if self._ranks.main:
            self._ranks.barrier(self._options.device)
            for book in found:
                logger.info(
                    "target %s: %.1f codes in use, mean run %.2f frames", book.target.called, book.perplexity, book.run
                )
        return found

    def _codebooks(self, number: int) -> list[Codebook]:
        """Return the targets of a stage."""
        models = {
            target: self._model_of(target.model, number)
            for target in self._recipe.stages[number].targets
            if target.layer is not None
        }
        return [
            codebook(target, self._speech, TARGETS_SEED, self._options.store, models.get(target), self._shown)
            for target in self._recipe.stages[number].targets
        ]

    def _model_of(self, name: str | None, number: int) -> Upstream:
        """Return the model whose layer is clustered: of this name, or that of the stage before."""
        path = str(self.folder.stage(number - 1))
        return load(name or path, device=str(self._options.device), dtype=self._recipe.precision)

    def _learner(self, number: int, codebooks: Sequence[Codebook]) -> StageLearner:
        """Return the learner of a stage, with the weights that it begins with."""
        recipe, stage = self._recipe, self._recipe.stages[number]
        goes_on = number > 0 and not stage.seed_weights
        weights = checkpoint.read(self.folder.stage(number - 1)) if goes_on else drawn(self._config, recipe.seed)
        encoder = TrainableWavLM(weights, EVERYTHING, self._options.device)
        if recipe.compile:
            encoder.compile_blocks()
        dtype, seed = torch_dtype(recipe.precision), derived(recipe.seed, "objective")
        model: PretrainingModel
        if stage.objective.kind == "contrastive":
            model = TellsApart(encoder, stage.objective, dtype, seed)
        else:
            model = PredictsCodes(encoder, stage.objective, codebooks, dtype, seed)
        if goes_on:  # the heads of targets that stay
            take(model.objective, self.folder.objective(number - 1))
        model.to(self._options.device).train()
        return StageLearner(model, stage, self._windows, recipe.seed, self._ranks)
