"""The division of the utterances that a task uses: the rule of a recipe, or the one that takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from downstream.data import drawn_splits, splits, superb_emotion_split, superb_splits
from downstream.data.published_split import published_split
from downstream.data.splits import PARTS, Split, ties_of
from downstream.recipes import Recipe, SplitSettings

if TYPE_CHECKING:
    from downstream.data.choice import Choice
    from downstream.data.corpus import Utterance

DRAWN_PARTS = "drawn_parts"
FOLDS = ("speaker_folds", "clip_folds")


def rule_for(settings: SplitSettings, utterances: Sequence[Utterance]) -> str:
    """Return the rule that the utterances can follow: that of the recipe, or the nearest one.

    Where some speech is of nobody known, there are no folds of disjoint speakers: a corpus that has parts of its own is
    divided by these, any other by clip. A corpus that has no parts is divided by a draw; one that is published in parts
    and lacks its lists still has names of parts, and follows the rule to a refusal.
    """
    spoken = [utterance for utterance in utterances if utterance.speech]
    if settings.rule == "published" and not any(utterance.split or utterance.part for utterance in spoken):
        return DRAWN_PARTS
    nameless = any(not u.speaker for u in spoken) and any(u.group is None for u in spoken)
    if settings.rule == "speaker_folds" and nameless:
        return "published" if has_parts(spoken) else "clip_folds"
    return settings.rule


def has_parts(spoken: Sequence[Utterance]) -> bool:
    """Return True if there are train and test parts, which share no known speaker, no group and no recording."""
    divided = [utterance for utterance in spoken if utterance.split is not None]
    place: dict[tuple[str, str], str | None] = {}
    apart = all(place.setdefault(tie, u.split) == u.split for u in divided for tie in ties_of(u, by_speaker=True))
    return apart and {"train", "test"} <= {utterance.split for utterance in divided}


def depends_on_audio(rule: str) -> bool:
    """Return True for a rule that keeps equal audio together, so that all of it has to be read before."""
    return rule in (DRAWN_PARTS, "clip_folds")


def divide(choice: Choice, recipe: Recipe) -> tuple[Choice, Split]:
    """Return the folds by the recipe's rule, and the utterances; SUPERB's keyword spotting adds windows of noise.

    Raises UserError where the utterances cannot be divided so.
    """
    divided, split = divided_by_rule(choice, recipe)
    return divided, replace(split, notes=(*split.notes, *unused_settings(recipe.split, choice.utterances)))


def unused_settings(settings: SplitSettings, utterances: Sequence[Utterance]) -> list[str]:
    """Return a sentence on each setting of which the division makes no use."""
    rule, notes = rule_for(settings, utterances), []
    if settings.seed and not depends_on_audio(rule):
        notes.append("split.seed changed nothing: this division is not drawn with it.")
    named = [f"split.{name}" for name in PARTS if getattr(settings, name)]
    if rule in FOLDS and named:
        notes.append(f"{', '.join(named)} changed nothing: folds are made of all parts, and each is tested once.")
    return notes


def unused_parts(settings: SplitSettings, utterances: Sequence[Utterance]) -> list[str]:
    """Return a sentence on parts that the corpus has and the folds make no use of."""
    spoken = [utterance for utterance in utterances if utterance.speech]
    parts = sorted({str(u.part or u.split) for u in spoken if u.part or u.split})
    if not parts or rule_for(settings, utterances) not in FOLDS:
        return []
    fix = "; -o split.rule=published takes them" if {"train", "test"} <= {u.split for u in spoken} else ""
    return [f"The corpus's own division ({', '.join(parts)}) is not used: folds are made of all its parts{fix}."]


def divided_by_rule(choice: Choice, recipe: Recipe) -> tuple[Choice, Split]:
    """As `divide`, without notes on what is not used."""
    settings, utterances = recipe.split, choice.utterances
    rule, fewest = rule_for(settings, utterances), fewest_in_part(choice)
    if rule == "superb_ks":
        assert choice.noise_seconds is not None
        numbers = [choice.classes.index(label) for label in choice.labels]
        widened, split = superb_splits.superb_ks(utterances, numbers, choice.noise_seconds)
        added = tuple(u.labels[choice.column] for u in widened[len(utterances) :])
        return replace(choice, utterances=widened, labels=choice.labels + added), split
    parts = {"train": settings.train, "dev": settings.dev, "test": settings.test}
    if rule == "superb_asv":
        return choice, superb_splits.superb_asv(utterances, parts)
    if rule == "superb_er":
        lists = superb_emotion_split.superb_lists() if recipe.corpus.name == "iemocap" else None
        return choice, superb_emotion_split.superb_er(utterances, lists)
    if rule == "published":
        split = published_split(utterances, parts, settings.shared_speakers, fewest)
        replaced = "Not all speakers are known: the corpus's own parts are used in place of folds over speakers."
        return choice, replace(split, notes=(*split.notes, *([replaced] if rule != settings.rule else [])))
    if rule == "speaker_folds":
        has_sessions = all(u.group is not None for u in utterances)
        return choice, splits.speaker_folds(utterances, None if has_sessions else settings.folds, fewest)
    keep_speakers = settings.rule != "clip_folds" and not settings.shared_speakers
    clips = drawn_splits.Clips(utterances, choice.labels, [item.digest for item in choice.items], keep_speakers)
    if rule == DRAWN_PARTS:
        return choice, drawn_splits.drawn_split(clips, settings.seed, fewest)
    return choice, drawn_splits.clip_folds(clips, settings.folds, settings.seed)


def fewest_in_part(choice: Choice) -> int:
    """Return how many speakers a part must have: two where it is learned who speaks."""
    return 2 if choice.column == "speaker" else 1
