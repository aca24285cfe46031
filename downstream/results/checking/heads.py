"""The file of heads beside a record: what it says of them, their shapes, and the layer weights in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from downstream.results.checking.numbers import SHARES_TOLERANCE, alike, name_of
from downstream.results.head_file import HeadFile, HeadTensors, of_record
from downstream.results.rebuilding import predictor_of, rebuilt
from downstream.results.record import HeadRecord, Result, Section
from downstream.tasks import Family, WeightedSum
from upstream.errors import UserError


def contradictions_of_heads(record: Result, tensors: HeadTensors, path: Path, family: Family | None) -> Iterator[str]:
    """Yield a clause for each difference of a record and its file of heads.

    path: of the file, for messages. family: None where its code is not here, and heads cannot be built.
    """
    about = tensors.metadata()
    if isinstance(about, HeadFile):
        yield from of_metadata(record, about)
    for head in record.heads:
        name = name_of(head)
        try:
            yield from of_layer_weights(head, tensors.of(name), record.upstream.layers)
            if isinstance(about, HeadFile) and family is not None and name in about.heads:
                rebuilt(name, about, predictor_of(name, about, family), tensors, path)
        except UserError as error:
            yield f"its heads are not those of its recipe and upstream: {str(error).rstrip('.')}"


def of_metadata(record: Result, about: HeadFile) -> Iterator[str]:
    """Yield clauses on what a file of heads says of its run otherwise than the record does."""
    expected = of_record(record, about.folds, about.states.reduction, about.upstream_seed)
    if about.score is None or expected.score is None:
        yield "its heads were written without the score that it has"
        return
    for title, found, wanted in (
        ("upstream", about.upstream, expected.upstream),
        ("corpus", about.corpus, expected.corpus),
        ("score", about.score, expected.score),
    ):
        for name in differing(found, wanted):
            yield (
                f"its heads were written with the {title} {name} {getattr(found, name)!s:.80}, and it says "
                f"{getattr(wanted, name)!s:.80}"
            )
    if about.recipe != expected.recipe or about.task != expected.task:
        yield "its heads were written with another recipe than it says"
    if (about.heads, about.primary) != (expected.heads, expected.primary):
        yield "its heads were written as those of other folds, seeds, layers, learning rates or steps than it says"
    if about.encoders != expected.encoders:
        yield "its heads were written with other encoders than it says"
    if about.states.codec != expected.states.codec:
        yield "its heads were written as learned from states of another codec than it says"


def differing(one: Section, other: Section) -> list[str]:
    """Return the names of the fields in which two sections differ."""
    return [name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)]


def of_layer_weights(head: HeadRecord, tensors: Mapping[str, Tensor], layers: int) -> Iterator[str]:
    """Yield a clause where the layer weights of a record are not those of the head's tensors.

    layers: L of the upstream.
    """
    mixed, own = WeightedSum(layers, head.layer), tensors.get("weighted_sum.weights")
    if own is None or own.shape != mixed.weights.shape:
        yield f"the head {name_of(head)} weighs other layers than the {layers} of its upstream"
        return
    mixed.weights.data = own
    shares = mixed.proportions()
    same = len(shares) == len(head.layer_weights)
    if not same or not all(alike(*pair, SHARES_TOLERANCE) for pair in zip(shares, head.layer_weights, strict=True)):
        yield f"the layer weights of the head {name_of(head)} are not those in its file"
