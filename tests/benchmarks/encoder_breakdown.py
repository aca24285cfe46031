"""Where an encoder's time goes: seconds of each component, charged to the innermost that is being computed."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .encoder_peers import Peer
from .roofline import ATTENTION_PROJECTIONS, ATTENTION_SCORES, FEED_FORWARD, FRONT_END, POSITIONAL, PROJECTION
from .s3prl_loop import synchronize

NORMS = "norms"
REST = "rest"
COMPONENTS = (
    FRONT_END,
    PROJECTION,
    POSITIONAL,
    ATTENTION_PROJECTIONS,
    ATTENTION_SCORES,
    FEED_FORWARD,
    NORMS,
    REST,
)

# Module or method of the model, with * for any part of a name, and the component it belongs to; where several match,
# the last. Names that a model does not have are passed over.
Names = Sequence[tuple[str, str]]
OUR_NAMES: Names = (
    ("front_end", FRONT_END),
    ("projection", PROJECTION),
    ("positional_conv", POSITIONAL),
    ("positional_conv.of_utterances", POSITIONAL),
    ("relative_positions", ATTENTION_SCORES),
    ("blocks.*.attention", ATTENTION_SCORES),
    ("blocks.*.attention.qkv", ATTENTION_PROJECTIONS),
    ("blocks.*.attention.out", ATTENTION_PROJECTIONS),
    ("blocks.*feed_forward*", FEED_FORWARD),
    ("norm", NORMS),
    ("feature_norm", NORMS),
    ("blocks.*_norm", NORMS),
)
TRANSFORMERS_NAMES: Names = (
    ("feature_extractor", FRONT_END),
    ("feature_projection.projection", PROJECTION),
    ("encoder.pos_conv_embed", POSITIONAL),
    ("encoder.layers.*.attention", ATTENTION_SCORES),
    ("encoder.layers.*.feed_forward", FEED_FORWARD),
    ("feature_projection.layer_norm", NORMS),
    ("encoder.layer_norm", NORMS),
    ("encoder.layers.*layer_norm", NORMS),
)


class Ledger:
    """Charges all time between `start` and `stop` to one component at a time.

    seconds: what each has been charged.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device, self._open = device, [REST]
        self._since = 0.0

    def start(self) -> None:
        synchronize(self._device)
        self._since = time.perf_counter()

    def stop(self) -> None:
        self._settle()

    @property
    def current(self) -> str:
        """The component that is being charged."""
        return self._open[-1]

    def enter(self, component: str) -> None:
        self._settle()
        self._open.append(component)

    def leave(self) -> None:
        self._settle()
        self._open.pop()

    def _settle(self) -> None:
        """Charge what has passed since the last time."""
        synchronize(self._device)
        now = time.perf_counter()
        self.seconds[self.current] += now - self._since
        self._since = now


def breakdown(
    peer: Peer, parts: Sequence[list[Tensor]], names: Names, device: torch.device, repeats: int
) -> Mapping[str, float]:
    """Median seconds of each component over several calls, after one that warms up."""
    peer.put_in_state()
    peer.compute(parts)
    charged = [one_call(peer, parts, names, device) for _ in range(repeats)]
    return {component: statistics.median(seconds[component] for seconds in charged) for component in COMPONENTS}


def one_call(peer: Peer, parts: Sequence[list[Tensor]], names: Names, device: torch.device) -> Mapping[str, float]:
    with ExitStack() as changes:
        ledger = Ledger(device)
        for owner, attribute, component in found(peer.model, names):
            charge(owner, attribute, component, ledger, changes)
        changes.enter_context(patch.object(F, "linear", products_of_attention(F.linear, ledger)))
        ledger.start()
        peer.compute(parts)
        ledger.stop()
    return ledger.seconds


def found(model: nn.Module, names: Names) -> list[tuple[nn.Module, str, str]]:
    """Owner, attribute and component of each module and method that a name matches."""
    places = []
    for path, owner in model.named_modules():
        for attribute in (*owner._modules, *vars(type(owner))):
            full = f"{path}.{attribute}".removeprefix(".")
            components = [component for name, component in names if fnmatchcase(full, name)]
            if components and callable(getattr(owner, attribute)):
                places.append((owner, attribute, components[-1]))
    return places


def charge(owner: nn.Module, attribute: str, component: str, ledger: Ledger, changes: ExitStack) -> None:
    """Have the time of a module or a method charged to a component, until `changes` are undone."""
    part = getattr(owner, attribute)
    if isinstance(part, nn.Module):
        changes.callback(part.register_forward_pre_hook(lambda *_: ledger.enter(component)).remove)
        changes.callback(part.register_forward_hook(lambda *_: ledger.leave()).remove)
    else:
        setattr(owner, attribute, charged(part, component, ledger))
        changes.callback(delattr, owner, attribute)


def charged(call: Callable[..., Any], component: str, ledger: Ledger) -> Callable[..., Any]:
    @wraps(call)
    def counting(*arguments: Any, **options: Any) -> Any:
        ledger.enter(component)
        try:
            return call(*arguments, **options)
        finally:
            ledger.leave()

    return counting


def products_of_attention(linear: Callable[..., Any], ledger: Ledger) -> Callable[..., Any]:
    """F.linear that counts as projection where attention calls it: transformers' projections are no modules' calls."""
    projection = charged(linear, ATTENTION_PROJECTIONS, ledger)

    def counting(*arguments: Any, **options: Any) -> Any:
        return (projection if ledger.current == ATTENTION_SCORES else linear)(*arguments, **options)

    return counting
