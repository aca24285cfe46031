"""Everything that an object holds: its tensors, numbers and text, wherever they lie within it.

For the fingerprint of a model that is no checkpoint: two models of the same code differ by what they hold alone.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# Attributes that torch keeps for every module; of these only its tensors and parts count.
BOOKKEEPING = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}
# Where and when something was saved, not what it computes.
PLACES = frozenset({"_name_or_path", "name_or_path", "_commit_hash", "transformers_version"})
LOCKS = (type(threading.Lock()), type(threading.RLock()))
WITHOUT_EFFECT = (PurePath, logging.Logger, weakref.ref, torch.device, torch.Generator, io.IOBase, *LOCKS)
PLAIN = (type(None), bool, int, float, complex, str, bytes)


@dataclass
class State:
    """What an object holds.

    tensors: by their place in the object, "encoder.layers[3].weight".
    facts: everything else that has a value, by its place.
    hidden: types of objects, of other languages, that cannot be looked into.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)

    def with_others(self, other: State) -> State:
        """Return what both objects hold; their places must differ."""
        return State(self.tensors | other.tensors, self.facts | other.facts, self.hidden | other.hidden)


def state_of(named: Mapping[str, Any]) -> State:
    """Return what these objects hold, and all that they refer to. Modules of Python count by their names alone."""
    state = State()
    seen: dict[int, Any] = {}  # keeps what was made on the way, so that no other object gets its id
    rest = list(named.items())[::-1]
    while rest:
        place, value = rest.pop()
        if isinstance(value, PLAIN):
            state.facts[place] = _short(repr(value))
        elif id(value) not in seen and not isinstance(value, WITHOUT_EFFECT):
            seen[id(value)] = value
            try:
                rest += [(f"{place}{name}", part) for name, part in _looked_into(place, value, state)]
            except Exception:  # objects of other libraries may raise anything when they are looked into
                state.hidden.add(type(value).__qualname__)
    return state


def written(place: str) -> str:
    """Return a place as its author would: "model._modules['first']._parameters['bias']" as "model.first.bias"."""
    return re.sub(r"\._(?:modules|parameters|buffers)\['([^']*)'\]", r".\1", place)


def _short(text: str) -> str:
    return text if len(text) < 200 else hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _looked_into(place: str, value: Any, state: State) -> Iterator[tuple[str, Any]]:
    """Add a value to the state; yield what lies within, with the ends of its names."""
    match value:
        case Tensor():
            _add_tensor(place, value, state)
        case np.ndarray() if value.dtype != object:
            content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            state.facts[place] = f"{value.dtype.str} {value.shape} {content}"
        case np.generic():
            state.facts[place] = f"{value.dtype.str} {value.item()!r}"
        case type() | ModuleType() | BuiltinFunctionType():
            state.facts[place] = getattr(value, "__qualname__", value.__name__)
        case torch.jit.ScriptModule():
            state.hidden.add(type(value).__qualname__)  # its program
            yield from ((f".{name}", tensor) for name, tensor in value.state_dict().items())
        case torch.dtype():
            state.facts[place] = str(value)
        case FunctionType():
            state.facts[place] = value.__qualname__
            yield from [(f".cell{i}", cell) for i, cell in enumerate(_cells(value))]
            yield from ((".defaults", value.__defaults__), (".keywords", value.__kwdefaults__))
        case MethodType():
            yield from ((".method", value.__func__), (".self", value.__self__))
        case partial():
            yield from ((".function", value.func), (".arguments", value.args), (".keywords", value.keywords))
        case _:
            yield from _parts(place, value, state)


def _add_tensor(place: str, value: Tensor, state: State) -> None:
    if value.is_quantized:
        state.facts[f"{place}.scheme"] = f"{value.dtype} {value.qscheme()}"
        value = value.dequantize()
    if not value.is_meta:
        state.tensors[place] = value.to_dense() if value.layout != torch.strided else value


def _cells(function: FunctionType) -> list[Any]:
    """Return the values of the variables that a function has from around it."""
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not filled yet
            cells.append(None)
    return cells


def _parts(place: str, value: Any, state: State) -> Iterator[tuple[str, Any]]:
    """Yield what lies within a container or any other object."""
    state.facts[f"{place}:type"] = type(value).__qualname__  # without its module, which may be named after a path
    attributes = _attributes(value)
    if isinstance(value, Mapping):
        for index, (key, entry) in enumerate(value.items()):
            is_plain = isinstance(key, PLAIN)
            yield f"[{key!r}]" if is_plain else f"[{index}]", entry
            if not is_plain:
                yield f"[{index}].key", key
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", entry) for index, entry in enumerate(value))
    elif isinstance(value, set | frozenset):
        plain = sorted(repr(entry) for entry in value if isinstance(entry, PLAIN))
        yield "{}", " ".join(plain)
        yield from (("{}.other", entry) for entry in value if not isinstance(entry, PLAIN))
    elif not attributes and not hasattr(value, "__dict__"):
        yield from _reduced(place, value, state)
    for name, attribute in attributes.items():
        if name not in PLACES and not (isinstance(value, nn.Module) and name in BOOKKEEPING):
            yield f".{name}", attribute


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes that an object has of its own, in slots too."""
    attributes = dict(getattr(value, "__dict__", {}))
    for parent in type(value).__mro__:
        slots = parent.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                attributes[name] = getattr(value, name)
    return attributes


def _reduced(place: str, value: Any, state: State) -> Iterator[tuple[str, Any]]:
    """Yield what pickling would save of an object that has no attributes in Python."""
    reduced = value.__reduce_ex__(2)
    if isinstance(reduced, tuple):
        yield from ((f".reduced{index}", part) for index, part in enumerate(reduced[1:3]))
        yield from ((f".entries{index}", list(part)) for index, part in enumerate(reduced[3:5]) if part is not None)
    else:
        state.facts[place] = str(reduced)
