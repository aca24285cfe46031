"""Encode recordings into files of their own: the same batches, and the same states, as those of the store."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import torch
from torch import Tensor
from tqdm import tqdm

from downstream.data import NamedRecording
from downstream.states.extracted.contents import ANOTHER, Contents
from downstream.states.extracted.formats import Array, finish_dataset, write
from downstream.states.extracted.index import Row, known_rows, note, own_list, remove_lists, write_index
from upstream.encode import Item, seconds_of
from upstream.errors import UserError
from upstream.extract import SHARD_BYTES, Wanted, extract, missing, plan
from upstream.ranks import ALONE, Ranks
from upstream.sizes import free_memory, free_space, readable
from upstream.store import StoreKey, estimate_bytes
from upstream.text import counted
from upstream.unfinished import remove_leftovers

LONG = 300.0  # seconds of a recording that can take longer than all others together


@dataclass(frozen=True)
class Extracted:
    """A folder of extracted states. rows: of the index, in the order of the recordings; encoded: seconds of audio."""

    folder: Path
    rows: tuple[Row, ...]
    encoded: float


def write_states(
    folder: Path,
    contents: Contents,
    recordings: Sequence[NamedRecording],
    progress: bool = True,
    ranks: Ranks = ALONE,
) -> Extracted:
    """Write the states of recordings into a folder, with index.csv and extraction.json.

    What the folder has already of the same recordings is not encoded again; recordings that have changed are. Several
    processes (`ranks`) share the work.

    Raises UserError for a folder of other contents or of other recordings by the same names, where disk or memory
    have no room, and for audio that cannot be encoded.
    """
    begin(folder, contents, ranks)
    known = known_rows(folder)
    wanted = {recording.id: row_of(recording) for recording in recordings}
    refuse_others_of_the_name(folder, known, wanted)
    current = without_outdated(known, wanted)
    ranks.barrier(contents.upstream.device)  # until all have read what is there
    if ranks.main:
        for file in {row["file"] for row in known.values()} - {row["file"] for row in current.values()}:
            (folder / file).unlink(missing_ok=True)
    files = StateFiles(folder, contents, [row for name, row in wanted.items() if name not in current])
    items = [recording.item for recording in recordings]
    refuse_without_room(folder, contents, missing(files, items), len(current.keys() & wanted.keys()), progress, ranks)
    sizes = sizes_in_store(contents, items)
    batches = [batch for batch in plan(items, sizes) if missing(files, batch)]
    with own_list(folder) as files.list:
        share = batches[ranks.rank :: ranks.world]
        # Files of single recordings are written batch by batch, so that a killed process loses seconds.
        together = sizes if contents.format == "hf" else dict.fromkeys(sizes, SHARD_BYTES)
        extract(contents.upstream, share, [Wanted(files, contents.reduction, together)], progress and ranks.main)
        ranks.barrier(contents.upstream.device)
        rows = indexed(folder, contents, list(wanted), ranks)
        ranks.barrier(contents.upstream.device)  # before the list is removed
    return Extracted(folder, tuple(rows), sum(seconds_of(batch) for batch in batches))


def begin(folder: Path, contents: Contents, ranks: Ranks) -> None:
    """Make the folder, and remove what interrupted commands left half written; the other processes wait for it."""
    if ranks.main:
        contents.begin(folder)
        for pattern in ("", "*/", "*/**/"):
            remove_leftovers(folder, pattern)
    ranks.barrier(contents.upstream.device)


def indexed(folder: Path, contents: Contents, names: Sequence[str], ranks: Ranks) -> list[Row]:
    """Write the index of all that is in the folder, by the first process; return the rows of the names.

    Raises UserError where the states of one are not there.
    """
    found = known_rows(folder)
    if lost := [name for name in names if name not in found]:
        raise UserError(
            f"{counted(len(lost), 'recording was', 'recordings were')} encoded, but {folder} lacks the states, of "
            f"{lost[0]} first; they were removed in the meantime, or the processes do not share that disk. Run the "
            "same command again."
        )
    rows = [found.pop(name) for name in names]
    if ranks.main:
        if contents.format == "hf":
            finish_dataset(folder, contents, sorted({row["file"] for row in (*rows, *found.values())}))
        write_index(folder, [*rows, *found.values()])
        remove_lists(folder)
    return rows


def row_of(recording: NamedRecording) -> Row:
    """Return the row of a recording in the index, as far as it is known before it is encoded."""
    audio = recording.utterance.audio
    return {
        "id": recording.id,
        "file": "",
        "path": recording.path,
        "start": audio.start,
        "duration": audio.duration,
        "channel": audio.channel,
        "seconds": round(recording.item.seconds, 6),
        "frames": None,
        "bytes": None,
        "digest": recording.item.digest,
    }


class StateFiles:
    """A folder of states, to be filled. list: where this process notes what it has written."""

    list: IO[bytes]

    def __init__(self, folder: Path, contents: Contents, rows: Sequence[Row]) -> None:
        """rows: of the recordings whose states are missing."""
        self._folder, self._contents = folder, contents
        self._rows: dict[str, list[Row]] = defaultdict(list)  # by the digest of the audio, which several may share
        for row in rows:
            self._rows[row["digest"]].append(row)

    def __contains__(self, digest: str) -> bool:
        return digest not in self._rows

    def add(self, digests: Sequence[str], states: Sequence[Tensor]) -> None:
        """Write the states of all layers, (L, D) or (L, T, D) of each digest, as far as they are missing."""
        rows, arrays = [], []
        for digest, one in zip(digests, states, strict=True):
            own = self._rows.get(digest, [])
            rows += own
            arrays += [selected(one, self._contents, own[0]["id"])] * len(own) if own else []
        if rows:
            self._write(rows, arrays)
        for digest in digests:
            self._rows.pop(digest, None)

    def refresh(self) -> None:
        """Nothing: ranks share the batches among them, and what another command writes is found by the next one."""

    def _write(self, rows: Sequence[Row], arrays: Sequence[Array]) -> None:
        files = write(self._folder, self._contents, rows, arrays)
        for row, file, array in zip(rows, files, arrays, strict=True):
            frames = array.shape[1] if self._contents.reduction == "frames" else None
            row |= {"file": file, "frames": frames, "bytes": (self._folder / file).stat().st_size}
        note(self.list, rows)


def selected(states: Tensor, contents: Contents, name: str) -> Array:
    """Return the layers that are asked for as numbers of the files; raise UserError where float16 cannot hold them."""
    layers = contents.layers
    chosen = states if len(layers) == len(states) and layers == tuple(range(len(states))) else states[list(layers)]
    array: Array = chosen.to(getattr(torch, contents.numbers)).numpy()
    if contents.numbers == "float16" and not bool(torch.isfinite(torch.from_numpy(array)).all()):
        raise UserError(
            f"A state of {name} is of magnitude {float(chosen.abs().max()):.6g}, and float16 ends at 65504; add "
            "--dtype-out float32, and choose a new folder."
        )
    return array


# ---------------------------------------------------------------- what is there already


def refuse_others_of_the_name(folder: Path, known: Mapping[str, Row], wanted: Mapping[str, Row]) -> None:
    """Raise UserError where the folder has the states of another recording under the name of one."""
    place = ("path", "start", "duration", "channel")
    for name, row in wanted.items():
        there = known.get(name)
        if there and there["digest"] != row["digest"] and any(there[key] != row[key] for key in place):
            raise UserError(
                f"{folder} has states under the name {name} already, of {there['path']}, which is not {row['path']}. "
                f"{ANOTHER}"
            )


def without_outdated(known: Mapping[str, Row], wanted: Mapping[str, Row]) -> dict[str, Row]:
    """Return the rows that hold: not those of recordings that have changed, nor others that are in their file.

    Raises UserError where one of these others would be lost, because it is not named now.
    """
    changed = {row["file"] for name, row in known.items() if name in wanted and wanted[name]["digest"] != row["digest"]}
    if lost := [row for name, row in known.items() if row["file"] in changed and name not in wanted]:
        raise UserError(
            f"A recording has changed whose states lie in one file with those of {lost[0]['path']}, which is not named "
            "now. Name all recordings of the folder, and what has changed is encoded again."
        )
    return {name: row for name, row in known.items() if row["file"] not in changed}


def sizes_in_store(contents: Contents, items: Sequence[Item]) -> dict[str, int]:
    """Return the bytes of each utterance in a store of float32, by which its batches are cut, by digest."""
    key = StoreKey.of(contents.upstream, contents.reduction, "float32")
    return {item.digest: estimate_bytes(key, contents.upstream.stride, [item.seconds]) for item in items}


def refuse_without_room(
    folder: Path, contents: Contents, items: Sequence[Item], there: int, progress: bool, ranks: Ranks
) -> None:
    """Say how much will be written; raise UserError where the disk, or memory for the longest, has no room for it."""
    if not items or not ranks.main:
        return
    upstream = contents.upstream
    whole = StoreKey.of(upstream, contents.reduction, "float32")
    key = replace(whole, num_layers=len(contents.layers), codec=contents.numbers)
    needed, free = estimate_bytes(key, upstream.stride, [item.seconds for item in items]), free_space(folder)
    audio = f"{counted(len(items), 'recording')} of {seconds_of(items) / 60:,.1f} min"
    if progress:
        known = f"; {there:,} more are there already" if there else ""
        tqdm.write(f"{audio}: about {readable(needed)} in {folder}, where {readable(free)} are free{known}", sys.stderr)
    if needed > free:
        raise UserError(
            f"The states of {audio} take about {readable(needed)}, and {readable(free)} are free on the disk of "
            f"{folder}. Make room, choose another disk with --to, or take less: --means, fewer --layers, "
            "--dtype-out float16."
        )
    longest = max(items, key=lambda item: item.seconds)
    held, memory = estimate_bytes(whole, upstream.stride, [longest.seconds]), free_memory()
    if memory is not None and held > memory:
        raise UserError(
            f"{longest.name} lasts {longest.seconds / 60:,.1f} min; the states of all layers take {readable(held)}, "
            f"and {readable(memory)} of memory are free. Cut it by a manifest with path, start and duration, or "
            "leave it out."
        )
    if progress and longest.seconds > LONG and upstream.num_layers > 1:
        tqdm.write(
            f"{longest.name} lasts {longest.seconds / 60:,.1f} min; where an encoder has attention, time and memory "
            "grow with the square of the length. A manifest with path, start and duration cuts it.",
            sys.stderr,
        )
