"""The score of a recipe on the encoder as it is, while it is pre-trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from downstream.experiment import carry_out
from downstream.planned_run import PlannedRun, ReadCorpus
from downstream.pretraining.options import PretrainingOptions
from downstream.recipes import Options, ProbeSettings
from downstream.tasks import load_overridden
from upstream.errors import UserError
from upstream.unfinished import unfinished_folder
from upstream.wavlm.training import TrainableWavLM


def refuse_unfit_probe(settings: ProbeSettings | None, data: Path | None) -> None:
    """Raise UserError for a recipe to be watched that there is not, and for its data where none is watched."""
    if settings is not None:
        load_overridden(settings.recipe, settings.overrides)
    elif data is not None:
        raise UserError(
            "--probe-data is the corpus of a recipe that is scored on the way, and there is none: add "
            "-o 'watch.probe={recipe: emotion, every: 1000}', or leave --probe-data out."
        )


def probe_score(settings: ProbeSettings, encoder: TrainableWavLM, options: PretrainingOptions) -> float:
    """Return the primary score of a recipe on a frozen copy of an encoder, in % if it is a share.

    Nothing of the run is kept: other weights have other states.
    """
    frozen = encoder.upstream("the model in training", options.device, torch.float32)
    recipe, overrides = load_overridden(settings.recipe, settings.overrides)
    own = Options(data=options.probe_data, store=options.store, overrides=overrides, progress=False)
    read = ReadCorpus.of(recipe, own)
    options.store.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(options.store) as place:
        elsewhere = replace(own, results=place / "results", store=place)
        outcome = carry_out(PlannedRun.of(frozen, read, elsewhere))
    assert outcome is not None  # this process is alone in it
    primary = outcome.result.primary
    return primary.value * (100 if outcome.result.metric_types[primary.name].percent else 1)
