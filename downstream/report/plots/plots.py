"""Every picture of a record, and their files: made of the record and what lies beside it, so that any time will do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from downstream.pictures import ENDINGS, Picture
from downstream.recipes import FINE_TUNED
from downstream.report.plots.layer_plots import layer_score_picture, layer_weight_picture
from downstream.report.plots.learning_plot import learning_picture
from downstream.results import Result, heads_on_parts, slug
from downstream.tasks import family_of_record
from upstream.errors import UserError
from upstream.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("wavprobe")

PLOTS = "plots"  # folder beside the record


def write_plots(result: Result, folder: Path) -> list[Path]:
    """Write every picture of a record into a folder, as PNG and as SVG; return the files.

    Raises UserError where they cannot be written.
    """
    return write_pictures(pictures_of(result), folder)


def write_pictures(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write pictures into a folder, as PNG and as SVG; return the files. Raises UserError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {folder}: {error.strerror}. Choose another one with --to.") from error
    files = []
    for picture in pictures:
        for ending in ENDINGS:
            files.append(folder / f"{slug(picture.name)}.{ending}")
            write_atomically(files[-1], picture.rendered(ending))
    return files


def pictures_of(result: Result) -> list[Picture]:
    """Return what can be drawn of a record: its family's pictures, learning curves, layer weights, scores by layer.

    Those of a fine-tuned encoder say so.
    """
    general = (learning_picture(result), layer_weight_picture(result), layer_score_picture(result))
    found = [*family_pictures(result), *(picture for picture in general if picture is not None)]
    return found if result.finetuning is None else [entitled(picture, FINE_TUNED) for picture in found]


def entitled(picture: Picture, title: str) -> Picture:
    """Return a picture with a title above it."""

    def draw(figure: Figure) -> None:
        picture.draw(figure)
        figure.suptitle(title, fontsize="medium")

    return replace(picture, draw=draw)


def family_pictures(result: Result) -> Sequence[Picture]:
    """Return the pictures that the family adds; none where it is in a file that is no longer there."""
    try:
        family = family_of_record(result.task, result.folder)
    except UserError as error:
        logger.warning("%s The pictures of the family are left out.", error)
        return ()
    return family.pictures(
        result.details, [one for head in result.primary_heads() for one in heads_on_parts(head, result)]
    )
