"""What a probe found: the records of its runs, as tables, pictures and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from downstream.pictures import Picture
from downstream.probing import pictures, tables
from downstream.probing.probed import Probed
from downstream.report import write_pictures
from downstream.results import digest_of, slug
from downstream.similarity import Similarity, cka_picture, label_picture
from upstream.files import write_atomically

if TYPE_CHECKING:
    import pandas

PROBES = "probes"  # folder beside the recipes' in the folder of results
LONGEST_NAMES = 60  # characters of recipes, and of upstreams, in a folder's name


@dataclass(frozen=True)
class Probe:
    """The records of a probe, and what is made of them.

    probed: a record of every upstream and recipe, with that of its control. results: the folder of records.
    similarity: how alike the layers of all upstreams are, by recipe.
    notes: why an upstream has no control. failures: a sentence for each run that failed.
    """

    probed: tuple[Probed, ...]
    results: Path
    similarity: Mapping[str, Similarity] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @cached_property
    def table(self) -> pandas.DataFrame:
        """The scores, a row for each upstream, recipe, layer setting, test part and metric; see `tables.SCORES`."""
        return tables.scores(self.probed, self.results)

    @cached_property
    def weights(self) -> pandas.DataFrame:
        """The learned weights of the layers, a row for each upstream, recipe and layer; see `tables.WEIGHTS`."""
        return tables.weights(self.probed, self.results)

    @cached_property
    def pictures(self) -> list[Picture]:
        """The pictures: scores by layer and weights of each upstream, all over relative depth, how alike layers are."""
        made = [(name, cka_picture(one)) for name, one in self.similarity.items()]
        made += [(name, own) for name, one in self.similarity.items() if (own := label_picture(one)) is not None]
        alike = [replace(picture, name=self._named(picture.name, recipe)) for recipe, picture in made]
        return [*pictures.pictures(self.probed), *alike]

    def _named(self, file: str, recipe: str) -> str:
        """Return the name of a file about one recipe: with its name if there are several."""
        return f"{file}-{recipe}" if len(self.similarity) > 1 else file

    @property
    def folder(self) -> Path:
        """The folder of the probe's files by default; the same runs always have the same one."""
        recipes = dict.fromkeys(one.result.recipe.name for one in self.probed)
        upstreams = dict.fromkeys(one.upstream for one in self.probed)
        named = "-".join("+".join(map(slug, names))[:LONGEST_NAMES].strip("._-+") for names in (recipes, upstreams))
        runs = sorted(run for one in self.probed for run in one.runs)
        return self.results / PROBES / f"{named}-{digest_of(runs)[:8]}"

    def write(self, folder: str | Path | None = None) -> list[Path]:
        """Write tables as CSV and pictures as PNG and SVG into a folder; return the files.

        Raises UserError where that cannot be done.
        """
        place = self.folder if folder is None else Path(folder)
        files = write_pictures(self.pictures, place)
        own = (("scores", self.table), ("layer_weights", self.weights))
        tables = {f"{name}.csv": table.to_csv(index=False, lineterminator="\n") for name, table in own if len(table)}
        for recipe, one in self.similarity.items():
            for name, text in one.tables().items():
                stem, _, ending = name.rpartition(".")
                tables[f"{slug(self._named(stem, recipe))}.{ending}"] = text
        for name, text in tables.items():
            files.append(place / name)
            write_atomically(files[-1], text.encode())
        return files
