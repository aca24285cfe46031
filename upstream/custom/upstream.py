"""A user's model as an upstream: loaded from its file, tried out, and checked again at every call."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from upstream.base import SAMPLE_RATE, HiddenStates, Provenance, Upstream, frozen
from upstream.custom.contract import Sizes, check_lengths, check_shapes, declared_sizes, layers_and_lengths
from upstream.custom.probes import Told, check_contract, nobody
from upstream.custom.source import global_variables, source_files
from upstream.custom.untrained import Untrained, arguments_of, untrained
from upstream.custom.user_code import (
    find_function,
    generators_kept,
    import_file,
    parse,
    running,
    settings_kept,
    without_arguments,
)
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files, fingerprint_tensors
from upstream.object_state import State, state_of
from upstream.text import printable

CONTRACT_VERSION = 1  # increase it whenever models are called in another way


def load(
    spec: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    random_init: bool = False,
    seed: int = 0,
    told: Told = nobody,
) -> CustomUpstream:
    """Load the model that a function returns, frozen, and test it.

    spec: "path/to/module.py:function".
    random_init: untrained weights drawn from `seed`; see `untrained`.
    told: called with every step that passed, and what it found.

    Raises UserError if the file or function is missing or fails, or the model breaks the contract.
    """
    path, function_name = parse(spec)
    who = f"The model of {spec}"
    with settings_kept(), generators_kept():
        began = time.perf_counter()
        function = find_function(import_file(path), path, function_name)
        told("import", f"{path.name} in {time.perf_counter() - began:.1f} s")
        began = time.perf_counter()
        model, drawn = build(function, function_name, path, who, seed if random_init else None)
        told("build", f"{function_name}() returned {kind_of(model)} in {time.perf_counter() - began:.1f} s")
    with running(who, path):
        sizes, files = declared_sizes(model, who), source_files(path, model)
        rate = f"{SAMPLE_RATE / sizes.stride:.6g} frames a second"
        told("sizes", f"{sizes.num_layers} x {sizes.dim}, a frame every {sizes.stride:.6g} samples ({rate})")
        variables = global_variables(files)
        held = state_of({"model": model} | variables)  # before the first call, which may fill caches
        upstream = CustomUpstream(spec, path, model, sizes, torch.device(device), dtype, drawn)
        probed = check_contract(upstream, upstream.model, told)
        imported_late = {name: value for name, value in global_variables(files).items() if name not in variables}
        held = held.with_others(state_of(imported_late))
        upstream.fingerprint = fingerprint(upstream, function_name, files, held, probed, drawn, seed)
    return upstream


def build(function: Any, name: str, path: Path, who: str, random_seed: int | None) -> tuple[Any, Untrained | None]:
    """Call the user's function; return its model and, with a seed, how its untrained weights were drawn."""

    def running_it(what: str) -> Any:
        return running(f"{what} of {path}" if what.startswith(name) else what, path)

    with without_arguments(path):
        if random_seed is not None:
            drawn = untrained(function, name, random_seed, who, running_it)
            return drawn.model, drawn
        with running_it(f"{name}()"):
            return function(**arguments_of(function, None)), None


def kind_of(model: Any) -> str:
    """Return the kind of a model, in words."""
    return f"{'a torch module' if isinstance(model, nn.Module) else 'an object'}, {type(model).__name__},"


class CustomUpstream(Upstream):
    """A user's model as an upstream."""

    def __init__(
        self,
        spec: str,
        path: Path,
        model: Any,
        sizes: Sizes,
        device: torch.device,
        dtype: torch.dtype,
        drawn: Untrained | None = None,
    ) -> None:
        if not isinstance(model, nn.Module) and dtype != torch.float32:
            raise UserError(
                f"The model of {spec} is not a torch module, so it cannot be cast to {dtype}; leave the precision at "
                "float32, or return a torch.nn.Module."
            )
        self.name, self.path = printable(spec), path
        self.device, self.dtype = device, dtype
        self.num_layers, self.dim, self.stride = sizes.num_layers, sizes.dim, sizes.stride
        self.shortest, self.first_centre = sizes.shortest, sizes.first_centre
        self.model = frozen(model, device, dtype) if isinstance(model, nn.Module) else model
        self.provenance = Provenance(
            source=printable(spec),
            format=f"custom {type(model).__name__}",
            random_init=drawn is not None,
            notes=(
                f"{printable(path.name)} has the SHA-256 digest {fingerprint_files([path])}.",
                *([drawn.note] if drawn else []),
            ),
        )

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """Call the model with copies of the waveforms and check its output."""
        # Copies, so that a model that works in place cannot change the caller's audio.
        copies = [waveform.to(self.dtype, copy=True) for waveform in waveforms]
        with settings_kept(), running(f"The model of {self.name}", self.path, memory_passes=True):
            states = self.checked(self.model(copies), waveforms)
            # Copies again: a model may write the next call's states to the same place.
            layers = states.layers.to(self.device, self.dtype, copy=True)
            return HiddenStates(layers, states.lengths.to("cpu", torch.int64, copy=True))

    def checked(self, output: object, waveforms: list[Tensor]) -> HiddenStates:
        """Return `output` as HiddenStates; raises UserError for wrong types, shapes or lengths."""
        who = f"The model of {self.name}"
        layers, lengths = layers_and_lengths(output, who)
        check_shapes(layers, lengths, (self.num_layers, len(waveforms), self.dim), who)
        check_lengths(layers, lengths, [len(waveform) for waveform in waveforms], self.stride, who)
        return HiddenStates(layers, lengths)


def fingerprint(
    upstream: CustomUpstream,
    function_name: str,
    files: set[Path],
    held: State,
    probed: list[HiddenStates],
    drawn: Untrained | None,
    seed: int,
) -> str:
    """Return the digest of everything the states depend on; see the package's docstring.

    files: of the source. held: by the model and the global variables of these files. probed: states of the first
    probes, used only where something cannot be looked into: computed numbers differ by rounding between machines. For
    the same reason the seed, and the version of PyTorch, stand for drawn weights.
    """
    settings: dict[str, object] = {
        "contract": CONTRACT_VERSION,
        "function": function_name,
        "files": sorted(fingerprint_files([file]) for file in files),
        "numbers": [upstream.num_layers, upstream.dim, upstream.stride],
        "facts": held.facts,
    }
    tensors = held.tensors
    if drawn is not None:
        tensors = {place: tensor for place, tensor in held.tensors.items() if place not in drawn.drawn}
        shapes = {place: list(held.tensors[place].shape) for place in sorted(held.tensors.keys() & drawn.drawn)}
        settings |= {"untrained": seed, "drawn by": torch.__version__.partition("+")[0], "drawn": shapes}
    computed = {f"trial {index}": states.utterance(0) for index, states in enumerate(probed)} if held.hidden else {}
    return fingerprint_tensors(tensors | computed, settings)
