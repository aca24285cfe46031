"""What of a corpus a recipe can learn from: utterances with a class, with a transcript, or with a speaker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import yaml

from downstream.corpora.silence import consecutive_windows
from downstream.corpora.table import Corpus, Utterance
from downstream.recipe import Recipe
from downstream.transcripts.text import normalise
from upstream.errors import MendableError


@dataclass(frozen=True)
class Learnable:
    """The utterances that are used, and what is learned of them.

    column: a column of labels, "text" or "speaker". classes, targets: the classes, and the number of every
    utterance's own, of classification. texts: normalised transcripts, of recognition.
    """

    column: str
    utterances: tuple[Utterance, ...]
    classes: tuple[str, ...] = ()
    targets: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def choose_utterances(recipe: Recipe, corpus: Corpus) -> Learnable:
    """The utterances that the recipe's task can be learned from, sorted by id.

    Raises MendableError where there are none, and says which there are.
    """
    families = {"classification": with_classes, "recognition": with_texts, "verification": with_speakers}
    return families[recipe.task](recipe, corpus)


# ---------------------------------------------------------------- classification


def with_classes(recipe: Recipe, corpus: Corpus) -> Learnable:
    """The utterances of the recipe's classes; if it says so, others as one class, and silence cut from noise."""
    settings = recipe.corpus
    column = label_column(corpus, settings.label)
    labelled = [u for u in corpus.utterances if column in u.labels]
    spoken, noise = apart(labelled, column, settings.silence.label if settings.silence else None)
    in_parts = [u for u in spoken if u.split is not None]  # what has none may have labels that are no classes
    named = settings.classes or tuple(sorted({u.labels[column] for u in in_parts or spoken}))
    further = [settings.others, settings.silence.name if settings.silence else None]
    classes = named + tuple(name for name in further if name is not None and name not in named)
    if settings.silence is not None:
        spoken += quiet(noise, recipe, column)

    def class_of(utterance: Utterance) -> str | None:
        label = utterance.labels[column]
        return label if label in classes else settings.others

    used = tuple(sorted((u for u in spoken if class_of(u) is not None), key=lambda u: u.id))
    found = Counter(class_of(u) for u in used)
    absent = [name for name in classes if not found[name]]
    if absent or len(classes) < 2:
        there = yaml.safe_dump(sorted({u.labels[column] for u in labelled}), default_flow_style=True, width=10_000)
        silence = settings.silence.name if settings.silence else None
        keys = {settings.others: "corpus.others=null", silence: "corpus.silence=null"}
        mends = dict.fromkeys(f"-o {keys.get(name, 'corpus.classes=[…]')}" for name in absent or ("any",))
        raise MendableError(
            f"{corpus.title} in {corpus.source} has no utterance of class {', '.join(absent) or '(any other)'}; the "
            f"labels in its column {column!r} are {there.strip()}. Mend the recipe with {' '.join(mends)}."
        )
    number = {name: index for index, name in enumerate(classes)}
    return Learnable(column, used, classes, tuple(number[str(class_of(u))] for u in used))


def apart(
    labelled: Sequence[Utterance], column: str, noise_label: str | None
) -> tuple[list[Utterance], list[Utterance]]:
    """Utterances of speech, and recordings of background noise."""
    noise = [u for u in labelled if not u.speech or u.labels[column] == noise_label]
    marked = {u.id for u in noise}
    return [u for u in labelled if u.id not in marked], [replace(u, speech=False) for u in noise]


def quiet(noise: Sequence[Utterance], recipe: Recipe, column: str) -> list[Utterance]:
    """What the class of silence is learned from: windows of the recordings, or with SUPERB's rule the recordings.

    Clips that are of that class already (of the official test archive) stay as they are.
    """
    settings = recipe.corpus.silence
    assert settings is not None
    ready = [u for u in noise if u.labels[column] == settings.name]
    recordings = [replace(u, labels={column: settings.name}) for u in noise if u.labels[column] == settings.label]
    if recipe.split.rule != "superb_ks":
        recordings = [window for u in recordings for window in consecutive_windows(u, settings.seconds)]
    return ready + recordings


def label_column(corpus: Corpus, wanted: Sequence[str]) -> str:
    """The first of the recipe's label columns that the corpus has."""
    columns = sorted({column for u in corpus.utterances for column in u.labels})
    for column in wanted:
        if column in columns:
            return column
    raise MendableError(
        f"{corpus.title} in {corpus.source} has no label column {' or '.join(wanted)}; found "
        f"{', '.join(columns) or 'none'}. "
        "Name one with -o corpus.label=…, or choose another corpus with -c."
    )


# ---------------------------------------------------------------- recognition and verification


def with_texts(recipe: Recipe, corpus: Corpus) -> Learnable:
    """The utterances that have a transcript with a letter or digit in it."""
    texts = {u.id: normalise(u.text) for u in corpus.utterances if u.text}
    used = tuple(sorted((u for u in corpus.utterances if texts.get(u.id)), key=lambda u: u.id))
    if not used:
        raise MendableError(
            f"{corpus.title} in {corpus.source} has no transcripts; write them into the column text of a manifest.csv "
            "(-c manifest), or choose another corpus with -c."
        )
    return Learnable(
        "text", used, texts=tuple(texts[u.id] for u in used), notes=left_out(corpus, used, "have no transcript")
    )


def with_speakers(recipe: Recipe, corpus: Corpus) -> Learnable:
    """The utterances whose speaker is known."""
    used = tuple(sorted((u for u in corpus.utterances if u.speech and u.speaker), key=lambda u: u.id))
    if len({u.speaker for u in used}) < 2:
        raise MendableError(
            f"{corpus.title} in {corpus.source} does not name two speakers; write them into the column speaker of a "
            "manifest.csv (-c manifest), or choose another corpus with -c."
        )
    return Learnable("speaker", used, notes=left_out(corpus, used, "name no speaker"))


def left_out(corpus: Corpus, used: Sequence[Utterance], why: str) -> tuple[str, ...]:
    """A sentence on utterances that cannot be used, or none."""
    count = len(corpus.utterances) - len(used)
    return (f"{count} utterances {why} and were left out.",) if count else ()
