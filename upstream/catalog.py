"""`load` for every form of name. Nothing heavy is imported before an upstream is loaded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upstream.errors import UserError
from upstream.lazy import import_object
from upstream.names import NAMED, is_function, resolved, unknown_upstream
from upstream.request import NamedUpstream, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from upstream.base import Upstream

__all__ = ["DTYPES", "FASTEST", "NAMED", "OTHER_FORMS", "load", "load_for_sizes", "loading_of_each"]

logger = logging.getLogger("wavprobe")

OTHER_FORMS = (
    (
        "ORG/NAME[@REVISION]",
        "any transformers speech encoder, from the hub or the local cache; hf:ORG/NAME is the same",
    ),
    ("PATH", "a WavLM checkpoint: Hugging Face directory, Microsoft .pt, torchaudio .pth, s3prl .ckpt"),
    ("module.py:function", "your own model"),
)
DTYPES = ("float32", "bfloat16", "float16")
FASTEST = "auto"

HUGGING_FACE = "upstream.huggingface:load"  # imported when an upstream is loaded
CUSTOM = "upstream.custom:load"


def load(
    name: str, *, device: str = "cpu", dtype: str = "float32", random_init: bool = False, seed: int = 0
) -> Upstream:
    """Load an upstream, frozen and in evaluation mode.

    name: a name of `NAMED` in any spelling (those with a repository may carry @REVISION), ORG/NAME[@REVISION] of the
        hub with or without "hf:", the path of a checkpoint, or module.py:function.
    device: cpu, cuda, cuda:N, or auto, which is the GPU if there is one.
    dtype: precision of weights and states: float32, bfloat16, float16 or auto; filterbanks are always float32. "auto"
        is the fastest whose scores agree with float32's: for WavLM bfloat16 where the device multiplies it faster
        (see `fastest_dtype`); for all others float32, because their scores in bfloat16 were not measured.
    random_init: the same architecture with untrained weights drawn from `seed`.

    Raises UserError for an unknown name, with the nearest known one, and for a checkpoint, device or precision that
    cannot be used.

    wavlm = upstream.load("wavlm_base", device="auto")
    control = upstream.load("wavlm_base", random_init=True, seed=1)
    states = wavlm([torch.zeros(16_000)])     # HiddenStates: layers (13, 1, 49, 768), lengths [49]
    """
    name = resolved(name)
    stem, _, revision = name.partition("@")
    request = Request(
        name,
        revision=revision or None,
        device=torch_device(device),
        dtype=None if dtype == FASTEST else torch_dtype(dtype),
        random_seed=seed if random_init else None,
    )
    if stem in NAMED:
        return _load_named(NAMED[stem], request)
    if name.endswith(".py"):
        raise UserError(f"{name} is a Python file; add the function that builds the model: {name}:function.")
    if name.startswith("hf:"):
        return _load_foreign(HUGGING_FACE, request)
    if is_function(name):
        return _load_foreign(CUSTOM, request)
    if Path(name).exists() or Path(name).is_symlink():
        return _load_path(request)
    raise UserError(unknown_upstream(name))


def refuse_unknown(name: str) -> None:
    """Raise UserError for a name that no upstream can be loaded by, without loading anything."""
    typed = resolved(name)
    is_there = Path(typed).exists() or Path(typed).is_symlink()
    if typed.partition("@")[0] not in NAMED and not typed.startswith("hf:") and not is_function(typed) and not is_there:
        raise UserError(unknown_upstream(typed))


def loading_of_each(names: Sequence[str], loading: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return how each of several upstreams is loaded, by its name; loading: the arguments of `load` for all of them.

    Untrained weights are asked of those that have any. Filterbanks among them stay as they are, which is said; where
    there is nothing else, `load` refuses them.
    """
    fixed = [name for name in names if (row := NAMED.get(resolved(name))) is not None and not row.has_weights]
    if not loading.get("random_init") or not fixed or len(fixed) == len(names):
        return dict.fromkeys(names, loading)
    logger.warning("--random-init has no effect on %s, in which nothing is learned.", ", ".join(fixed))
    return {name: {**loading, "random_init": name not in fixed} for name in names}


def load_for_sizes(name: str) -> Upstream:
    """Load an upstream for its sizes alone (layers, width, stride), without downloading anything of a named one."""
    row = NAMED.get(resolved(name).partition("@")[0])
    if row is None or not row.has_weights:
        return load(name)
    from upstream.unloaded import UnloadedUpstream

    return UnloadedUpstream(row)


def torch_device(device: str) -> torch.device:
    """Return the device of that name; "auto" is the GPU if there is one.

    Raises UserError for a device that is unknown, unsupported or not available.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"There is no device {device!r}; type auto, cpu, cuda or cuda:0.") from error
    if chosen.type not in ("cpu", "cuda"):
        raise UserError(f"Device {device!r} is not supported: front ends here need float64; type cpu or cuda.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"Device {device!r} was asked for, but PyTorch sees no CUDA device here; type --device cpu.")
    return chosen


def torch_dtype(dtype: str) -> torch.dtype:
    """Return the precision of that name; raises UserError for an unknown one."""
    import torch

    if dtype not in DTYPES:
        raise UserError(f"There is no precision {dtype!r}; type one of {', '.join(DTYPES)}, {FASTEST}.")
    chosen: torch.dtype = getattr(torch, dtype)
    return chosen


def _load_named(row: NamedUpstream, request: Request) -> Upstream:
    fetches = row.repository is not None and (request.random_seed is None or not row.configuration)
    if request.revision is not None and not fetches:
        raise UserError(
            f"{request.typed}: a revision has no meaning where nothing is fetched; leave @{request.revision} out."
        )
    if not row.has_weights:
        _refuse_random_init(request)
    load_row: Callable[[NamedUpstream, Request], Upstream] = import_object(row.loader)
    return load_row(row, request)


def _load_path(request: Request) -> Upstream:
    """Load a WavLM checkpoint of any format, or the Hugging Face directory of another encoder."""
    from upstream.wavlm.directory import is_of_another_model
    from upstream.wavlm.upstream import load_path

    if is_of_another_model(Path(request.typed)):
        return _load_foreign(HUGGING_FACE, request)
    return load_path(request)


def _load_foreign(loader: str, request: Request) -> Upstream:
    """Load an encoder of a library or of the user's own; loader: HUGGING_FACE or CUSTOM."""
    load_by: Callable[..., Upstream] = import_object(loader)
    return load_by(
        request.typed,
        device=request.device,
        dtype=request.dtype_or_float32,
        random_init=request.random_seed is not None,
        seed=request.random_seed or 0,
    )


def _refuse_random_init(request: Request) -> None:
    if request.random_seed is not None:
        raise UserError(
            f"--random-init has no meaning for {request.typed}: its weights are not learned, or not known here."
        )
