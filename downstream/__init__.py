"""Everything that is learned and scored on an upstream's hidden states: the harness from Python.

import downstream
result = downstream.run("demo/emotion", "wavlm_base", random_init=True)     # the record, as on disk
result.primary.value, result.metrics, result.folder
table = downstream.load_results("results")                                  # a DataFrame, one row a score
files = downstream.extract("wavlm_base", "recordings", to="states")         # hidden states as files, and their index
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upstream.lazy import lazy_exports

if TYPE_CHECKING:
    from downstream.data import Table
    from downstream.recipes import Recipe as Recipe
    from downstream.results import Result as Result
    from downstream.results import load_results as load_results
    from downstream.results import read_result as read_result
    from downstream.states import extract as extract
    from downstream.tasks import load_recipe as load_recipe
    from upstream.base import Upstream

# What else is public, and the room that exports it; loaded on demand, so that `import downstream` is instant.
_exported = lazy_exports(
    __name__,
    {
        "Recipe": "downstream.recipes",
        "Result": "downstream.results",
        "extract": "downstream.states",
        "load_recipe": "downstream.tasks",
        "load_results": "downstream.results",
        "read_result": "downstream.results",
    },
)

__all__ = ["Recipe", "Result", "extract", "load_recipe", "load_results", "read_result", "run"]


def run(
    recipe: str | Path | Recipe,
    upstream: str | Path | Upstream,
    *,
    data: str | Path | None = None,
    corpus: str | Table | None = None,
    corpus_title: str | None = None,
    overrides: Mapping[str, object] | Sequence[str] = (),
    layer: int | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    random_init: bool = False,
    name: str | None = None,
    results: str | Path = "results",
    store: str | Path | None = None,
    store_limit: int | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> Result:
    """Score an upstream on a recipe: `wavprobe run` from Python, with the same folders, and the same record.

    recipe: a name ("emotion", "superb/er"), the path of a YAML file, or a recipe that `load_recipe` gave.
    upstream: a name or path as `upstream.load` takes it, or an upstream that it gave.
    data: folder of the corpus; None for its environment variable or the hub.
    corpus: another corpus for the task, by its name, or your own: a pandas DataFrame, a list of dicts, a Hugging Face
        Dataset or DatasetDict with the columns of a manifest (docs/python.md); its paths are relative to `data`.
    corpus_title: of your own corpus, for records.
    overrides: {"optimizer.lr": 1e-3, "sweep.layer": "all"}, or "key=value" strings.
    layer: one layer instead of the weighted sum. seed: of the heads' first weights, and of an untrained upstream.
    device, dtype, random_init: of an upstream that is given by its name.
    name: of the run's folder, instead of one that is made from its settings.
    results, store: folders of records and of hidden states; store_limit: bytes that may be added to the store.
    fresh: begin again, whatever an earlier run left.
    progress: show progress bars, and how large the states are that will be stored.

    Returns the record (`result.json`); `result.folder` is where it lies, with predictions and heads beside it. A run
    that was finished before is read back, one that was interrupted goes on.

    Raises UserError for whatever the caller can fix: a wrong name, missing data, a setting that does not exist.
    """
    from downstream.data import corpus_of
    from downstream.experiment import run_named
    from downstream.recipes import Options
    from upstream.errors import UserError
    from upstream.files import DEFAULT_STORE

    given, name_of_corpus = None, corpus
    if corpus is not None and not isinstance(corpus, str):
        given = corpus_of(corpus, None if data is None else Path(data), corpus_title)
        name_of_corpus = given.name
    elif corpus_title is not None:
        raise UserError("corpus_title names a table that is given as corpus; a corpus with a name has its own title.")
    strings = [f"corpus.name={name_of_corpus}"] if name_of_corpus else []
    if isinstance(overrides, Mapping):
        strings += [f"{key}={json.dumps(value, default=_plain)}" for key, value in overrides.items()]
    else:
        strings += [overrides] if isinstance(overrides, str) else overrides
    options = Options(
        data=None if data is None else Path(data),
        name=name,
        results=Path(results),
        store=DEFAULT_STORE if store is None else Path(store),
        store_limit=store_limit,
        seed=seed,
        layer=layer,
        fresh=fresh,
        command="downstream.run",
        progress=progress,
    )
    loading = {"device": device, "dtype": dtype, "random_init": random_init, "seed": seed}
    named = str(upstream) if isinstance(upstream, Path) else upstream
    outcome = run_named(recipe, named, options, overrides=strings, loading=loading, corpus=given)
    assert outcome is not None  # only ranks of a shared extraction have none
    return outcome.result


def _plain(value: Any) -> Any:
    """Return a number of numpy's or a path as JSON has them."""
    return value.item() if hasattr(value, "item") else str(value)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("wavprobe")  # of setup.cfg, by way of the installed package
        except PackageNotFoundError:
            return "0+not-installed"
    return _exported(name)
