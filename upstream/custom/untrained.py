"""The untrained control of a user's model: the same architecture, its weights drawn from a seed.

A function that takes `random_init` (and `seed`), or `seed` alone, draws them itself. Otherwise every module of a torch
model draws its own parameters by its `reset_parameters`, which torch's layers have. Both are tried out: another seed
must give other weights, and the same seed the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from upstream.custom.user_code import generators_kept
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors
from upstream.object_state import state_of, written
from upstream.text import counted

Running = Callable[[str], AbstractContextManager[None]]

SIGNATURE = "def {name}(random_init=False, seed=0)"
RESETS = ("reset_parameters", "_reset_parameters")  # the latter of torch's attention
NAMED = 3  # modules, parameters or buffers in a message


@dataclass(frozen=True)
class Untrained:
    """A model with drawn weights.

    drawn: places (`object_state`) of its tensors that depend on the seed. note: how they were drawn, for the record.
    """

    model: Any
    drawn: frozenset[str]
    note: str


def arguments_of(function: Callable[..., Any], random_seed: int | None) -> dict[str, Any]:
    """Return what a function that builds a model is called with.

    random_seed: of untrained weights; None for trained ones, which only parameters without a default are told of.
    """
    values = {"random_init": random_seed is not None, "seed": random_seed or 0}
    named = {name: each for name, each in parameters_of(function).items() if name in values}
    return {
        name: values[name]
        for name, each in named.items()
        if random_seed is not None or each.default is inspect.Parameter.empty
    }


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters that can be given by their name."""
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    try:
        found = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a callable that is not written in Python
        return {}
    return {name: each for name, each in found.items() if each.kind in by_name}


def untrained(function: Callable[..., Any], name: str, seed: int, who: str, running: Running) -> Untrained:
    """Return a model with weights drawn from `seed`.

    name: of the function. running: context of the user's code, given a description of what runs.

    Raises UserError if they cannot be drawn, are the same for two seeds, or differ for one.
    """
    arguments = arguments_of(function, seed)
    if arguments:
        return drawn_by_function(function, name, arguments, seed, who, running)
    with running(f"{name}()"), generators_kept(seed):
        model = function()
    signature = SIGNATURE.format(name=name)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"{who} is no torch module, so its weights cannot be drawn from here. Write {signature}, and return an "
            "untrained model if random_init is true."
        )
    if not any(True for _ in model.parameters()):
        raise UserError(
            f"{who} has no parameters to draw. If its weights lie elsewhere (in buffers, say), write {signature}; "
            "if it learned nothing, it needs no untrained control."
        )
    with running(f"Drawing the weights of {who[0].lower()}{who[1:]} by reset_parameters"):
        return drawn_by_modules(model, seed, who, signature)


# ---------------------------------------------------------------- by the function


def drawn_by_function(
    function: Callable[..., Any], name: str, arguments: Mapping[str, Any], seed: int, who: str, running: Running
) -> Untrained:
    """Call the function with the seed, another one, and the first again; keep the last model."""

    def built(changed: int) -> Any:
        own = dict(arguments) | ({"seed": changed} if "seed" in arguments else {})
        given = ", ".join(f"{key}={value}" for key, value in own.items())
        with running(f"{name}({given})"), generators_kept(changed):
            return function(**own)

    first, other = digests(built(seed)), digests(built(seed + 1))
    model = built(seed)
    drawn = checked(first, other, digests(model), seed, who, f"{name}()")
    given = ", ".join(f"{key}={value}" for key, value in arguments.items())
    return Untrained(model, drawn, f"Untrained: built by {name}({given}).")


# ---------------------------------------------------------------- by the modules


