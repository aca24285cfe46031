"""The head that learned from all data: how development would have it, and its place beside the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median_low

from downstream.data import Dataset
from downstream.recipes import Options
from downstream.results.artifacts import FINAL
from downstream.results.folder import RECORD
from downstream.results.head_file import NamedHead, of_record, outputs_of, written_heads
from downstream.results.integrity import digests
from downstream.results.record import FinalRecord, HeadRecord, Result, write_result
from downstream.tasks import Task
from downstream.training import Config, Fit
from upstream.files import write_atomically


def lacks_final_head(result: Result) -> bool:
    """Return True unless a run has a head that learned from all data."""
    return result.final is None or result.folder is None or not (result.folder / FINAL).is_file()


def final_config(result: Result) -> tuple[Config, int]:
    """Return the config of a head to learn from all data, and its steps.

    Rate and layer are the pair that development chose for most folds and seeds of the run's score, of several the one
    with the best development score; the steps are the median of theirs, the seed the first one's.
    """
    heads = result.primary_heads()
    sign = 1 if result.metric_types[result.select].higher_is_better else -1
    counted = Counter((head.lr, head.layer) for head in heads)

    def of_pair(pair: tuple[float | None, int | None]) -> Sequence[HeadRecord]:
        return [head for head in heads if (head.lr, head.layer) == pair]

    best = max(counted, key=lambda pair: (counted[pair], fmean(sign * head.development for head in of_pair(pair))))
    own = of_pair(best)
    return Config(best[0], own[0].seed, best[1]), median_low(head.step for head in own)


def record_final(
    result: Result, fit: Fit, task: Task, dataset: Dataset, reduction: str, options: Options, folder: Path
) -> Result:
    """Write the head that learned from all data, and enter it into the record; return the record.

    dataset: with the one fold that trains on all data. reduction: of the states that heads read.
    """
    config, (fold,) = fit.config, dataset.split.folds
    head = NamedHead(
        fold=fold.name,
        seed=config.seed,
        setting=result.layers[0].layer,
        layer=config.layer,
        lr=config.lr,
        step=fit.step,
        development=None,
    )
    outputs = {fold.name: outputs_of(task, fold, options)}
    about = of_record(result, outputs, reduction, options.seed).model_copy(
        update={"heads": {fold.name: head}, "primary": [fold.name]}
    )
    content = written_heads({f"{fold.name}.{part}": tensor for part, tensor in fit.weights.items()}, about)
    write_atomically(folder / FINAL, content)
    entered = FinalRecord(
        lr=config.lr,
        seed=config.seed,
        layer=config.layer,
        step=fit.step,
        utterances=len(fold.train),
        seconds=round(sum(dataset.items[index].seconds for index in fold.train), 2),
    )
    artifacts = result.artifacts | digests({FINAL: content})
    changed = result.model_copy(update={"final": entered, "artifacts": artifacts})
    write_result(folder / RECORD, changed)
    return changed
