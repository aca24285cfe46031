"""One thing that was found about an upstream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from upstream.errors import UserError

OK, NOTE = "ok", "note"


@dataclass(frozen=True)
class Finding:
    """What a step found.

    step: one or two words. found: a sentence. verdict: OK, or NOTE for what a user should know or may want to change.
    values: the numbers of the sentence.
    """

    step: str
    found: str
    verdict: str = OK
    values: Mapping[str, float | int | str] = field(default_factory=dict)


Tell = Callable[[Finding], None]


def words_of_model(error: UserError, name: str) -> str:
    """Return the words of an error of the upstream of that name, which the reader knows by now."""
    return str(error).replace(f"The model of {name}", "it").rstrip(".")


def joined(parts: list[str]) -> str:
    """Return parts of a sentence as one."""
    return "; ".join(parts)
