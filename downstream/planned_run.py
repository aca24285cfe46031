"""A run as it is planned: its upstream, recipe and options, and what follows of them before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from downstream.data import Corpus, Dataset, read_dataset
from downstream.recipes import CropSettings, Options, Recipe
from downstream.results import SNAPSHOT, Place, Question
from downstream.states import CachePlan, plan_cache, read_whole
from downstream.tasks import Family, family_of
from downstream.training import Config, LayerSetting, Snapshots, configs, layer_settings
from upstream.base import Upstream
from upstream.files import STATES


@dataclass(frozen=True)
class PlannedRun:
    """The parts of a run that are known before anything is encoded or learned.

    settings, configs: the layers that get scores, and the heads to learn. place: of the run on disk.
    """

    upstream: Upstream
    recipe: Recipe
    options: Options
    settings: list[LayerSetting]
    configs: list[Config]
    family: Family
    dataset: Dataset
    question: Question
    place: Place

    @classmethod
    def of(cls, upstream: Upstream, recipe: Recipe, options: Options, corpus: Corpus | None) -> PlannedRun:
        """Read the corpus, unless it was read already, and find out where the run lies."""
        settings = layer_settings(recipe, upstream.num_layers, options.layer)
        heads = configs(recipe, settings, upstream.num_layers, options.seed)
        family = family_of(recipe)
        reading = (options.data, options.store, options.progress, options.check_audio, corpus)
        dataset = read_dataset(recipe, family, *reading)
        question = Question.of(upstream, recipe, family, dataset, options)
        place = Place.of(question, upstream, recipe, dataset, options)
        return cls(upstream, recipe, options, settings, heads, family, dataset, question, place)

    @property
    def crop(self) -> CropSettings | None:
        """The windows that training cuts; None for whole utterances."""
        return self.recipe.learned.training.crop if self.recipe.learned else None

    def plan(self) -> CachePlan:
        """Choose what of the states is kept."""
        whole = [self.dataset.items[index] for index in read_whole(self.dataset, self.crop)]
        options = self.options
        return plan_cache(
            self.recipe.store,
            self.family.needs(),
            self.upstream,
            whole,
            options.store / STATES,
            options.store_limit,
            began_without=not options.fresh and self.place.began_unstored(),
        )

    def snapshots(self, folder: Path, learned: str) -> Snapshots:
        """Return where the training of heads is kept; learned: the digest of what they depend on."""
        return Snapshots(folder / SNAPSHOT, self.options.snapshot_seconds, learned)
