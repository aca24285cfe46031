"""Fonts that have the letters of a text: labels are in any language, and the font of most pictures in few."""

from __future__ import annotations

import logging
from functools import cache

logger = logging.getLogger("wavprobe")

USUAL = "DejaVu Sans"  # matplotlib brings it: Latin, Greek, Cyrillic and some others
NORMAL = (400, "normal", "regular", "book")  # weights, as fonts state them


def families_for(text: str) -> list[str]:
    """Return the fonts to draw a text with: the usual one, then others of this system that have what it lacks."""
    lacking, families = lacking_in(USUAL, text), [USUAL]
    for family in other_families() if lacking else ():
        if len(rest := lacking_in(family, lacking)) < len(lacking):
            families.append(family)
            lacking = rest
        if not lacking:
            break
    return families


def drawable(labels: list[str]) -> list[str]:
    """Return labels as they can be drawn: "#3" for the third one where no font here has its letters, with a warning."""
    families = families_for("".join(labels))
    lost = [label for label in labels if all(lacking_in(family, label) for family in families)]
    if lost:
        logger.warning(
            "No font here has the letters of %s; install one (such as fonts-noto-cjk) to see the names of classes "
            "in pictures, which are numbered instead, as in the record.",
            ", ".join(map(repr, lost[:3])),
        )
    return [f"#{number}" if label in lost else label for number, label in enumerate(labels, 1)]


def lacking_in(family: str, text: str) -> str:
    """Return the characters of a text that a font does not have."""
    has = characters_of(family)
    return "".join(sorted({one for one in text if one.isprintable() and ord(one) not in has}))


@cache
def characters_of(family: str) -> frozenset[int]:
    """Return the characters of a font; none where it cannot be read."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(font_files()[family]).get_charmap())
    except (KeyError, OSError, RuntimeError, ValueError):
        return frozenset()


@cache
def other_families() -> tuple[str, ...]:
    """Return the fonts of this system, those without serifs first."""
    return tuple(sorted(font_files().keys() - {USUAL}, key=lambda name: ("Sans" not in name, "Mono" in name, name)))


@cache
def font_files() -> dict[str, str]:
    """Return the file of each font of this system that is upright and of normal weight."""
    from matplotlib.font_manager import fontManager

    normal = [entry for entry in fontManager.ttflist if entry.style == "normal" and entry.weight in NORMAL]
    return {entry.name: entry.fname for entry in normal if "Last Resort" not in entry.name}  # which has boxes alone
