"""Trials of a recipe's folds: for the test, for development, and the cohort that scores are normalised against."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import torch

from downstream.data import Corpus, Dataset, Fold, Part, Split, Utterance, parts_of_test
from downstream.tasks.verification.recipe import TrialsSettings, VerificationRecipe
from downstream.tasks.verification.trial_notes import trial_notes
from downstream.tasks.verification.trials import Trials, draw_trials, read_trials
from upstream.errors import UserError
from upstream.text import counted

# Trials by the indices of the utterances that they are among.
TrialsByUtterances = dict[tuple[int, ...], Trials]


def plan_trials(dataset: Dataset, recipe: VerificationRecipe) -> tuple[Split, TrialsByUtterances]:
    """Return the trials of every fold, and the split without development and test utterances in no trial.

    Test trials come from a list where the recipe or the corpus has one; all others are drawn. Each test part has
    separate trials, among its utterances.

    Raises UserError for a list and several folds, and for trials that cannot be read or drawn.
    """
    split, listed = dataset.split, list_of(dataset.corpus, recipe)
    if listed is not None and len(split.folds) > 1:
        raise UserError(
            f"The trial list {listed} is of one test set, and the split has {len(split.folds)} folds; choose "
            "-o trials.list=drawn, or -o split.rule=published."
        )
    trials: TrialsByUtterances = {}
    folds, notes = [], []
    for fold in split.folds:
        parts = parts_of_test(dataset, fold, recipe.split.test_parts)
        if listed is None:
            tested = [drawn(dataset, part.utterances, part.name, recipe.trials) for part in parts]
        else:
            whole = read_trials(listed, {dataset.utterances[i].id: i for i in fold.test})
            tested = [whole] if len(parts) == 1 else [among(whole, part, listed) for part in parts]
            crossing = len(whole) - sum(map(len, tested))
            which = counted(crossing, f"trial of {listed.name} is", f"trials of {listed.name} are")
            notes += [f"{which} between test parts, and left out."] * (crossing > 0)
        origin = "the draw" if listed is None else listed.name
        notes += [note for pairs in tested for note in trial_notes(dataset, pairs, origin)]
        test = tuple(sorted(index for pairs in tested for index in pairs.utterances.tolist()))
        # By SUPERB's rule the test trials choose the step.
        developed = merged(tested) if fold.dev == fold.test else drawn(dataset, fold.dev, "development", recipe.trials)
        dev = tuple(developed.utterances.tolist())
        trials |= {tuple(pairs.utterances.tolist()): pairs for pairs in (*tested, developed)}
        folds.append(replace(fold, dev=dev, test=test))
        notes += unused(fold, folds[-1])
    return replace(split, folds=tuple(folds), notes=(*split.notes, *notes)), trials


def drawn(dataset: Dataset, utterances: Sequence[int], name: str, settings: TrialsSettings) -> Trials:
    """Return trials drawn among some utterances; name: of their part, for messages.

    Raises UserError where there are too few speakers or utterances.
    """
    speakers, genders = [u.speaker for u in dataset.utterances], [u.gender for u in dataset.utterances]
    try:
        return draw_trials(speakers, genders, utterances, settings.most, settings.seed)
    except UserError as error:
        folds = " Or choose folds over all speakers with -o split.rule=speaker_folds."
        raise UserError(f"The {name} part: {error}{folds if len(dataset.split.folds) == 1 else ''}") from error


def among(trials: Trials, part: Part, path: Path) -> Trials:
    """Return the trials of a list whose utterances are both in one test part.

    Raises UserError where these lack targets or non-targets.
    """
    own = torch.tensor(part.utterances)
    inside = torch.isin(trials.enrolment, own) & torch.isin(trials.test, own)
    kept = trials.target[inside]
    if not 0 < int(kept.sum()) < len(kept):
        raise UserError(
            f"{path} has {len(kept)} trials within the test part {part.name}, {int(kept.sum())} of them targets; error "
            "rates need targets and non-targets. Leave the part out of split.test, or choose -o trials.list=drawn."
        )
    rule = f"{trials.rule} Of these, the {len(kept)} within {part.name}."
    return Trials(trials.enrolment[inside], trials.test[inside], kept, rule)


def merged(tested: Sequence[Trials]) -> Trials:
    """Return the trials of all test parts as one."""
    if len(tested) == 1:
        return tested[0]
    return Trials(
        torch.cat([trials.enrolment for trials in tested]),
        torch.cat([trials.test for trials in tested]),
        torch.cat([trials.target for trials in tested]),
        " ".join(trials.rule for trials in tested),
    )


def list_of(corpus: Corpus, recipe: VerificationRecipe) -> Path | None:
    """Return the trial list that the recipe asks for; None for drawn trials.

    Raises UserError for a list that is not there.
    """
    wanted = recipe.trials.list
    if wanted == "drawn":
        return None
    if wanted == "published":
        if recipe.protocol == "superb" and corpus.trials is None:
            raise UserError(
                f"SUPERB scores a published list of trials, and none was found beside {corpus.title} in "
                f"{corpus.source}. Put it there, name one with -o trials.list=FILE, or choose -d sv."
            )
        return corpus.trials
    for candidate in (Path(corpus.source) / wanted, Path(os.path.expanduser(wanted))):  # records say ~
        if candidate.is_file():
            return candidate
    raise UserError(f"There is no trial list {wanted}, neither in {corpus.source} nor here; fix trials.list.")


def plan_cohorts(split: Split, utterances: Sequence[Utterance], settings: TrialsSettings) -> dict[str, tuple[int, ...]]:
    """Return the cohort of each fold: the training utterances that scores are normalised against.

    Empty where scores are not normalised.

    Raises UserError for a cohort too small to normalise by.
    """
    if settings.normalisation == "none":
        return {}
    cohorts = {fold.name: cohort_of(fold.train, utterances, settings) for fold in split.folds}
    smallest = min(map(len, cohorts.values()))
    if smallest < 2:
        raise UserError(
            "A cohort of one utterance has no deviation to normalise scores by; raise trials.cohort, train on more "
            "utterances, or choose -o trials.normalisation=none."
        )
    if settings.normalisation == "as_norm" and settings.top > smallest:
        raise UserError(
            f"trials.top is {settings.top}, and the training part gives a cohort of {smallest} utterances; choose "
            f"-o trials.top={max(2, smallest // 3)}, or -o trials.normalisation=s_norm."
        )
    return cohorts


def cohort_of(train: Sequence[int], utterances: Sequence[Utterance], settings: TrialsSettings) -> tuple[int, ...]:
    """Return utterances of as many speakers as possible: a random one of every speaker, then another, …"""
    generator = torch.Generator().manual_seed(settings.seed)
    by_speaker: dict[str, list[int]] = {}
    for position in torch.randperm(len(train), generator=generator).tolist():
        by_speaker.setdefault(utterances[train[position]].speaker, []).append(train[position])
    turns = zip_longest(*by_speaker.values())  # the order of speakers is as random as that of their utterances
    dealt = [index for turn in turns for index in turn if index is not None]
    return tuple(sorted(dealt[: settings.cohort]))


def unused(fold: Fold, kept: Fold) -> list[str]:
    """Return a note on test utterances that are in no trial, if any; kept: the fold without them."""
    count = len(fold.test) - len(kept.test)
    which = counted(count, f"test utterance of {fold.name} is", f"test utterances of {fold.name} are")
    return [f"{which} in no trial, and left out."] if count else []
