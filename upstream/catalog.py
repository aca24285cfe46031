"""Names of upstreams, and what each name loads.

Nothing heavy is imported before a name is chosen, so that listing the names is quick.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from upstream.errors import MendableError

if TYPE_CHECKING:
    import torch

    from upstream.base import Upstream
    from upstream.wavlm.config import WavLMConfig


@dataclass(frozen=True)
class NamedUpstream:
    """An upstream with a name of its own.

    kind: "wavlm" or "filterbank".
    repository: of the Hugging Face hub, where weights are published.
    """

    name: str
    title: str
    kind: str
    repository: str | None = None


NAMED = {
    entry.name: entry
    for entry in (
        NamedUpstream("wavlm_base", "WavLM Base, 94 M parameters, 960 h", "wavlm", "microsoft/wavlm-base"),
        NamedUpstream(
            "wavlm_base_plus", "WavLM Base+, 94 M parameters, 94,000 h", "wavlm", "microsoft/wavlm-base-plus"
        ),
        NamedUpstream("wavlm_large", "WavLM Large, 315 M parameters, 94,000 h", "wavlm", "microsoft/wavlm-large"),
        NamedUpstream("wavlm_tiny", "a small WavLM for trying out; only with --random-init", "wavlm"),
        NamedUpstream(
            "fbank", "80 log-mel + deltas, standardised over the utterance (SUPERB's baseline)", "filterbank"
        ),
        NamedUpstream("fbank_no_cmvn", "the same without standardisation", "filterbank"),
        NamedUpstream("mfcc", "13 cepstra + deltas, standardised over the utterance", "filterbank"),
    )
}
OTHER_FORMS = (
    ("hf:ORG/NAME[@REVISION]", "any transformers speech encoder, from the hub or the local cache"),
    ("PATH", "a WavLM checkpoint: Hugging Face directory, Microsoft .pt, torchaudio .pth, s3prl .ckpt"),
    ("module.py:function", "a model of your own"),
)
DTYPES = ("float32", "bfloat16", "float16")
FASTEST = "auto"


def load(
    name: str, *, device: str = "cpu", dtype: str = "float32", random_init: bool = False, seed: int = 0
) -> Upstream:
    """Load an upstream, frozen and in evaluation mode.

    name: a name of `NAMED` (wavlm_* may carry @REVISION), hf:ORG/NAME[@REVISION], the path of a checkpoint, or
        module.py:function.
    dtype: precision of weights and states; filterbanks are always float32. "auto" is the fastest whose scores
        agree with float32's: for a WavLM bfloat16 where the device multiplies it faster (see `fastest_dtype`), and
        float32 for all others, of which nobody has measured it.
    random_init: the same architecture with untrained weights drawn from `seed`.

    Raises MendableError for a name that means nothing, naming the nearest that does, and for whatever keeps
    the checkpoint from being read.
    """
    where = torch_device(device)
    precision = None if dtype == FASTEST else torch_dtype(dtype)
    random_seed = seed if random_init else None
    stem, _, revision = name.partition("@")
    if stem in NAMED:
        return _load_named(name, NAMED[stem], revision or None, where, precision, random_seed)
    if name.endswith(".py"):
        raise MendableError(f"{name} is a Python file; say which function of it builds the model: {name}:function.")
    if name.startswith("hf:"):
        return _load_hugging_face(name, where, precision, random_seed)
    if ":" in name and name.partition(":")[0].endswith(".py"):
        _refuse_random_init(random_init, name)
        from upstream import custom

        return custom.load(name, device=where, dtype=precision or torch_dtype("float32"))
    if Path(name).exists():
        return _load_path(name, where, precision, random_seed)
    raise MendableError(unknown_upstream(name))


def unknown_upstream(name: str) -> str:
    """The sentence for a name that is no upstream."""
    near = difflib.get_close_matches(name.partition("@")[0], NAMED, n=1, cutoff=0.5)
    suggestion = f"Did you mean {near[0]}?" if near else f"Known names: {', '.join(NAMED)}."
    return (
        f"There is no upstream or file called {name!r}. {suggestion} "
        "Also possible: hf:ORG/NAME, the path of a WavLM checkpoint, or module.py:function."
    )


def torch_device(device: str) -> torch.device:
    """The device of that name; "auto" is the GPU if there is one."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise MendableError(f"There is no device {device!r}; type auto, cpu, cuda or cuda:0.") from error
    if chosen.type not in ("cpu", "cuda"):
        raise MendableError(f"Device {device!r} is not supported: front ends here need float64; type cpu or cuda.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise MendableError(
            f"Device {device!r} was asked for, but PyTorch sees no CUDA device here; type --device cpu."
        )
    return chosen


