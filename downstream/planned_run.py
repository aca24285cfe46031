"""A run as it is planned: its upstream, recipe and options, and what follows of them before anything is computed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from downstream.data import Corpus, Dataset, on_folds, read_dataset, without_training
from downstream.recipes import CropSettings, Options, Recipe
from downstream.results import SNAPSHOT, GivenHeads, Place, Question, given_heads
from downstream.states import CachePlan, plan_cache, read_whole
from downstream.tasks import Family, family_of
from downstream.training import Config, LayerSetting, Snapshots, configs, layer_settings
from upstream.base import Upstream
from upstream.encode import Item
from upstream.errors import UserError
from upstream.files import STATES


@dataclass(frozen=True)
class ReadCorpus:
    """A recipe, and its corpus as it was read for it.

    overrides: what was changed of the recipe, for the record. seconds: that reading took.
    """

    recipe: Recipe
    overrides: tuple[str, ...]
    family: Family
    dataset: Dataset
    seconds: float

    @classmethod
    def of(cls, recipe: Recipe, options: Options, corpus: Corpus | None = None) -> ReadCorpus:
        """Read the corpus of a recipe, unless it was read already; raise UserError where it cannot serve the recipe."""
        began = time.perf_counter()
        family = family_of(recipe)
        reading = (options.data, options.store, options.progress, options.check_audio, corpus)
        dataset = read_dataset(recipe, family, *reading)
        return cls(recipe, options.overrides, family, dataset, time.perf_counter() - began)

    def again(self) -> ReadCorpus:
        """Return it for another upstream, whose run takes no time to read it."""
        return replace(self, seconds=0.0)


@dataclass(frozen=True)
class PlannedRun:
    """The parts of a run that are known before anything is encoded or learned.

    settings, configs: the layers that get scores, and the heads to learn. place: of the run on disk.
    reading: seconds that reading the corpus took. given: heads that were learned before, None to learn some.
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
    reading: float
    given: GivenHeads | None = None

    @classmethod
    def of(cls, upstream: Upstream, read: ReadCorpus, options: Options) -> PlannedRun:
        """Find out what an upstream learns of a corpus that was read, and where the run lies."""
        recipe, family, dataset = read.recipe, read.family, read.dataset
        own, given = replace(options, overrides=read.overrides), None
        if options.head_from:
            if recipe.finetune is not None:
                raise UserError("--finetune learns, and --head-from tests what was learned; leave one of them out.")
            given = given_heads(options.head_from, upstream, recipe, dataset)
            dataset = on_folds(dataset, given.folds)
            settings, heads = [given.setting], given.configs
        else:
            settings = layer_settings(recipe, upstream.num_layers, options.layer)
            heads = configs(recipe, settings, upstream.num_layers, options.seed)
        question = Question.of(upstream, recipe, family, dataset, own, given.digest if given else None)
        place = Place.of(question, upstream, recipe, dataset, own)
        return cls(upstream, recipe, own, settings, heads, family, dataset, question, place, read.seconds, given)

    @property
    def crop(self) -> CropSettings | None:
        """The windows that training cuts; None for whole utterances, and where nothing is learned."""
        if self.given is not None:
            return None
        return self.recipe.learned.training.crop if self.recipe.learned else None

    @property
    def read(self) -> Dataset:
        """The dataset whose states are read: without its training parts where nothing is learned."""
        return self.dataset if self.given is None else without_training(self.dataset)

    @property
    def whole(self) -> list[Item]:
        """The utterances whose states are read as a whole, and not of windows alone."""
        return [self.dataset.items[index] for index in read_whole(self.read, self.crop)]

    def plan(self) -> CachePlan:
        """Choose what of the states is kept; nothing where the encoder learns, so that they change."""
        options, store = self.options, self.recipe.store
        return plan_cache(
            store if self.recipe.finetune is None else store.model_copy(update={"mode": "off"}),
            self.family.needs(),
            self.upstream,
            self.whole,
            options.store / STATES,
            options.store_limit,
            began_without=not options.fresh and self.place.began_unstored(),
        )

    def snapshots(self, folder: Path, learned: str) -> Snapshots:
        """Return where the training of heads is kept; learned: the digest of what they depend on."""
        return Snapshots(folder / SNAPSHOT, self.options.snapshot_seconds, learned)
