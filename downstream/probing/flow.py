"""A probe from beginning to end: every recipe on every upstream and its untrained control, each an ordinary run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from downstream.data import Corpus, Dataset, read_dataset
from downstream.experiment import run
from downstream.probing.probe import Probe
from downstream.probing.probed import Probed
from downstream.probing.recipes import ProbedRecipe, refuse_repeated
from downstream.recipes import Options
from downstream.results import Result
from downstream.similarity import Similarity, measured
from downstream.tasks import errors_named, family_of
from upstream.base import Upstream
from upstream.catalog import load, load_for_sizes, loading_of_each
from upstream.errors import UserError


def probe(
    upstreams: Sequence[str | Upstream],
    recipes: Sequence[ProbedRecipe],
    options: Options,
    *,
    loading: Mapping[str, Any],
    control: bool = True,
    similarity: bool = True,
) -> Probe:
    """Run every recipe on every upstream and, with `control`, on the same architecture with untrained weights.

    With `similarity` the layers are also compared with each other and with the labels, where their states are stored.

    upstreams: names, or loaded ones. loading: further arguments of `upstream.load`, of names. options: of every run;
    its data and command are those of each recipe.
    What was finished before is read back, and what was interrupted goes on. A run that fails does not stop the others;
    it is among the `failures` of the probe.

    Raises UserError for whatever can be known before anything is encoded, and where no run is left.
    """
    names = [one if isinstance(one, str) else one.name for one in upstreams]
    refuse_repeated(names, "upstream", "-u")
    for name in upstreams:
        if isinstance(name, str):
            load_for_sizes(name)  # refuses a name that there is not, before anything takes hours
    datasets = [read_data(one, options) for one in recipes]
    of_each = loading_of_each([one for one in upstreams if isinstance(one, str)], loading)
    flow = Flow(recipes, options, loading, of_each)
    with logging_redirect_tqdm():  # what is logged appears above the progress bar, not in it
        probed = [one for upstream in upstreams for one in flow.probed(upstream, control)]
        if not probed:
            raise UserError(" ".join(dict.fromkeys(flow.failures)))
        compared = flow.compared(probed, datasets) if similarity else {}
    return Probe(tuple(probed), options.results, compared, tuple(flow.notes), tuple(flow.failures))


def read_data(one: ProbedRecipe, options: Options) -> Dataset:
    """Return the dataset of a recipe, which is quick to read again; raise UserError where it cannot be used."""
    corpus = one.corpus if isinstance(one.corpus, Corpus) else None
    with errors_named(one.recipe.task):
        return read_dataset(
            one.recipe, family_of(one.recipe), one.data, options.store, options.progress, options.check_audio, corpus
        )


class Flow:
    """The runs of a probe, one after the other.

    of_each: how each named upstream is loaded; loading: the same for all of them, their controls too.
    notes: why an upstream has no control. failures: a sentence for each run that failed, and for each upstream that
    could not be loaded.
    """

    def __init__(
        self,
        recipes: Sequence[ProbedRecipe],
        options: Options,
        loading: Mapping[str, Any],
        of_each: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.notes: list[str] = []
        self.failures: list[str] = []
        self._recipes, self._options, self._loading = recipes, options, loading
        self._of_each = of_each
        self._loaded: dict[str, Upstream] = {}  # by their names in records, where a path is shorter

    def probed(self, upstream: str | Upstream, control: bool) -> Iterator[Probed]:
        """Yield the records of one upstream, with those of its control; none of one that cannot be loaded."""
        name = upstream if isinstance(upstream, str) else upstream.name
        try:
            model = load(upstream, **self._of_each[upstream]) if isinstance(upstream, str) else upstream
        except UserError as error:
            self.failures.append(f"{name}: {error}")
            return
        results = list(self._results(model, name))
        self._loaded |= {one.upstream.name: model for one in results if one is not None}
        wants = control and any(results) and not model.provenance.random_init
        controls: Sequence[Result | None] = [None] * len(results)
        if wants and (untrained := self._untrained(name, (model.num_layers, model.dim))) is not None:
            controls = list(self._results(untrained, name))
        yield from (
            Probed(result, beside) for result, beside in zip(results, controls, strict=True) if result is not None
        )

    def compared(self, probed: Sequence[Probed], datasets: Sequence[Dataset]) -> dict[str, Similarity]:
        """Return how alike the layers of all upstreams are on the utterances of each recipe, by its name."""
        found: dict[str, Similarity] = {}
        for one, dataset in zip(self._recipes, datasets, strict=True):
            own = [other for other in probed if other.result.recipe.name == one.recipe.name]
            stored = {
                other.upstream: self._loaded[other.result.upstream.name]
                for other in own
                if other.result.states.mode != "off"
            }
            if not stored or (len(stored) == 1 and next(iter(stored.values())).num_layers == 1):
                continue
            try:
                compared = measured(stored, dataset, self._options.store, self._options.progress)
            except UserError as error:
                self.notes.append(f"Layers are not compared on {one.recipe.name}: {error}")
                continue
            found[one.recipe.name] = compared
            self.notes += compared.notes
        return found

    def _untrained(self, name: str, sizes: tuple[int, int]) -> Upstream | None:
        """Return the same architecture with untrained weights; None, with a note, where there is no such."""
        try:
            found = load(name, **{**self._loading, "random_init": True})
        except UserError as error:
            self.notes.append(f"{name} has no untrained control: {error}")
            return None
        if (found.num_layers, found.dim) != sizes:  # a loaded upstream whose name means another one
            self.notes.append(f"{name} has no untrained control: what is loaded by its name is of another size.")
            return None
        return found

    def _results(self, upstream: Upstream, name: str) -> Iterator[Result | None]:
        """Yield the record of every recipe; None for one that failed."""
        untrained = upstream.provenance.random_init
        words = ["-u", name, *(["--random-init"] if untrained else [])]
        seed, dtype = self._loading.get("seed", 0), self._loading.get("dtype", "float32")
        words += [*(["--seed", str(seed)] if seed else []), *(["--dtype", dtype] if dtype != "float32" else [])]
        for one in self._recipes:
            described = f"{name}{', untrained' if untrained else ''}, on {one.recipe.name}"
            if self._options.progress:
                tqdm.write(f"probing {described}", file=sys.stderr)
            corpus = one.corpus if isinstance(one.corpus, Corpus) else None
            options = replace(self._options, data=one.data, overrides=one.changed, command=one.command(words))
            try:
                with errors_named(one.recipe.task):
                    outcome = run(upstream, one.recipe, options, corpus=corpus)
            except UserError as error:
                self.failures.append(f"{described}: {error}")
                yield None
                continue
            assert outcome is not None  # only ranks of a shared extraction have none
            yield outcome.result
