"""One upstream on one recipe, as a probe shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from downstream.report import LayerCurve
from downstream.results import Result, short_name


@dataclass(frozen=True)
class Probed:
    """The record of one upstream on one recipe, and that of its untrained control; None without one."""

    result: Result
    control: Result | None = None

    @property
    def upstream(self) -> str:
        """The name of the upstream as figures show it: of a path its last part."""
        name = short_name(self.result.upstream.name)
        return f"{name}, untrained" if self.result.upstream.random_init else name

    @property
    def task(self) -> str:
        """The recipe with its corpus, as figures show it."""
        return f"{self.result.recipe.name} ({self.result.corpus.name})"

    @property
    def runs(self) -> list[str]:
        """The folders of the records, as their names below the folder of results."""
        return [str(one.folder and one.folder.name) for one in (self.result, self.control) if one is not None]

    @property
    def parts(self) -> list[str]:
        """The test parts, the primary one first."""
        return list(dict.fromkeys(score.part for score in self.result.layers[0].scores))

    def curves(self, metric: str | None = None) -> Iterator[tuple[LayerCurve, LayerCurve | None]]:
        """Yield the curve of each test part with the control's; metric: the primary one by default."""
        for part in self.parts:
            control = None if self.control is None else LayerCurve.of(self.control, metric, part)
            yield LayerCurve.of(self.result, metric, part), control

    def title(self, part: str) -> str:
        """Return the title of a panel; part: of the test, named where there are several."""
        return f"{self.task}, {part}" if len(self.parts) > 1 else self.task
