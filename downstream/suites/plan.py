"""`--plan`: what a suite or a run will take, before anything is computed: hours of audio, disk, and time to encode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from downstream.planned_run import PlannedRun
from downstream.states import CachePlan
from downstream.suites.carrying_out import Loader, is_finished
from downstream.suites.reading import Readable
from downstream.training import batching_of
from upstream.base import Upstream
from upstream.check.layers import syllables
from upstream.check.speed import timed
from upstream.encode import Item, seconds_of
from upstream.errors import UserError
from upstream.extract import missing
from upstream.sizes import free_space
from upstream.sizes import readable as readable_size
from upstream.store import StoreKey, estimate_bytes
from upstream.terminal import plain_table
from upstream.text import counted

TIMED_SECONDS = 10.0  # of the utterance whose encoding is timed
SAMPLED_BATCHES = 50  # of an epoch, for the mean audio of a batch


@dataclass(frozen=True)
class Need:
    """What one run will take.

    planned: the run. plan: of its states; None where it was finished before, and for want of room.
    to_store: utterances that are to be encoded once. in_training: seconds of audio that are encoded while heads learn.
    why_not: what stands against the run, "" without.
    """

    label: str
    planned: PlannedRun
    plan: CachePlan | None
    to_store: Sequence[Item]
    in_training: float
    why_not: str = ""


def needs_of(readable: Sequence[Readable], upstream: Upstream) -> list[Need]:
    """Return what every recipe will take of an upstream."""
    return [need_of(one.label, PlannedRun.of(upstream, one.read, one.options)) for one in readable]


def need_of(label: str, planned: PlannedRun) -> Need:
    """Return what a run will take."""
    if is_finished(planned):
        return Need(label, planned, None, (), 0.0)
    try:
        plan = planned.plan()
    except UserError as error:
        return Need(label, planned, None, (), 0.0, str(error))
    whole = planned.whole if plan.key is not None else []
    to_store = list({item.digest: item for item in whole}.values())
    to_store = to_store if plan.opened is None else missing(plan.opened, to_store)
    return Need(label, planned, plan, to_store, encoded_in_training(planned, is_stored=plan.key is not None))


def encoded_in_training(planned: PlannedRun, is_stored: bool) -> float:
    """Return about how many seconds of audio the upstream encodes while heads learn: windows, and what is not stored.

    From the mean audio of the first batches of each fold; evaluations on what is not stored are counted too.
    """
    recipe, dataset = planned.recipe.learned, planned.dataset
    once = 0.0 if is_stored else seconds_of(planned.whole)
    if recipe is None:
        return once
    settings, items, total = recipe.training, dataset.items, once
    window = settings.crop.seconds if settings.crop is not None and settings.crop.of == "audio" else None

    def encoded(index: int) -> float:
        seconds = items[index].seconds
        if window is not None and seconds > window:
            return window
        return 0.0 if is_stored else seconds

    for fold in dataset.split.folds:
        batches = batching_of(fold.train, dataset, settings).epoch(0)[:SAMPLED_BATCHES]
        mean = sum(encoded(index) for batch in batches for index in batch.tolist()) / len(batches)
        total += mean * settings.steps * settings.accumulate
        if not is_stored:
            total += seconds_of(items[index] for index in fold.dev) * (settings.steps // settings.evaluate_every)
    return total if planned.recipe.finetune is None else total * len(planned.configs)  # each has an encoder


def speed_of(upstream: Upstream) -> float:
    """Return how many seconds of audio an upstream encodes a second on this machine, measured on one utterance."""
    return TIMED_SECONDS / timed(lambda: upstream.means([syllables(TIMED_SECONDS, 0)]), upstream.device)


# ---------------------------------------------------------------- display


def plans_of(readable: Sequence[Readable], upstreams: dict[str, Loader]) -> Iterator[Table | Text]:
    """Yield what each upstream will take of every recipe, and altogether."""
    for name, load in upstreams.items():
        upstream = load()
        needs = needs_of(readable, upstream)
        yield table_of(name, needs)
        yield from map(Text, sentences(needs, upstream))


def table_of(name: str, needs: Iterable[Need]) -> Table:
    """Return a line on every run."""
    table = plain_table(title=f"plan of {name}")
    for heading in ("recipe", "corpus", "utterances", "audio", "states", "on disk", "to write", "encoded in training"):
        table.add_column(heading, justify="left" if heading in ("recipe", "corpus", "states") else "right")
    for need in needs:
        dataset, plan = need.planned.dataset, need.plan
        used = [dataset.items[index] for index in dataset.split.used]
        known = (need.label, dataset.corpus.name, f"{len(used):,}", hours(seconds_of(used)))
        if plan is None:
            table.add_row(*known, "no room" if need.why_not else "finished before", "-", "-", "-")
            continue
        sizes = (readable_size(plan.total), readable_size(plan.missing)) if plan.key else ("-", "-")
        table.add_row(*known, plan.mode, *sizes, hours(need.in_training) if need.in_training else "-")
    return table


def sentences(needs: Sequence[Need], upstream: Upstream) -> list[str]:
    """Return what all runs of an upstream take together: time, disk, heads."""
    said = [f"{need.label} cannot be run: {need.why_not}" for need in needs if need.why_not]
    once = {item.digest: item for need in needs for item in need.to_store}
    in_training = sum(need.in_training for need in needs)
    if once or in_training:
        speed, total = speed_of(upstream), seconds_of(once.values())
        while_learning = f", and {hours(in_training)} while heads learn" if in_training else ""
        said += [
            f"To encode: {hours(total)} of audio once, whatever the number of recipes{while_learning}.",
            f"{upstream.name} was timed here at {speed:,.0f} times real time on {upstream.device}: about "
            f"{duration((total + in_training) / speed)}, and the learning of heads beside.",
        ]
    if any(need.in_training and need.planned.recipe.finetune is not None for need in needs):
        said.append("Where the encoder learns, gradients take about twice as long again, which is not counted in this.")
    if to_write := bytes_to_write(needs):
        root = needs[0].planned.options.store
        free = readable_size(free_space(root))
        said.append(f"Disk: about {readable_size(to_write)} to write in {root}, where {free} are free.")
    heads = sum(len(need.planned.configs) * len(need.planned.dataset.split.folds) for need in needs if need.plan)
    return [*said, f"{counted(heads, 'head')} to learn. Nothing was computed; leave --plan out to begin."]


def bytes_to_write(needs: Iterable[Need]) -> int:
    """Return the bytes that the states of all runs will take, those that several runs read once."""
    stores: dict[StoreKey, dict[str, float]] = {}
    stride = 0.0
    for need in needs:
        if need.plan is not None and need.plan.key is not None:
            stride = need.planned.upstream.stride
            stores.setdefault(need.plan.key, {}).update({item.digest: item.seconds for item in need.to_store})
    return sum(estimate_bytes(key, stride, list(seconds.values())) for key, seconds in stores.items())


def hours(seconds: float) -> str:
    """Return seconds of audio in the unit that fits them."""
    return f"{seconds / 60:,.1f} min" if seconds < 3 * 3600 else f"{seconds / 3600:,.0f} h"


def duration(seconds: float) -> str:
    """Return a time that something takes, roughly."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:,.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:,.1f} h"