def torch_dtype(dtype: str) -> torch.dtype:
    """The precision of that name."""
    import torch

    if dtype not in DTYPES:
        raise MendableError(f"There is no precision {dtype!r}; type one of {', '.join(DTYPES)}, {FASTEST}.")
    chosen: torch.dtype = getattr(torch, dtype)
    return chosen


def wavlm_config(name: str) -> WavLMConfig:
    """The published configuration that a wavlm_* name stands for."""
    from upstream.wavlm import config

    named = {"wavlm_base": config.BASE, "wavlm_base_plus": config.BASE_PLUS, "wavlm_large": config.LARGE}
    return named.get(name, config.TINY)


def _load_named(
    typed: str,
    entry: NamedUpstream,
    revision: str | None,
    device: torch.device,
    dtype: torch.dtype | None,
    random_seed: int | None,
) -> Upstream:
    if revision is not None and (entry.repository is None or random_seed is not None):
        raise MendableError(f"{typed}: a revision has no meaning where no weights are fetched; leave @{revision} out.")
    if entry.kind == "filterbank":
        _refuse_random_init(random_seed is not None, typed)
        from upstream import filterbank

        return filterbank.load(entry.name, device=device)

    from upstream.wavlm.products import fastest_dtype
    from upstream.wavlm.upstream import load_checkpoint, load_untrained

    dtype = dtype or fastest_dtype(device)
    if random_seed is not None:
        return load_untrained(typed, wavlm_config(entry.name), random_seed, device, dtype)
    if entry.repository is None:
        raise MendableError(f"Nobody has published weights of {entry.name}; add --random-init to try it untrained.")

    from upstream import hub

    repository = hub.fetch(entry.repository, revision)
    return load_checkpoint(typed, repository.folder, repository.revision, entry.repository, device, dtype)


def _load_path(name: str, device: torch.device, dtype: torch.dtype | None, random_seed: int | None) -> Upstream:
    """A WavLM checkpoint of any format, or the Hugging Face directory of another encoder."""
    from upstream.wavlm import checkpoint
    from upstream.wavlm.products import fastest_dtype
    from upstream.wavlm.upstream import load_checkpoint, load_untrained

    path = Path(name)
    if checkpoint.is_of_another_model(path):
        return _load_hugging_face(name, device, dtype, random_seed)
    dtype = dtype or fastest_dtype(device)
    if random_seed is not None:
        return load_untrained(name, checkpoint.read_config(path), random_seed, device, dtype)
    return load_checkpoint(name, path, None, str(path), device, dtype)


def _load_hugging_face(name: str, device: torch.device, dtype: torch.dtype | None, random_seed: int | None) -> Upstream:
    from upstream import huggingface

    return huggingface.load(
        name,
        device=device,
        dtype=dtype or torch_dtype("float32"),
        random_init=random_seed is not None,
        seed=random_seed or 0,
    )


def _refuse_random_init(random_init: bool, name: str) -> None:
    if random_init:
        raise MendableError(
            f"--random-init has no meaning for {name}, whose weights are not learned or not known here."
        )
