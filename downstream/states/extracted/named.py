"""`downstream.extract`: from the names of an upstream and of recordings to a folder of states."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from downstream.data import recordings_named
from downstream.states.extracted.contents import Contents
from downstream.states.extracted.extraction import Extracted, write_states
from upstream.base import Upstream
from upstream.catalog import load
from upstream.ranks import ALONE, Ranks

if TYPE_CHECKING:
    import pandas


def extract(
    upstream: str | Path | Upstream,
    recordings: str | Path | Sequence[str | Path],
    to: str | Path,
    *,
    layers: Sequence[int] | None = None,
    means: bool = False,
    format: str = "npy",
    numbers: str = "float32",
    device: str = "auto",
    dtype: str = "float32",
    random_init: bool = False,
    seed: int = 0,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> pandas.DataFrame:
    """Write the hidden states of recordings to files: `wavprobe extract` from Python.

    upstream: a name or path as `upstream.load` takes it, or an upstream that it gave.
    recordings: audio files, folders, tables like a manifest.csv, lists of files (.txt, .lst).
    to: the folder of the states. What it has already is not encoded again.
    layers: their numbers, -1 for the last; None for all. means: over the frames of each recording, in place of frames.
    format: "npy", "safetensors" or "hf" (for `datasets.load_from_disk`). numbers: "float32" or "float16".
    device, dtype, random_init, seed: of an upstream that is given by its name.
    skip_unreadable: leave out what is no audio, and say so.

    Returns index.csv as a table, a row a recording in their order; `file` is the path of its states, (L, T, D) or, of
    means, (L, D).

    Raises UserError for whatever the caller can fix: a wrong name, no audio, a full disk, a folder of other states.

    table = downstream.extract("wavlm_base", "interviews", "states", layers=[6, 12])
    numpy.load(table.file[0]).shape       # (2, 499, 768) for 10 s
    """
    import pandas

    words = [recordings] if isinstance(recordings, str | Path) else recordings
    if isinstance(upstream, Upstream):
        encoder = upstream
    else:
        encoder = load(str(upstream), device=device, dtype=dtype, random_init=random_init, seed=seed)
    contents = Contents.of(encoder, layers, means, format, numbers)
    extracted = extract_named(
        contents, list(map(str, words)), Path(to), skip_unreadable=skip_unreadable, progress=progress
    )
    table = pandas.DataFrame(extracted.rows)
    table["file"] = [str(extracted.folder / file) for file in table["file"]]
    return table


def extract_named(
    contents: Contents,
    words: Sequence[str],
    folder: Path,
    *,
    skip_unreadable: bool = False,
    progress: bool = True,
    ranks: Ranks = ALONE,
) -> Extracted:
    """Write the states of the recordings that the words of a command line name, and say what was left out."""
    named = recordings_named(words, progress=progress, skip_unreadable=skip_unreadable)
    with logging_redirect_tqdm():
        for note in named.notes if progress else ():
            tqdm.write(note, sys.stderr)
        return write_states(folder, contents, named.recordings, progress, ranks)
