"""The audio of a dataset before any of it is decoded: digests and lengths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from downstream.data.audio import AudioCut
from downstream.data.corpus import Utterance
from downstream.data.inspection_cache import InspectionCache
from downstream.data.recordings import AudioFile, Recording, RecordingInfo, inspect
from upstream.encode import Item

KEPT = "recordings.sqlite"  # in the store's folder
READERS = min(8, os.cpu_count() or 1)  # threads that inspect recordings before extraction
AT_ONCE = 256  # files whose stamps one thread asks for: one alone takes less time than to hand it to a thread

Listed = TypeVar("Listed")


def inspected_items(
    utterances: Sequence[Utterance], kept: Path, progress: bool = True, check_audio: bool = False
) -> tuple[Item, ...]:
    """Every utterance as it is extracted, with digest and length.

    Each recording is read once, however many are cut from it, and not at all if an earlier run has read it and the file
    has not changed since. check_audio: read all of them.
    kept: the file of what earlier runs found.
    Raises UserError for what is no recording, or not a whole one, and for cuts that end after theirs.
    """
    recordings = list({utterance.audio.recording: None for utterance in utterances})
    with InspectionCache(kept) as inspections, ThreadPoolExecutor(READERS) as pool:
        infos = {} if check_audio else known_of(recordings, inspections, pool)
        unknown = [recording for recording in recordings if recording not in infos]
        # Reading, hashing and decoding all release the interpreter's lock.
        found = pool.map(inspect, unknown)
        for recording, info in zip(unknown, shown(found, "reading", len(unknown), progress), strict=True):
            infos[recording] = info
            if isinstance(recording, AudioFile):
                inspections.keep(recording, info)
        cuts = [utterance.audio.inspected(infos[utterance.audio.recording]) for utterance in utterances]
        digests = [cut.digest() for cut in cuts]
        seconds = lengths(cuts, digests, inspections, pool, progress)
    return tuple(
        Item(cut.recording.name, cut, digest, lasting)
        for cut, digest, lasting in zip(cuts, digests, seconds, strict=True)
    )


def known_of(
    recordings: Sequence[Recording], inspections: InspectionCache, pool: ThreadPoolExecutor
) -> dict[Recording, RecordingInfo]:
    """Return what earlier runs found of those recordings that have not changed since."""
    files = [recording for recording in recordings if isinstance(recording, AudioFile)]
    parts = [files[first : first + AT_ONCE] for first in range(0, len(files), AT_ONCE)]
    stamps = [stamp for part in pool.map(lambda part: [file.stamp() for file in part], parts) for stamp in part]
    known = inspections.recordings(files, stamps)
    return {file: info for file, info in zip(files, known, strict=True) if info is not None}


def lengths(
    cuts: Sequence[AudioCut],
    digests: Sequence[str],
    inspections: InspectionCache,
    pool: ThreadPoolExecutor,
    progress: bool,
) -> list[float]:
    """Return the seconds of every cut; those without their silence are decoded for it once."""
    quiet = {digest: cut for cut, digest in zip(cuts, digests, strict=True) if cut.effects.silence}
    known = inspections.lengths(quiet)
    unknown = [digest for digest in quiet if digest not in known]
    measured = pool.map(lambda digest: quiet[digest].seconds(), unknown)
    for digest, seconds in zip(unknown, shown(measured, "measuring", len(unknown), progress), strict=True):
        known[digest] = seconds
        inspections.keep_length(digest, seconds)
    return [known[digest] if digest in known else cut.seconds() for cut, digest in zip(cuts, digests, strict=True)]


def shown(found: Iterator[Listed], what: str, count: int, progress: bool) -> Iterator[Listed]:
    """Yield what is found, with a bar if there is anything to wait for."""
    bar: tqdm[Listed] = tqdm(found, what, count, leave=False, disable=None if progress and count else True)
    yield from bar


def recordings_kept(store: Path) -> Path:
    """Return the file in a store that holds what was found of recordings."""
    return store / KEPT
