"""Small fine-tuned runs of every family, on the tones of `small_runs`; as a program, in two processes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from small_runs import MANIFEST
from torch import Tensor, nn

import upstream
from downstream import experiment
from downstream.finetuning.learner import FineTuning
from downstream.recipes import Options
from downstream.results import Result
from downstream.training import Update
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors
from upstream.ranks import ALONE, Ranks, current
from upstream.wavlm.products import Packable
from upstream.wavlm.upstream import WavLMUpstream

FEW = (*MANIFEST, "training.steps=4", "training.evaluate_every=2")
VERIFICATION = (*FEW, "split.longer_than=0", "training.batch=6")
TUNED = {
    "class": ("emotion", *FEW, "training.batch=5", "training.accumulate=2", "finetune.lr=1e-3"),
    "text": ("asr", *FEW, "head.projection=16", "head.hidden=16", "head.depth=1", "training.batch_seconds=2",
             "finetune.lr=1e-3"),
    "speaker": ("sv_xvector", *VERIFICATION, "head.projection=8", "training.crop.seconds=0.2", "finetune.lr=1e-3"),
    "embedding": ("sv_linear", *VERIFICATION, "sweep.lr=[1e-4, 1e-3]", "finetune={}"),
}  # fmt: skip


def small_wavlm() -> Upstream:
    return upstream.load("wavlm_nano", random_init=True, seed=3)


def live_weights(model: Upstream) -> dict[str, Tensor]:
    """Return the weights that are in memory now, also of those in oneDNN's layout, by name."""
    own: nn.Module = vars(model)["model"]
    found = {name: parameter.detach() for name, parameter in own.named_parameters()}
    for name, module in own.named_modules():
        if isinstance(module, Packable) and module.is_packed:
            found[f"{name}.weight"] = module.weight.to_dense()
    assert isinstance(model, WavLMUpstream)
    assert found.keys() == {name for name, _ in model.checkpoint().build().named_parameters()}
    return found


def live_digest(model: Upstream) -> str:
    """Return the fingerprint of the weights that are in memory now."""
    return fingerprint_tensors(live_weights(model), {})


def run_on(
    model: Upstream,
    recipe: str,
    overrides: Sequence[str],
    corpus: Path,
    place: Path,
    ranks: Ranks = ALONE,
    **options: Any,
) -> Result | None:
    """Return the record of a run; None in a process that records nothing."""
    chosen, changed = experiment.chosen_recipe(recipe, overrides)
    places = {"data": corpus, "results": place / "results", "store": place / "store"}
    given = Options(**places, seed=3, progress=False, overrides=changed, **options)
    outcome = experiment.run(model, chosen, given, ranks)
    return None if outcome is None else outcome.result


def tuned_run(family: str, corpus: Path, place: Path, *overrides: str, **options: Any) -> Result:
    """Return the record of a fine-tuned run of an untrained WavLM."""
    recipe, *own = TUNED[family]
    result = run_on(small_wavlm(), recipe, [*own, *overrides], corpus, place, **options)
    assert result is not None
    return result


def one_of_several(corpus: Path, place: Path) -> None:
    """Carry out a run with other processes, then one in which the second process fails."""
    torch.set_num_threads(1)
    ranks = current()
    ranks.meet()
    recipe, *own = TUNED["class"]
    run_on(small_wavlm(), recipe, own, corpus, place, ranks)
    learn = FineTuning.learn

    def failing(self: FineTuning, updates: Sequence[Update]) -> torch.Tensor:
        if not ranks.main and updates[-1].step > 2:
            raise UserError("It fails.")
        return learn(self, updates)

    FineTuning.learn = failing  # type: ignore[method-assign]
    run_on(small_wavlm(), recipe, [*own, "optimizer.lr=1e-4"], corpus, place, ranks)


def both_of_two(corpus: Path, place: Path) -> None:
    """Carry out `one_of_several` in two processes, which import once, since the second is a fork of the first.

    What each ends with is left in PLACE/said-0 and PLACE/said-1.
    """
    importlib.import_module("torch._dynamo")  # as optimisers do
    forked = os.fork()
    rank = "0" if forked else "1"
    os.environ |= {"WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}
    try:
        one_of_several(corpus, place)
    except UserError as error:
        (place / f"said-{rank}").write_text(str(error))
    if forked:
        os.waitpid(forked, 0)


if __name__ == "__main__":
    both_of_two(*map(Path, sys.argv[1:]))
