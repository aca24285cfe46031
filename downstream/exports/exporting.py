"""Records to one file, whose ending says in which form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from downstream.exports.latex_table import latex_table
from downstream.exports.model_index import model_card
from downstream.exports.superb_submission import submission
from downstream.results import RECORD, Result, checked_records
from downstream.tasks import trust
from upstream.errors import UserError
from upstream.files import write_atomically

ENDINGS = {".zip": "SUPERB's submission", ".md": "a model card with a model-index", ".tex": "a LaTeX table"}


def export_records(
    places: Sequence[str | Path], to: str | Path, seed: int | None = None, families: Sequence[str] = ()
) -> Path:
    """Write what is asked for by the ending of a file, from records; return its path.

    places: runs' folders, folders of many runs, or records. to: FILE.zip, FILE.md or FILE.tex; what is there is
        replaced, but for a model card, which keeps everything except the scores that are given anew.
    seed: whose predictions are submitted, where a run has several. families: "module.py:Family" of external families
        whose code is trusted.

    Raises UserError where there is no record, or the records cannot be written in this form.
    """
    place = Path(to)
    if place.suffix not in ENDINGS:
        known = ", ".join(f"{ending} for {form}" for ending, form in ENDINGS.items())
        raise UserError(f"The ending of {place} names no form of records; end it in {known}.")
    if place.is_dir():
        raise UserError(f"{place} is a folder; name a file.")
    if seed is not None and place.suffix != ".zip":
        raise UserError("A seed is chosen for a submission alone (FILE.zip); tables have the mean over all seeds.")
    trust(families)
    results = records_in(places, families)
    if place.suffix == ".zip":
        content = submission(results, seed)
    elif place.suffix == ".tex":
        content = latex_table(results).encode()
    else:
        content = model_card(results, place.read_text(encoding="utf-8") if place.exists() else None).encode()
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, content)
    return place


def records_in(places: Sequence[str | Path], families: Sequence[str]) -> list[Result]:
    """Return the records in files and below folders, each one checked, and copies of one run once.

    Raises UserError where there is none, and for one that contradicts its files, itself or another one.
    """
    found = checked_records(places, families)
    if found.refused:
        raise UserError(found.refused[0].why)
    if not found.kept:
        named = ", ".join(map(str, places))
        raise UserError(f"There is no record ({RECORD}) below {named}; name the folder of a run, or of several.")
    return [one.result for one in found.kept]
