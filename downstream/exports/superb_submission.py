"""SUPERB's submission: predict.zip with one folder a task, as s3prl's submit/submit.py packs it."""

from __future__ import annotations

import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from downstream.exports.one_upstream import refuse_several_upstreams
from downstream.report import why_incomparable
from downstream.results import HeadItems, Result, items_of_heads
from downstream.statistics import Items
from downstream.tasks import load_recipe
from upstream.errors import UserError

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the time of every file, so that equal predictions give equal bytes


@dataclass(frozen=True)
class SubmittedTask:
    """How one task is submitted.

    items: in the test set of the protocol. lines: of its file, from tested items. file: its name.
    folder: where it goes; of the record's resolved recipe and the fold.
    folds: that must be there.
    """

    items: int
    lines: Callable[[Items], Iterator[str]]
    file: str
    folder: Callable[[dict[str, Any], str], str]
    folds: int = 1


# ---------------------------------------------------------------- lines

SHORT_EMOTIONS = {"neutral": "neu", "happy": "hap", "angry": "ang", "sad": "sad"}  # s3prl's names of the classes


def answers(items: Items) -> Sequence[str]:
    """Return what a head that answers in words said of each item."""
    assert items.answers is not None, "only trials have none"
    return items.answers


def keyword_lines(items: Items) -> Iterator[str]:
    """Yield "<folder>-<file>.wav <class>"."""
    for name, answer in zip(items.ids, answers(items), strict=True):
        folder, stem = PurePosixPath(name).parts[-2:]
        yield f"{folder}-{stem}.wav {answer}"


def emotion_lines(items: Items) -> Iterator[str]:
    """Yield "<stem> <emotion>"."""
    for name, answer in zip(items.ids, answers(items), strict=True):
        yield f"{name} {SHORT_EMOTIONS[answer]}"


def transcript_lines(items: Items) -> Iterator[str]:
    """Yield "<utterance> WORDS"."""
    for name, answer in zip(items.ids, answers(items), strict=True):
        yield f"{name} {answer}".rstrip()


def trial_lines(items: Items) -> Iterator[str]:
    """Yield "<id>-<video>-<number>_<id>-<video>-<number> <score>"."""
    scores: Sequence[float] = items.scores.tolist()  # type: ignore[attr-defined]  # trials have scores in place of answers
    for pair, score in zip(items.ids, scores, strict=True):
        names = ("-".join(PurePosixPath(name).with_suffix("").parts[-3:]) for name in pair.split(" "))
        yield f"{'_'.join(names)} {score:.9g}"


def recognition_folder(recipe: dict[str, Any], fold: str) -> str:
    """Return the folder of transcripts, which differs with the language model."""
    return "asr_public" if recipe["decoding"]["language_model"] is None else "asr_lm_public"


# By the recipe that carries the protocol out. The numbers are those of the published test sets.
TASKS = {
    "superb/ks": SubmittedTask(3_081, keyword_lines, "predict.txt", lambda recipe, fold: "ks_public"),
    "superb/er": SubmittedTask(5_531, emotion_lines, "predict.txt", lambda recipe, fold: f"er_{fold}_public", folds=5),
    "superb/asr": SubmittedTask(2_620, transcript_lines, "predict.ark", recognition_folder),
    "superb/asv": SubmittedTask(37_720, trial_lines, "predict.txt", lambda recipe, fold: "sv_public"),
}

# ---------------------------------------------------------------- archive


def submission(results: Sequence[Result], seed: int | None = None) -> bytes:
    """Return predict.zip of one upstream's runs, one a task; some tasks may be missing.

    seed: of the heads to submit, where a run has several.

    Raises UserError, naming the run and the reason, for a run that departs from the protocol or is incomplete, for
    two runs of one task, and for runs of different upstreams.
    """
    refuse_several_upstreams(results, "A submission")
    files: dict[str, str] = {}
    owners: dict[str, Result] = {}
    for result in results:
        refuse_departures(result)
        task = TASKS[result.recipe.name]
        for place, lines in predictions_of(result, task, chosen_seed(result, seed)).items():
            if place in owners:
                raise UserError(
                    f"{result.folder} and {owners[place].folder} are both runs for {PurePosixPath(place).parts[1]}; "
                    "name one of them."
                )
            files[place], owners[place] = lines, result
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(place, LONG_AGO), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def predictions_of(result: Result, task: SubmittedTask, seed: int) -> dict[str, str]:
    """Return every file of a task by its place; raise UserError where some of the test set is missing."""
    by_place: dict[str, list[HeadItems]] = defaultdict(list)
    for found in items_of_heads(result, result.layers[0].layer):
        if found.head.seed == seed and found.part == result.primary.part:
            by_place[f"predict/{task.folder(result.recipe.resolved, found.head.fold)}/{task.file}"].append(found)
    tested = sum(len(found.items) for several in by_place.values() for found in several)
    if len(by_place) != task.folds or tested != task.items:
        raise refusal(
            result,
            f"it tested {tested:,} items in {len(by_place)} folds, and the test set of {result.recipe.name} has "
            f"{task.items:,} in {task.folds}",
        )
    return {
        place: "".join(f"{line}\n" for found in several for line in task.lines(found.items))
        for place, several in by_place.items()
    }


def chosen_seed(result: Result, seed: int | None) -> int:
    """Return the seed whose heads are submitted; raise UserError where that is open."""
    seeds = sorted({head.seed for head in result.primary_heads()})
    if seed is None and len(seeds) == 1:
        return seeds[0]
    if seed not in seeds:
        listed = ", ".join(map(str, seeds))
        asked = "a submission has the predictions of one" if seed is None else f"{seed} is none of them"
        raise UserError(f"{result.folder} has the seeds {listed}, and {asked}; choose it with --seed.")
    return seed


def refuse_departures(result: Result) -> None:
    """Raise UserError where a run is none of SUPERB's protocol as the leaderboard means it."""
    if result.finetuning is not None:
        raise refusal(result, "its encoder was fine-tuned, and SUPERB's protocol is of frozen ones")
    if result.recipe.name not in TASKS or result.recipe.protocol != "superb":
        raise refusal(result, f"it is a run of {result.recipe.name}, and only {', '.join(TASKS)} can be submitted")
    if result.upstream.random_init:
        raise refusal(result, "its upstream is untrained")
    if why := why_incomparable(result):
        raise refusal(result, why.rstrip("."))
    current = load_recipe(result.recipe.name).version
    if result.recipe.version != current:
        raise refusal(
            result, f"it is of version {result.recipe.version} of {result.recipe.name}, which is now {current}"
        )


def refusal(result: Result, why: str) -> UserError:
    """Return the error for a run that cannot be submitted."""
    return UserError(f"{result.folder} cannot be submitted to SUPERB: {why}. Leave this run out.")
