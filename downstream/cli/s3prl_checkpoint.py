"""s3prl's -k: the checkpoint of an upstream that -u names by its kind (wavlm_local) or by its published model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from downstream.cli.s3prl_flags import ANY_CHECKPOINT
from upstream.base import Upstream
from upstream.catalog import NAMED, load, load_for_sizes
from upstream.errors import UserError
from upstream.names import is_repository, resolved


def name_of(upstream: str, checkpoint: str) -> str:
    """Return the name that `upstream.load` takes for a checkpoint: its path, or its repository on the hub.

    Raises UserError for an address, for what is not there, and for an upstream without weights.
    """
    stem = upstream.partition("@")[0]
    if stem in NAMED and not NAMED[stem].has_weights:
        raise UserError(f"-k {checkpoint}: {upstream} has no weights to load; leave -k out, or type -u {checkpoint}.")
    if "://" in checkpoint:
        raise UserError(f"-k {checkpoint}: fetch the file first (curl -LO '{checkpoint}'), and give its path.")
    is_on_the_hub = checkpoint.startswith("hf:") or is_repository(checkpoint.partition("@")[0])
    if Path(checkpoint).exists() or (is_on_the_hub and not Path(checkpoint).parent.is_dir()):
        return checkpoint
    raise UserError(f"-k {checkpoint}: there is no such file or folder; check the path.")


def load_checkpoint(upstream: str, checkpoint: str, **loading: Any) -> Upstream:
    """Load a checkpoint as the upstream of a name; loading: further arguments of `upstream.load`.

    Raises UserError where it is not of the architecture that the name stands for.
    """
    upstream = resolved(upstream)
    loaded = load(name_of(upstream, checkpoint), **loading)
    if upstream.partition("@")[0] in NAMED:
        expected = load_for_sizes(upstream)
        if (loaded.num_layers, loaded.dim) != (expected.num_layers, expected.dim):
            raise UserError(
                f"-k {checkpoint} has {loaded.num_layers} layers of width {loaded.dim}, and {upstream} has "
                f"{expected.num_layers} of {expected.dim}; type -u {checkpoint} to take it for what it is."
            )
    elif not ANY_CHECKPOINT.fullmatch(upstream):
        raise UserError(f"-u {upstream} with -k {checkpoint}: type -u {checkpoint} alone.")
    return loaded
