"""The upstream of a record: trained or not, its sizes, and fingerprints that are known without any weights."""

from __future__ import annotations

from collections.abc import Iterator

from downstream.results.caveats import UNTRAINED
from downstream.results.record import Result, UpstreamRecord
from upstream.names import NAMED, name_now
from upstream.wavlm import untrained_fingerprints

WITHOUT_FILES = ("filterbank", "custom ")  # formats of upstreams that have no file of weights


def contradictions_of_upstream(record: Result) -> Iterator[str]:
    """Yield a clause where a record calls an untrained upstream trained, and for sizes that its upstream cannot have.

    The fingerprints of untrained WavLMs of the catalogue's sizes, drawn from the record's seeds, are computed here.
    """
    recorded = record.upstream
    yield from of_training(recorded)
    if not recorded.random_init and any(caveat.startswith(UNTRAINED) for caveat in record.caveats):
        yield "its caveats say that its upstream is untrained, and it calls it trained"
    row = NAMED.get(name_now(recorded.name.partition("@")[0], recorded.layers, recorded.dim))
    sizes = (recorded.layers, recorded.dim, recorded.stride)
    if row is not None and sizes != (row.layers, row.width, row.stride):
        yield (
            f"its upstream {recorded.name} has {recorded.layers} layers of {recorded.dim}, a frame every "
            f"{recorded.stride:g} samples; that of this name has {row.layers} of {row.width}, every {row.stride}"
        )
    if not recorded.random_init:
        seeds = {0, *record.seeds.get("head", ()), *([record.options.seed] if record.options else ())}
        drawn = untrained_fingerprints(sorted(seeds)).get(recorded.fingerprint)
        if drawn is not None:
            yield f"its fingerprint is that of an untrained {drawn}, and it calls its upstream trained"


def of_training(recorded: UpstreamRecord) -> Iterator[str]:
    """Yield clauses where origin and digest of the weights do not fit an upstream that is, or is not, trained."""
    drawn = recorded.format == "untrained" or recorded.source.startswith("drawn from seed")
    if drawn and not recorded.random_init:
        yield f"its upstream's weights are {recorded.source} ({recorded.format}), and it calls them trained"
    if recorded.random_init and recorded.file_sha256 is not None:
        yield "it calls its upstream untrained, and names the digest of a file of weights"
    if not (recorded.random_init or recorded.file_sha256 or recorded.format.startswith(WITHOUT_FILES) or drawn):
        yield f"it calls its upstream trained, and names no digest of the weights of {recorded.format}"
