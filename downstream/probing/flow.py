"""A probe from beginning to end: every recipe on every upstream and its untrained control, each an ordinary run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from downstream.data import Corpus, read_dataset
from downstream.experiment import run
from downstream.probing.probe import Probe
from downstream.probing.probed import Probed
from downstream.probing.recipes import ProbedRecipe, refuse_repeated
from downstream.recipes import Options
from downstream.results import Result
from downstream.tasks import errors_named, family_of
from upstream.base import Upstream
from upstream.catalog import load, load_for_sizes
from upstream.errors import UserError


def probe(
    upstreams: Sequence[str | Upstream],
    recipes: Sequence[ProbedRecipe],
    options: Options,
    *,
    loading: Mapping[str, Any],
    control: bool = True,
) -> Probe:
    """Run every recipe on every upstream and, with `control`, on the same architecture with untrained weights.

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
    if len(upstreams) * len(recipes) > 1:
        for one in recipes:
            read_data(one, options)
    flow = Flow(recipes, options, loading)
    with logging_redirect_tqdm():  # what is logged appears above the progress bar, not in it
        probed = [one for upstream in upstreams for one in flow.probed(upstream, control)]
    if not probed:
        raise UserError(" ".join(dict.fromkeys(flow.failures)))
    return Probe(tuple(probed), options.results, tuple(flow.notes), tuple(flow.failures))


def read_data(one: ProbedRecipe, options: Options) -> None:
    """Read the corpus of a recipe, which is quick again later; raise UserError where it cannot be used."""
    corpus = one.corpus if isinstance(one.corpus, Corpus) else None
    with errors_named(one.recipe.task):
        read_dataset(
            one.recipe, family_of(one.recipe), one.data, options.store, options.progress, options.check_audio, corpus
        )


class Flow:
    """The runs of a probe, one after the other.

    notes: why an upstream has no control. failures: a sentence for each run that failed.
    """

    def __init__(self, recipes: Sequence[ProbedRecipe], options: Options, loading: Mapping[str, Any]) -> None:
        self.notes: list[str] = []
        self.failures: list[str] = []
        self._recipes, self._options, self._loading = recipes, options, loading

    def probed(self, upstream: str | Upstream, control: bool) -> Iterator[Probed]:
        """Yield the records of one upstream, with those of its control."""
        name = upstream if isinstance(upstream, str) else upstream.name
        model = load(upstream, **self._loading) if isinstance(upstream, str) else upstream
        results = list(self._results(model, name))
        wants = control and any(results) and not model.provenance.random_init
        sizes = (model.num_layers, model.dim)
        del model  # before the other one is loaded
        controls: Sequence[Result | None] = [None] * len(results)
        if wants and (untrained := self._untrained(name, sizes)) is not None:
            controls = list(self._results(untrained, name))
        yield from (
            Probed(result, beside) for result, beside in zip(results, controls, strict=True) if result is not None
        )

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
