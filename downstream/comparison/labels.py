"""Names of the sides of comparisons, by which a reader tells them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from downstream.comparison.side import Side
from downstream.recipes import FINE_TUNED
from downstream.results import short_name

# What may tell two scores of one upstream apart, in this order; only what does is in their names.
KINDS: tuple[Callable[[Side], str], ...] = (
    lambda side: side.result.recipe.name,
    lambda side: "weighted sum" if side.setting is None else f"layer {side.layer}",
    lambda side: ", ".join(side.result.recipe.overrides),
    lambda side: "seeds " + " ".join(dict.fromkeys(str(head.seed) for head in side.heads)),
    lambda side: Path(side.place).name,
    lambda side: side.place,
)


def labels_of(sides: Sequence[Side]) -> list[str]:
    """Return the upstream of each side, where it has several of them with what else tells these apart."""
    labels = list(map(upstream_label, sides))
    for kind in KINDS:
        if len(set(labels)) == len(labels):
            break
        labels = distinguished(labels, list(map(kind, sides)))
    return labels


def distinguished(labels: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return labels; equal ones with more words, where these are not equal as well."""
    times = Counter(labels)
    kinds = {label: {word for one, word in zip(labels, more, strict=True) if one == label} for label in times}
    return [
        f"{label}, {word}" if word and len(kinds[label]) > 1 else label
        for label, word in zip(labels, more, strict=True)
    ]


def upstream_label(side: Side) -> str:
    """Return the name of an upstream, of a path its end; and whether it is untrained, or was fine-tuned."""
    upstream = side.result.upstream
    marks = ["untrained"] * upstream.random_init + [FINE_TUNED] * (side.result.finetuning is not None)
    return ", ".join((short_name(upstream.name), *marks))
