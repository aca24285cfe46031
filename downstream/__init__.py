"""Everything that is learned and scored on an upstream's hidden states: the harness from Python.

import downstream
result = downstream.run("demo/emotion", "wavlm_base", random_init=True)     # the record, as on disk
result.primary.value, result.metrics, result.folder
outcome = downstream.run_suite("demo", "wavlm_base", random_init=True)      # every recipe of a suite
table = downstream.load_results("results")                                  # a DataFrame, one row a score
layers = downstream.probe("demo/emotion", ["wavlm_base", "fbank"])          # every layer: tables and figures
files = downstream.extract("wavlm_base", "recordings", to="states")         # hidden states as files, and their index
written = downstream.leaderboard("results", to="leaderboard")               # a page, Markdown and CSV of all records
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from upstream.lazy import lazy_exports

if TYPE_CHECKING:
    from downstream.comparison import Comparisons
    from downstream.data import Corpus, Table
    from downstream.leaderboards import Written
    from downstream.probing import Probe
    from downstream.recipes import Recipe as Recipe
    from downstream.replaying import Replay
    from downstream.results import Result as Result
    from downstream.results import load_results as load_results
    from downstream.results import read_result as read_result
    from downstream.states import extract as extract
    from downstream.suites import SuiteOutcome
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

__all__ = [
    "Recipe",
    "Result",
    "compare",
    "extract",
    "leaderboard",
    "load_recipe",
    "load_results",
    "predict",
    "probe",
    "read_result",
    "replay",
    "run",
    "run_suite",
]


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
    finetune: bool = False,
    name: str | None = None,
    results: str | Path = "results",
    store: str | Path | None = None,
    store_limit: int | None = None,
    fresh: bool = False,
    final: bool = False,
    head_from: str | Path | Sequence[str | Path] = (),
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
    finetune: let the encoder learn with the head, as overrides of the section finetune say, or by its defaults.
    name: of the run's folder, instead of one that is made from its settings.
    results, store: folders of records and of hidden states; store_limit: bytes that may be added to the store.
    fresh: begin again, whatever an earlier run left.
    final: then learn one head from all data, for `predict`.
    head_from: files of heads, or folders of runs, whose heads are tested instead of learning some.
    progress: show progress bars, and how large the states are that will be stored.

    Returns the record (`result.json`); `result.folder` is where it lies, with predictions and heads beside it. A run
    that was finished before is read back, one that was interrupted goes on.

    Raises UserError for whatever the caller can fix: a wrong name, missing data, a setting that does not exist.
    """
    from downstream.experiment import run_named
    from downstream.recipes import WITH_DEFAULTS, Options, override_texts
    from upstream.files import DEFAULT_STORE

    changed = (*((WITH_DEFAULTS,) if finetune else ()), *override_texts(overrides))
    options = Options(
        data=None if data is None else Path(data),
        name=name,
        results=Path(results),
        store=DEFAULT_STORE if store is None else Path(store),
        store_limit=store_limit,
        seed=seed,
        layer=layer,
        fresh=fresh,
        final=final,
        head_from=tuple(map(Path, _several(head_from))),
        command="downstream.run",
        progress=progress,
    )
    loading = {"device": device, "dtype": dtype, "random_init": random_init, "seed": seed}
    named = str(upstream) if isinstance(upstream, Path) else upstream
    own = _corpus(corpus, data, corpus_title)
    outcome = run_named(recipe, named, options, overrides=changed, loading=loading, corpus=own)
    assert outcome is not None  # only ranks of a shared extraction have none
    return outcome.result


