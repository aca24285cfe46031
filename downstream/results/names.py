"""Names of runs' folders: results/<recipe>/<upstream>/<run>, which a reader can tell apart."""

from __future__ import annotations

import os
import re
from pathlib import Path

from downstream.data import Corpus, Dataset
from downstream.recipes import CHOSEN, Options, Recipe, SweepSettings
from downstream.results.anonymous import Anonymous
from downstream.results.question import Question
from upstream.base import Upstream
from upstream.catalog import NAMED
from upstream.names import BY_REPOSITORY
from upstream.text import one_line

LONGEST_NAME = 100  # characters of an earlier name; a file system takes 255 bytes
LONGEST_END = 48  # characters of the end of a path, of up to four bytes each


def run_names(question: Question, recipe: Recipe, dataset: Dataset, options: Options) -> list[str]:
    """Return the name of a run, which ends in a digest of its question, then the one that it once had."""
    layer = "" if options.layer is None else f"-layer{options.layer}"
    usual = "mix" if recipe.finetune else CHOSEN
    sweeps = recipe.sweep not in (SweepSettings(), SweepSettings(layer=(usual,)))
    learned = "sweep" if sweeps else f"seed{options.seed}{layer}"
    tuned = "finetuned-" if recipe.finetune else ""
    corpora = dict.fromkeys((corpus_part(dataset.corpus), dataset.corpus.name))
    return [f"{corpus}-{tuned}{learned}-{question.asked[:8]}" for corpus in corpora]


def upstream_names(upstream: Upstream, recipe: Recipe) -> list[Path]:
    """Return the folder of an upstream's runs on a recipe, below the results, then those under its other names."""
    untrained = "-untrained" if upstream.provenance.random_init else ""
    names = dict.fromkeys((upstream_part(upstream), earlier_upstream_part(upstream), *other_parts(upstream)))
    return [Path(encodable(recipe.name), f"{name}{untrained}") for name in names]


def upstream_part(upstream: Upstream) -> str:
    """Return the folder of an upstream's runs: the name of a published one, else the end of its path and a digest.

    my_model.py:build is my_model-build-1a2b3c4d; the digest is of the weights.
    """
    if upstream.name.startswith("hf:") or upstream.name.partition("@")[0] in NAMED:
        return slug(upstream.name)
    return "-".join(filter(None, (readable(upstream.name.replace(".py:", "-")), upstream.fingerprint[:8])))


def short_name(upstream: str) -> str:
    """Return an upstream's name as tables and figures show it; of a path from dots, home or root, its last part."""
    is_path = upstream.startswith((".", "~", "/"))
    return one_line(upstream.rstrip("/").rpartition("/")[2] if is_path else upstream)


def earlier_upstream_part(upstream: Upstream) -> str:
    """Return the folder that was once given to an upstream's runs: its name as it was typed, if that is short."""
    name = slug(upstream.name)
    if Anonymous().text(upstream.name) == upstream.name and len(name) <= LONGEST_NAME:
        return name
    end = slug(upstream.name.rstrip("/").rpartition("/")[2])[-LONGEST_NAME:]
    return f"{end}-{upstream.fingerprint[:8]}"


def other_parts(upstream: Upstream) -> list[str]:
    """Return the folders of the same upstream by its repository and by its name: hf:ORG/NAME may be hubert_base."""
    row = BY_REPOSITORY.get(upstream.provenance.source)
    names = [] if row is None else [row.name, f"hf:{row.repository}"]
    return [slug(name) for name in names] if upstream.name in names else []


def corpus_part(corpus: Corpus) -> str:
    """Return the name of a corpus; with its folder's where anybody's recordings have that name, as a manifest's."""
    if corpus.published is not None or not os.path.isdir(corpus.source):
        return corpus.name
    return "-".join(filter(None, (corpus.name, readable(str(Path(corpus.source).resolve())))))


# ---------------------------------------------------------------- letters


def readable(path: str) -> str:
    """Return the last part of a path as a folder's name, all but its letters as dashes; none of the home."""
    end = Anonymous().path(path).rstrip("/").rpartition("/")[2]
    return encodable(re.sub(r"[^\w.]+", "-", end))[-LONGEST_END:].strip("-.")


def slug(name: str) -> str:
    """Return a name for a folder: all but letters, digits, dots, dashes and underscores become two underscores."""
    return encodable(re.sub(r"[^\w.-]+", "__", name.strip("/.")))


def encodable(name: str) -> str:
    """Return a name that this system's file names can hold: in a locale of ASCII, other letters become underscores."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return re.sub(r"[^\x00-\x7f]+", "__", name)
    return name
