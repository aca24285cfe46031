"""One side of a comparison: a score of a run, and the tested items that it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from downstream.comparison.difference import HeadOfFold
from downstream.results import Result, checked, items_of_heads
from downstream.statistics import ALIKE
from downstream.training import LayerSetting
from upstream.errors import UserError
from upstream.nearest import did_you_mean

MIX = "mix"  # how recipes and commands write the weighted sum


@dataclass(frozen=True, eq=False)
class Side:
    """A score of a run: one metric on one test part and one layer setting.

    heads: those whose mean it is, of every fold and seed, with what was tested of them.
    """

    result: Result
    setting: LayerSetting
    metric: str
    part: str
    heads: tuple[HeadOfFold, ...]

    @property
    def value(self) -> float:
        """The score as the record has it."""
        return next(one for one in self.result.layers if one.layer == self.setting).score(self.metric, self.part).value

    @property
    def seeds(self) -> int:
        return len({head.seed for head in self.heads})

    @property
    def folds(self) -> int:
        return len({head.fold for head in self.heads})

    @property
    def is_finetuned(self) -> bool:
        """True where the encoder learned with the heads."""
        return self.result.finetuning is not None

    @property
    def layer(self) -> str:
        """The layer setting as recipes write it."""
        return MIX if self.setting is None else str(self.setting)

    @property
    def place(self) -> str:
        """The run's folder, for messages."""
        return str(self.result.folder)


def side_of(result: Result, layer: str | None, metric: str | None, part: str | None) -> Side:
    """Return a score of a run with its items.

    layer, metric, part: None for those of the primary score; a layer as it is written: "3", "mix", "best".

    Raises UserError where the run has no such score, or its record contradicts itself or its files.
    """
    setting = setting_of(result, layer)
    scores = next(one for one in result.layers if one.layer == setting).scores
    wanted_part = chosen(part, [one.part for one in scores], result.primary.part, "test part", result)
    wanted = chosen(metric, [one.metric for one in scores], result.primary.name, "metric", result)
    if result.folder is not None:
        checked(result.folder)
    heads = []
    for one in items_of_heads(result, setting):
        if one.part != wanted_part:
            continue
        recorded = one.head.metrics[one.part][wanted]
        if abs(one.items.value(wanted) - recorded) > ALIKE:
            raise UserError(
                f"The predictions in {result.folder} give the metric {wanted} {one.items.value(wanted):.6f} for "
                f"{one.head.fold}, seed {one.head.seed}, and its record has {recorded:.6f}. Run the command that made "
                "it again with --fresh."
            )
        heads.append(HeadOfFold(one.head.seed, one.items, one.head.fold))
    return Side(result, setting, wanted, wanted_part, tuple(heads))


def setting_of(result: Result, layer: str | None) -> LayerSetting:
    """Return the layer setting of a run by its written form; raise UserError, with those that it has, for another."""
    settings = {MIX if one.layer is None else str(one.layer): one.layer for one in result.layers}
    return settings[chosen(layer, list(settings), next(iter(settings)), "layer", result)]


def chosen(wanted: str | None, there: list[str], primary: str, what: str, result: Result) -> str:
    """Return what was asked for, by default the primary one; raise UserError where the run does not have it."""
    if wanted is None:
        return primary
    if wanted not in there:
        meant = did_you_mean(wanted, there) or f"It has {', '.join(dict.fromkeys(there))}."
        more = " Run it with -o sweep.layer=all for a head on every layer." if what == "layer" else ""
        raise UserError(f"{result.folder} has no score of the {what} {wanted!r}. {meant}{more}")
    return wanted