def drawn_by_modules(model: nn.Module, seed: int, who: str, signature: str) -> Untrained:
    """Draw the parameters of every module by its own `reset_parameters`; buffers that those do not set stay."""
    model.cpu()  # whose generator gives the same numbers everywhere
    left = reset(model, seed)
    if left:
        named = ", ".join(left[:NAMED]) + (", ..." if len(left) > NAMED else "")
        raise UserError(
            f"{who} has parameters that cannot be drawn again, because no reset_parameters sets them: those of "
            f"{named}. Write {signature}, and return an untrained model if random_init is true."
        )
    first = digests(model)
    reset(model, seed + 1)
    other = digests(model)
    reset(model, seed)
    drawn = checked(first, other, digests(model), seed, who, "reset_parameters")
    kept = [
        name
        for path, module in model.named_modules()
        if reset_of(module) is None
        for name, _ in module.named_buffers(path, recurse=False)
    ]
    note = f"Untrained: its parameters were drawn by reset_parameters from seed {seed}."
    if kept:
        which = f"{counted(len(kept), 'buffer keeps its values', 'buffers keep their values')}"
        note += f" {which}: {', '.join(kept[:NAMED])}{', ...' if len(kept) > NAMED else ''}."
    return Untrained(model, drawn, note)


def reset(model: nn.Module, seed: int) -> list[str]:
    """Draw all parameters from a seed; return the modules with parameters of their own that are left undrawn."""
    with torch.no_grad(), generators_kept(seed):
        for parameter in model.parameters():
            if is_number(parameter):
                parameter.fill_(torch.nan)  # to see what is not set
        for module in children_first(model):
            draw = reset_of(module)
            if draw is not None:
                draw()
    return [
        f"{path or 'the model itself'} ({type(module).__name__})"
        for path, module in model.named_modules()
        if not all(is_number(own) and not own.isnan().any() for own in module.parameters(recurse=False))
    ]


def reset_of(module: nn.Module) -> Callable[[], Any] | None:
    """Return the method by which a module draws its parameters, if it has one."""
    methods = (getattr(module, name, None) for name in RESETS)
    return next((method for method in methods if callable(method)), None)


def children_first(module: nn.Module) -> Iterator[nn.Module]:
    """Yield all modules in the order in which constructors end: a module may set what its parts have drawn."""
    for child in module.children():
        yield from children_first(child)
    yield module


def is_number(tensor: Tensor) -> bool:
    """Return True for real and complex numbers, and False for integers, which nothing draws."""
    return tensor.is_floating_point() or tensor.is_complex()


# ---------------------------------------------------------------- what was drawn


@dataclass(frozen=True)
class Digests:
    """What a model holds, each tensor and fact by its place. large: the weights, and how many numbers each has.

    constant: of weights with the same number everywhere, as biases and norms have before training.
    """

    held: Mapping[str, str]
    large: Mapping[str, int]
    constant: frozenset[str]


def digests(model: Any) -> Digests:
    """Return the digests of what a model holds."""
    state = state_of({"model": model})
    tensors = {place: tensor.detach() for place, tensor in state.tensors.items()}
    own = {id(parameter) for parameter in model.parameters()} if isinstance(model, nn.Module) else set()
    large = {place: tensor.numel() for place, tensor in state.tensors.items() if not own or id(tensor) in own}
    constant = {place for place in large if (tensors[place] == tensors[place].flatten()[:1]).all()}
    held = {place: fingerprint_tensors({"": tensor}, {}) for place, tensor in tensors.items()}
    return Digests(held if held else state.facts, large, frozenset(constant))


def checked(first: Digests, other: Digests, again: Digests, seed: int, who: str, by: str) -> frozenset[str]:
    """Return the places of what depends on the seed.

    first, other, again: models of this seed, of the next one, and of this seed again.

    Raises UserError if the same seed gave other weights, or two seeds the same (most of them).
    """
    if first.held != again.held:
        changed = min(set(first.held.items()) ^ set(again.held.items()))[0]
        raise UserError(
            f"{who} has other weights each time although {by} got the same seed ({written(changed)}, "
            "for one); draw them from torch's generator, or from `seed`."
        )
    drawn = frozenset(place for place, digest in first.held.items() if other.held.get(place) != digest)
    same = {place: size for place, size in first.large.items() if place not in drawn | first.constant}
    if not drawn or sum(same.values()) * 2 > sum(first.large.values()):
        which = f" ({written(max(same, key=lambda place: same[place]))}, for one)" if same else ""
        raise UserError(
            f"{who} has the same weights for seed {seed} and seed {seed + 1}{which}, so that {by} does not draw them; "
            "load no trained ones where random_init is true."
        )
    return drawn