def probe(
    recipes: str | Path | Recipe | Sequence[str | Path | Recipe],
    upstreams: str | Path | Upstream | Sequence[str | Path | Upstream],
    *,
    data: str | Path | Mapping[str, str | Path] | None = None,
    corpus: str | Table | Mapping[str, str] | None = None,
    corpus_title: str | None = None,
    overrides: Mapping[str, object] | Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    control: bool = True,
    similarity: bool = True,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    random_init: bool = False,
    results: str | Path = "results",
    store: str | Path | None = None,
    store_limit: int | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> Probe:
    """Score every layer of upstreams on recipes: `wavprobe probe` from Python, with the same runs and records.

    recipes, upstreams: one or several, each as `run` takes it.
    data, corpus: of all recipes as `run` takes them; or {recipe: folder}, {recipe: name}.
    overrides: of all recipes; a key of one alone begins with its name: {"asr:training.steps": 200}.
    seeds: of the heads' first weights; None for those that a recipe lists, else 0 and 1.
    control: also probe the same architecture with untrained weights, which are drawn from `seed`.
    similarity: also compare the layers with each other and with the labels, where their states are stored.
    The other arguments are those of `run`.

    Returns the probe: `.table` and `.weights` are DataFrames, `.pictures` a list that notebooks show, `.probed` the
    records, `.failures` a sentence for each run that failed; `.write(folder)` writes CSV files and figures.

    Raises UserError for whatever the caller can fix before anything is computed, and where no run is left.
    """
    from downstream.probing import probe as carried_out
    from downstream.probing import probed_recipes
    from downstream.recipes import Options, by_recipe, override_texts
    from downstream.recipes import Recipe as AnyRecipe
    from upstream.files import DEFAULT_STORE

    names = corpus if isinstance(corpus, Mapping) else None
    own = None if names else _corpus(cast("str | Table | None", corpus), _folder(data), corpus_title)
    asked = probed_recipes(
        [one if isinstance(one, AnyRecipe) else str(one) for one in _several(recipes)],
        seeds=seeds,
        overrides=override_texts(overrides),
        data=by_recipe(data),
        corpora=by_recipe(names or (own if isinstance(own, str) else None)),
        corpus=None if isinstance(own, str) else own,
    )
    options = Options(
        results=Path(results),
        store=DEFAULT_STORE if store is None else Path(store),
        store_limit=store_limit,
        seed=seed,
        fresh=fresh,
        progress=progress,
    )
    loading = {"device": device, "dtype": dtype, "random_init": random_init, "seed": seed}
    encoders = [str(one) if isinstance(one, Path) else one for one in _several(upstreams)]
    return carried_out(encoders, asked, options, loading=loading, control=control, similarity=similarity)


def run_suite(
    suite: str | Path | Sequence[str],
    upstreams: str | Path | Upstream | Sequence[str | Upstream],
    *,
    data: str | Path | Mapping[str, str | Path] | None = None,
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
) -> SuiteOutcome:
    """Carry out every recipe of a suite on one upstream or several: `wavprobe run -d SUITE` from Python.

    suite: a name ("superb", "clean", "demo"), the path of a YAML file, or a list of recipes.
    upstreams: names or paths, as `upstream.load` takes them, or upstreams that it gave; or one of them.
    data: folder in which the corpora lie by their names, or the folder of each by its name.
    overrides: of every recipe that has their keys; of one alone where its name is before: {"asr:training.steps": 200}.
    The others are those of `run`.

    Returns what came of it: `runs`, each with its `outcome.result` or the reason `why` it has none; `unreadable`, the
    recipes whose data are missing, with what to ask for; and the `page` of a leaderboard.

    Raises UserError for a wrong name or setting, before anything is computed.
    """
    from downstream.recipes import Options, override_texts
    from downstream.suites import Places, named_suite
    from downstream.suites import run_suite as carried_out
    from upstream.base import Upstream
    from upstream.files import DEFAULT_STORE

    options = Options(
        name=name,
        results=Path(results),
        store=DEFAULT_STORE if store is None else Path(store),
        store_limit=store_limit,
        seed=seed,
        layer=layer,
        fresh=fresh,
        command="downstream.run_suite",
        progress=progress,
    )
    if isinstance(data, Mapping):
        places = Places(folders={corpus: Path(folder) for corpus, folder in data.items()})
    else:
        places = Places(None if data is None else Path(data))
    given = [upstreams] if isinstance(upstreams, str | Path | Upstream) else upstreams
    return carried_out(
        named_suite([str(suite)] if isinstance(suite, str | Path) else suite),
        [one if isinstance(one, Upstream) else str(one) for one in given],
        options,
        places=places,
        overrides=override_texts(overrides),
        loading={"device": device, "dtype": dtype, "random_init": random_init, "seed": seed},
    )


def predict(
    run: str | Path | Result,
    recordings: str | Path | Sequence[Any] | Mapping[str, Any],
    *,
    heads: str | Sequence[str] = (),
    pairs: str | Path | Sequence[tuple[str, str]] | None = None,
    embeddings: bool = False,
    upstream: str | Path | Upstream | None = None,
    device: str = "auto",
    family: str | None = None,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Apply the heads of a run to new recordings: `wavprobe predict` from Python.

    run: its record or its folder; a file that `wavprobe export` wrote; or a WavLM of transformers with a head, by its
        folder or as "hf:ORG/NAME".
    recordings: names of files, folders, tables or lists; or waveforms: 1-D tensors or arrays of floats in [-1, 1] at
        16 kHz, in a list, or in a mapping from their names.
    heads: names of those that answer ("fold1-seed0"); by default the one that learned from all data where there is one,
        else those of the run's score, together where their predictions can be averaged.
    pairs: of a verifier, the pairs of recordings to compare, by their names, or a file of them; None for all.
    embeddings: of a verifier, an embedding a recording instead.
    upstream: where it is not found as recorded; a name, a path, or a loaded one. It must be the same. device: of it.
    family: "module.py:Family" of an external family, whose code you trust.
    skip_unreadable: leave out files that are no audio. progress: show a bar, and who answers.

    Returns a row for each recording, or pair, in their order: of a classifier {"id", "path", "seconds", "class",
    "posterior", "posteriors"}, of a recogniser "transcript" and "words" with "start" and "end" in seconds, of a
    verifier {"one", "other", "similarity"}. WavLMForAudioFrameClassification gives "segments" with "label", "start" and
    "end", and the "labels" of every frame. `pandas.json_normalize(rows)` makes a table of them.

    Raises UserError for whatever the caller can fix.
    """
    from downstream.prediction import predict as answers_of
    from upstream.errors import UserError

    place = run if isinstance(run, str | Path) else run.folder
    if place is None:
        raise UserError("This record is not on disk, and its heads are nowhere; give the folder of its run.")
    answers = answers_of(
        place,
        recordings,
        heads=[heads] if isinstance(heads, str) else heads,
        pairs=pairs,
        embeddings=embeddings,
        upstream=upstream,
        device=device,
        family=family,
        skip_unreadable=skip_unreadable,
        progress=progress,
    )
    for note in answers.notes if progress else ():
        print(note, file=sys.stderr)
    return list(answers.rows)


def leaderboard(
    folders: str | Path | Sequence[str | Path] = "results",
    *,
    to: str | Path = "leaderboard",
    title: str | None = None,
    families: Sequence[str] = (),
) -> Written:
    """Write a leaderboard of all records below some folders: `wavprobe leaderboard` from Python.

    folders: of records, yours or others', the most trusted first; a run that is in two of them counts once.
    to: folder of the files leaderboard.html, leaderboard.md and leaderboard.csv. title: heading of the page.
    families: "module.py:Family" of external families whose code you trust, so that their scores can be checked.

    Returns the files (`page`, `markdown`, `csv`) and the tables (`board`); `board.refused` lists the records that were
    left out, each with the sentence that says why.

    Raises UserError for a folder that does not exist, and where the files cannot be written.
    """
    from downstream.leaderboards import write_leaderboard

    return write_leaderboard(folders, to, title, families)


def compare(
    *runs: str | Path | Result,
    layers: str | int | Sequence[str | int] = (),
    metric: str | None = None,
    part: str | None = None,
    families: Sequence[str] = (),
    progress: bool = True,
) -> Comparisons:
    """Test whether runs differ, on the same test items: `wavprobe compare` from Python.

    runs: two or more records, or folders of runs; or folders of results, whose upstreams are compared task by task.
    layers: "mix", "best" or a number, for all runs or one for each; several of a single run are compared with each
        other. None given: the layer of the run's score.
    metric, part: others than those of the primary score.
    families: "module.py:Family" of external families whose code you trust.

    Returns the comparisons, with `difference.value`, `difference.interval`, `p`, `p_holm` and more of each;
    `to_frame()` makes a table of them.

    Raises UserError where runs were not tested on the same items, and says what differs.
    """
    from downstream.comparison import compare_runs
    from downstream.tasks import trust

    trust(families)
    given = [layers] if isinstance(layers, str | int) else layers
    return compare_runs(runs, list(map(str, given)), metric, part, progress)


def replay(
    run: str | Path | Result,
    *,
    to: str | Path | None = None,
    upstream: str | Path | Upstream | None = None,
    data: str | Path | None = None,
    corpus: Table | None = None,
    overrides: Mapping[str, object] | Sequence[str] = (),
    device: str | None = None,
    family: str | None = None,
    store: str | Path | None = None,
    fresh_store: bool = False,
    fresh: bool = False,
    progress: bool = True,
) -> Replay:
    """Compute a result again from its record, and compare: `wavprobe replay` from Python.

    run: its record or its folder. to: folder of the replay; by default below replays/ in the working directory.
    upstream, data: where they are not found as recorded: a name or path, or a loaded upstream; a folder.
    corpus: the table of a run whose corpus was given in Python.
    overrides: files that the recipe names and a record hides: {"decoding.language_model": "3gram.arpa"}.
    device: of the upstream, by default the recorded one. family: "module.py:Family" of an external family that you
        trust.
    store: folder of hidden states; fresh_store: encode again, whatever it holds. fresh: discard an earlier replay.
    progress: show progress bars, and what differs before anything is computed.

    Returns both records and what differs: `replay.is_identical`, `replay.comparison.verdict`, `.inputs`, `.outcomes`.

    Raises UserError for whatever the caller can fix.
    """
    from downstream.recipes import override_texts
    from downstream.replaying import replay as again
    from upstream.errors import UserError
    from upstream.files import DEFAULT_STORE

    place = run if isinstance(run, str | Path) else run.folder
    if place is None:
        raise UserError("This record is not on disk, and its predictions are nowhere; give the folder of its run.")
    own = _corpus(corpus, data, None)
    assert not isinstance(own, str)
    return again(
        place,
        to=None if to is None else Path(to),
        upstream=str(upstream) if isinstance(upstream, Path) else upstream,
        data=None if data is None else Path(data),
        corpus=own,
        overrides=override_texts(overrides),
        device=device,
        family=family,
        store=DEFAULT_STORE if store is None else Path(store),
        fresh_store=fresh_store,
        fresh=fresh,
        progress=progress,
    )


def _corpus(corpus: str | Table | None, data: str | Path | None, title: str | None) -> str | Corpus | None:
    """Return a corpus by its name, or as the table that it was given as; raise UserError for a path in its place."""
    from downstream.data import corpus_of
    from upstream.errors import UserError

    if corpus is not None and not isinstance(corpus, str):
        return corpus_of(corpus, None if data is None else Path(data), title)
    if title is not None:
        raise UserError("corpus_title names a table that is given as corpus; a corpus with a name has its own title.")
    if corpus is not None and {"/", "."} & set(corpus):
        raise UserError(
            f"{corpus!r} is no corpus's name; give the rows themselves, such as corpus=pandas.read_csv(FILE), or "
            "corpus=datasets.load_dataset(NAME) of the hub, and a folder as data=DIR."
        )
    return corpus


def _several(given: Any) -> list[Any]:
    """Return one or several things as a list."""
    return list(given) if isinstance(given, list | tuple) else [given]


def _folder(data: object) -> Path | None:
    """Return the one folder of the data; None where there is none, or one for each recipe."""
    return Path(data) if isinstance(data, str | Path) else None


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from upstream.version import harness_version

        return harness_version()
    return _exported(name)
