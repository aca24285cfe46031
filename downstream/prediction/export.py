"""A run's heads as one file to be shared, and a model card beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from downstream.prediction.card import CARD_BEGINS, card_of
from downstream.prediction.sources import SUFFIX, about_heads, chosen_heads, located
from downstream.results import RECORD, HeadFile, opened_heads, predictor_of, written_heads
from downstream.tasks import errors_named, is_external
from upstream.errors import UserError
from upstream.files import write_atomically


def export(run: str | Path, to: str | Path, names: Sequence[str] = (), family: str | None = None) -> tuple[Path, Path]:
    """Write heads of a run, with all that applying them needs, and their model card; return both paths.

    run: a run's folder or its result.json. to: the file, FILE.safetensors; the card is FILE.md. names: of the heads;
        none for those that `predict` takes. family: "module.py:Family" of an external family.

    Raises UserError where there is no run, and for a place that is none for such a file.
    """
    source, place = located(run, names), checked_place(Path(to))
    if source.record is None:
        raise UserError(f"{source.path} has no record beside it, of which the model card is made; name a run's folder.")
    with opened_heads(source.path) as tensors:
        about, kind, recipe = about_heads(source, tensors, family)
        with errors_named(recipe.task):
            predictor = predictor_of(next(iter(about.heads)), about, kind)
            averages, compares = predictor.averages and not about.encoders, predictor.compares
        chosen = chosen_heads(about, names, averages)
        kept = portable(about.only(chosen))
        content = written_heads(
            {f"{name}.{part}": tensor for name in chosen for part, tensor in tensors.of(name).items()}, kept
        )
    card = place.with_suffix(".md")
    refuse_other_text(card)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, content)  # first: a card describes what is there
    write_atomically(card, card_of(kept, source.record, place.name, compares).encode())
    return place, card


def portable(about: HeadFile) -> HeadFile:
    """Return metadata whose external family, if it is of one, is named without the folder that it lay in."""
    if not is_external(about.task):
        return about
    task = Path(about.task).name
    return about.model_copy(update={"task": task, "recipe": about.recipe | {"task": task}})


def refuse_other_text(card: Path) -> None:
    """Raise UserError where the card's file is no model card of wavprobe: a README.md is somebody's work."""
    if card.exists() and not card.read_bytes().startswith(CARD_BEGINS.encode()):
        raise UserError(
            f"{card} is there, and is no model card of wavprobe; name another file than {card.stem}{SUFFIX}."
        )


def checked_place(to: Path) -> Path:
    """Return the file that heads are written to; raise UserError for a folder, another ending, and a run's own file."""
    if to.is_dir():
        raise UserError(f"{to} is a folder; name the file, such as {to / 'head.safetensors'}.")
    if to.suffix != SUFFIX:
        raise UserError(f"{to} does not end in {SUFFIX}, the format it has; name it {to.with_suffix(SUFFIX)}.")
    if (to.parent / RECORD).is_file():
        raise UserError(f"{to.parent} is the folder of a run, whose files stay as it wrote them; name another place.")
    return to
