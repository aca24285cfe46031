"""Which verification trials a recipe's folds are tested and developed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import torch

from downstream.corpora.splits import Fold, Split
from downstream.corpora.table import Corpus, Utterance
from downstream.recipe import Recipe
from downstream.settings import TrialsSettings
from downstream.speakers.trials import Trials, draw_trials, read_trials
from upstream.errors import MendableError

# The trials among some utterances, by the indices of these.
TrialsByUtterances = dict[tuple[int, ...], Trials]


def plan_trials(
    split: Split, utterances: Sequence[Utterance], corpus: Corpus, recipe: Recipe
) -> tuple[Split, TrialsByUtterances]:
    """The trials of every fold, and the split with no other development and test utterances than theirs.

    The test's come from a list where the recipe or the corpus has one; all others are drawn.
    """
    published = list_of(corpus, recipe)
    if published is not None and len(split.folds) > 1:
        raise MendableError(
            f"The trial list {published} is of one test set, and the split has {len(split.folds)} folds; choose "
            "-o trials.list=drawn, or -o split.rule=published."
        )
    settings = recipe.trials
    speakers, genders = [u.speaker for u in utterances], [u.gender for u in utterances]
    trials: TrialsByUtterances = {}
    folds = []

    def drawn(part: Sequence[int], name: str) -> Trials:
        try:
            return draw_trials(speakers, genders, part, settings.most, settings.seed)
        except MendableError as error:
            raise MendableError(f"The {name} part: {error}") from error

    for fold in split.folds:
        tested = (
            drawn(fold.test, "test")
            if published is None
            else read_trials(published, {utterances[i].id: i for i in fold.test})
        )
        developed = tested if fold.dev == fold.test else drawn(fold.dev, "development")
        dev, test = (tuple(pairs.utterances.tolist()) for pairs in (developed, tested))
        trials |= {dev: developed, test: tested}
        folds.append(replace(fold, dev=dev, test=test))
    notes = [note for fold in split.folds for note in unused(fold, folds)]
    return replace(split, folds=tuple(folds), notes=(*split.notes, *notes)), trials


def list_of(corpus: Corpus, recipe: Recipe) -> Path | None:
    """The trial list that the recipe asks for; None for drawn trials."""
    wanted = recipe.trials.list
    if wanted == "drawn":
        return None
    if wanted == "published":
        if recipe.protocol == "superb" and corpus.trials is None:
            raise MendableError(
                f"SUPERB scores a published list of trials, and none was found beside {corpus.title} in "
                f"{corpus.source}. Put it there, name one with -o trials.list=FILE, or choose -d sv."
            )
        return corpus.trials
    for candidate in (Path(corpus.source) / wanted, Path(wanted)):
        if candidate.is_file():
            return candidate
    raise MendableError(f"There is no trial list {wanted}, neither in {corpus.source} nor here; mend trials.list.")


def plan_cohorts(split: Split, utterances: Sequence[Utterance], settings: TrialsSettings) -> dict[str, tuple[int, ...]]:
    """The utterances of each fold against which scores are normalised: the training speakers in turn, one each.

    Empty where scores are not normalised.
    """
    if settings.normalisation == "none":
        return {}
    cohorts = {fold.name: cohort_of(fold.train, utterances, settings) for fold in split.folds}
    smallest = min(map(len, cohorts.values()))
    if smallest < 2:
        raise MendableError(
            "A cohort of one utterance has no deviation to normalise scores by; raise trials.cohort, train on more, or "
            "choose -o trials.normalisation=none."
        )
    if settings.normalisation == "as_norm" and settings.top > smallest:
        raise MendableError(
            f"trials.top is {settings.top}, and the training part gives a cohort of {smallest} utterances; choose "
            f"-o trials.top={max(2, smallest // 3)}, or -o trials.normalisation=s_norm."
        )
    return cohorts


def cohort_of(train: Sequence[int], utterances: Sequence[Utterance], settings: TrialsSettings) -> tuple[int, ...]:
    """Utterances of as many speakers as possible: a random one of every speaker, then another of every one …"""
    generator = torch.Generator().manual_seed(settings.seed)
    by_speaker: dict[str, list[int]] = {}
    for position in torch.randperm(len(train), generator=generator).tolist():
        by_speaker.setdefault(utterances[train[position]].speaker, []).append(train[position])
    turns = zip_longest(*by_speaker.values())  # the order of speakers is as random as that of their utterances
    dealt = [index for turn in turns for index in turn if index is not None]
    return tuple(sorted(dealt[: settings.cohort]))


def unused(fold: Fold, folds: Sequence[Fold]) -> list[str]:
    """A sentence on test utterances that are in no trial, or none."""
    kept = next(one for one in folds if one.name == fold.name)
    count = len(fold.test) - len(kept.test)
    return [f"{count} test utterances of {fold.name} are in no trial and were left out."] if count else []
