"""What an object holds, wherever it lies."""

from __future__ import annotations

import datetime
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from upstream.fingerprint import fingerprint_tensors
from upstream.object_state import state_of


def digest(value: object) -> str:
    state = state_of({"object": value})
    assert not state.hidden
    return fingerprint_tensors(state.tensors, state.facts)


@dataclass
class Record:
    value: Any


class Slots:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Modules(nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Identity()])
        self.parts[0].gain = value

    def scaled(self) -> Any:
        return self.parts[0].gain


def closure(value: Any) -> Callable[[], Any]:
    return lambda: value


# Each holds a number somewhere.
HOLDERS: dict[str, Callable[[float], Any]] = {
    "number": float,
    "dataclass": Record,
    "slots": Slots,
    "closure": closure,
    "partial": lambda x: partial(print, x),
    "default": lambda x: closure(Record(x)),
    "module's attribute": Modules,
    "bound method": lambda x: Modules(x).scaled,
    "tensor in a list": lambda x: {"a": [Record(torch.tensor([x]))]},
    "buffer": lambda x: nn.BatchNorm1d(2, eps=x),
    "sparse": lambda x: (torch.eye(2) * x).to_sparse(),
    "array": lambda x: Record(np.array([x])),
    "array of objects": lambda x: np.array([x, None], dtype=object),
    "NumPy's number": np.float32,
    "set": lambda x: {1, x},
    "ordered": lambda x: OrderedDict(a=x),
    "deque": lambda x: deque([x]),
    "date": lambda x: datetime.date(int(x), 1, 1),
    "long text": lambda x: f"{x}" * 1000,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_is_held_counts_and_where_does_not(holder: str) -> None:
    make = HOLDERS[holder]
    assert digest(make(3.0)) == digest(make(3.0))
    assert digest(make(3.0)) != digest(make(4.0))


def test_what_has_no_effect_does_not_count() -> None:
    value = Record([1, Path("/here"), threading.Lock()])
    assert digest(value) == digest(Record([1, Path("/there"), threading.Lock()]))
    value.value.append(value)  # a circle
    assert digest(value)
    module = Modules(1.0)
    before = digest(module)
    module.register_forward_hook(lambda *_: None).remove()
    assert digest(module) == before


def test_what_cannot_be_looked_into_is_named() -> None:
    assert state_of({"a": Record(x for x in [1])}).hidden == {"generator"}
    with pytest.warns(DeprecationWarning, match="jit"):
        script = torch.jit.script(nn.Linear(2, 2))
    held = state_of({"a": script})
    assert held.hidden
    assert len(held.tensors) == 2
