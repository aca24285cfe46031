"""The flow of a run whose encoder learns: the same corpus, heads, scores and record as a frozen one's."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from downstream.finetuning.encoders import Kept, loaded_encoder, record_of
from downstream.finetuning.learning import learned
from downstream.finetuning.room import refuse_too_large, said_of_disk, sizes_of, ways_to_save
from downstream.finetuning.settings import settings_of
from downstream.planned_run import PlannedRun
from downstream.results import EncoderRecord, FineTuning, Phases, head_name, record_run, tidy
from downstream.run_steps import Outcome, chosen_fits, finished_before, made_of, make_folder, refuse_learning
from downstream.states import Computed
from downstream.tasks import Task
from downstream.training import Chosen, Fit, ScoredHead, enough_memory, layer_norms, score_heads
from upstream.errors import UserError
from upstream.ranks import Ranks


def fine_tuned(planned: PlannedRun, ranks: Ranks) -> Outcome | None:
    """Carry out a run whose recipe has a section `finetune`.

    A finished run is read back; an interrupted one goes on with the fold and the update at which it was. Of several
    processes each computes its part of every update; the first one alone tests and records, and the others return
    None. Raises UserError for whatever the user can fix.
    """
    phases = Phases(planned.reading)
    refuse_unfit(planned)
    before = finished_before(planned, ranks)
    if before is not None:
        if ranks.main:
            tidy(before.folder)
        return before if ranks.main else None
    task, folder = planned.family.task(planned.dataset, planned.upstream), planned.place.stored
    known_before = list(task.caveats())  # raises where nothing can be learned
    sizes = sizes_of(planned, ranks)
    refuse_too_large(sizes, planned, folder, ranks)
    if ranks.main:
        refuse_learning(planned, folder)
        make_folder(planned, folder, False, [*known_before, said_of_disk(sizes, planned, folder)])
    ranks.join(planned.upstream.device)

    phases.begin("extraction")  # of which there is none
    phases.begin("training")
    kept = Kept(folder, planned.dataset, planned.question.learned, competing=len(planned.recipe.sweep.lr) > 1)
    with enough_memory(
        "the encoder was fine-tuned", planned.whole, f"take {' or '.join(ways_to_save(planned.recipe))}"
    ):
        fits, encoded = learned(planned, task, kept, ranks)
    if not ranks.main:
        return None
    phases.begin("evaluation")
    tested = Tested(planned, task, kept)
    scored = tested.all(chosen_fits(planned, fits))
    finetuning = FineTuning(
        parameters=sizes.parameters, learned=sizes.learned, processes=ranks.world, encoders=tested.encoders
    )
    timing = phases.timing(planned.dataset, encoded + tested.seconds)
    made = made_of(planned, task, planned.plan(), fits, scored, tested.norms(), timing, finetuning=finetuning)
    result = record_run(made, folder)
    tidy(folder)
    return Outcome(result, folder, was_finished=False)


class Tested:
    """Tests of heads on their own encoders, each loaded from where it was saved: what is scored is what is kept.

    encoders: their records, by the names of heads. seconds: of audio that they encoded.
    """

    def __init__(self, planned: PlannedRun, task: Task, kept: Kept) -> None:
        self._planned, self._task, self._kept = planned, task, kept
        self._norms: list[list[float]] = []
        self.encoders: dict[str, EncoderRecord] = {}
        self.seconds = 0.0

    def all(self, chosen: Sequence[Chosen[Fit]]) -> list[ScoredHead]:
        """Return the evaluations of all chosen heads; one encoder is in memory at a time."""
        return [self._one(one) for one in chosen]

    def norms(self) -> list[float]:
        """Return the mean norm of each layer, over the encoders."""
        means: list[float] = torch.tensor(self._norms, dtype=torch.float64).mean(dim=0).tolist()
        return means

    def _one(self, chosen: Chosen[Fit]) -> ScoredHead:
        planned, folder = self._planned, self._kept.encoder(chosen.fit)
        encoder = loaded_encoder(folder, planned.upstream)
        source = Computed(encoder, planned.dataset.items, planned.family.needs())
        parts = planned.recipe.split.test_parts
        (scored,) = score_heads([chosen], planned.dataset, self._task, source, parts, encoder.device)
        self._norms.append(layer_norms([scored], planned.dataset, source))
        self.seconds += source.audio_seconds
        fold = planned.dataset.split.folds[chosen.fit.fold].name
        self.encoders[head_name(fold, chosen.fit.config.seed, chosen.setting)] = record_of(encoder, folder)
        return scored


def refuse_unfit(planned: PlannedRun) -> None:
    """Raise UserError for options that make no sense where the encoder learns."""
    if planned.options.final:
        raise UserError(
            "--final learns one more head from all data, on the frozen encoder. A fine-tuned run keeps the encoder and "
            "head of every fold; leave --final out."
        )
    if planned.upstream.dtype != torch.float32:
        raise UserError(
            f"The encoder was read in {planned.upstream.dtype_name}, and learns in float32: leave --dtype out. "
            "-o finetune.precision=bfloat16 computes its products in bfloat16 while it learns."
        )
    first = settings_of(planned.recipe)[1].from_layer
    for config in planned.configs:
        if config.layer is not None and 0 < first >= config.layer:
            raise UserError(
                f"The head reads layer {config.layer}, and the encoder learns from layer {first} on: nothing that the "
                "head reads would change. Take a lower -o finetune.from_layer, or a higher layer."
            )
