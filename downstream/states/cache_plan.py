"""Choose what to cache from a size estimate, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from downstream.recipes import StoreSettings
from upstream import extract
from upstream.base import Upstream
from upstream.encode import Item, seconds_of
from upstream.errors import UserError
from upstream.sizes import free_space, readable
from upstream.store import StateStore, StoreKey, estimate_bytes


@dataclass(frozen=True)
class CachePlan:
    """Decision where the states of a corpus are kept or computed.

    reduction: what the heads will read, "means", "statistics" or "frames".
    key: of their store; None where the upstream runs while heads are trained.
    root: folder of all states. opened: the store, where there is one already.
    total, missing: estimated bytes on disk of all of them, and of those that the store does not have yet.
    sentence: what was decided and why, for the user.
    fell_back: True where the recipe would have the states stored, and the store has no room for them.
    """

    reduction: str
    key: StoreKey | None
    root: Path
    opened: StateStore | None
    total: int
    missing: int
    sentence: str
    fell_back: bool = False

    @property
    def mode(self) -> str:
        return self.reduction if self.key else "off"

    def open_store(self, upstream_name: str) -> StateStore | None:
        """Return the store of the states, created if it is not there; None where they are not stored."""
        if self.key is None:
            return None
        return self.opened or StateStore(self.root, self.key, upstream_name)


def plan_cache(
    settings: StoreSettings,
    needs: str,
    upstream: Upstream,
    items: Sequence[Item],
    root: Path,
    limit: int | None,
    began_without: bool = False,
) -> CachePlan:
    """Choose what to cache.

    needs: what the heads need at least, "means", "statistics" or "frames".
    root: folder of all states. limit: bytes that may be added to it; None for half of what is free there.
    began_without: True where an earlier start of the run found no room for its states: it goes on without a store,
        since stored states are rounded otherwise, and its scores would depend on when the disk was full.

    Raises UserError where the recipe asks for means and the heads need more, or for more bytes than are allowed.
    """
    reduction = reduction_of(settings, needs)
    allowed, source = (
        (limit, "--store-limit") if limit is not None else (free_space(root) // 2, "half of the free disk")
    )
    plan = measured_plan(settings, reduction, upstream, items, root)
    measured = f"{plan.sentence}, {readable(allowed)} is the limit ({source})"
    plan = replace(plan, sentence=f"{measured}.")
    if settings.mode == "off":
        return replace(plan, key=None, sentence=f"{measured}. As asked, the upstream runs while heads learn.")
    if settings.mode == "auto" and began_without:
        how = "This run began without a store, and goes on so: the upstream runs while heads learn."
        return replace(plan, key=None, sentence=f"{how} --fresh begins it again, with a store.", fell_back=True)
    if plan.missing <= allowed:
        return plan
    if settings.mode == "auto":
        sentence = f"{measured}: so the upstream runs while heads learn."
        return replace(plan, key=None, sentence=sentence, fell_back=True)
    smaller = ", -o store.codec=int8" if reduction == "frames" and settings.codec != "int8" else ""
    raise UserError(f"{measured}. Make room there, raise --store-limit, or choose -o store.mode=off{smaller}.")


def reduction_of(settings: StoreSettings, needs: str) -> str:
    """Return what heads read of the states; raise UserError where the recipe asks for less than they need."""
    if settings.mode == "means" and needs != "means":
        read = "all frames" if needs == "frames" else "means and standard deviations"
        raise UserError(
            f"This task's heads read {read}; means are not enough for them. Choose -o store.mode=auto, frames or off."
        )
    return needs if settings.mode in {"auto", "off"} else settings.mode


def measured_plan(
    settings: StoreSettings, reduction: str, upstream: Upstream, items: Sequence[Item], root: Path
) -> CachePlan:
    """Return the plan to store all states, whose sentence says what they take, without the limit."""
    key = StoreKey.of(upstream, reduction, settings.codec if reduction == "frames" else None)
    total = estimate_bytes(key, upstream.stride, durations(items))
    is_there = settings.mode != "off" and (root / key.folder_name()).is_dir()
    store = StateStore(root, key, upstream.name) if is_there else None
    missing = estimate_bytes(key, upstream.stride, durations(items if store is None else extract.missing(store, items)))
    form = f" as {key.codec}" if reduction == "frames" else ""
    sentence = (
        f"{reduction.capitalize()} of {len(items):,} utterances ({seconds_of(items) / 60:,.1f} min) take "
        f"{readable(total)} in the store{form}; {readable(missing)} would be written"
    )
    return CachePlan(reduction, key, root, store, total, missing, sentence)


def durations(items: Sequence[Item]) -> list[float]:
    """Return the seconds of each utterance, equal audio once."""
    return list({item.digest: item.seconds for item in items}.values())
