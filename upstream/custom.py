"""A user's model, loaded from `module.py:function`.

The function takes no arguments and returns a model: a callable that takes a list of 1-D waveforms (float, 16 kHz, in
[-1, 1], of different lengths, at least 400 samples) and has three integer attributes, `num_layers` (L), `dim` (D) and
`stride` (samples between two frames). A call returns `HiddenStates` or a pair `(layers, lengths)` of tensors
(L, B, T, D) and (B,). A complete example:

    import torch
    from torch import nn
    from upstream import HiddenStates

    class Spectrum(nn.Module):
        num_layers, dim, stride = 2, 201, 320

        def __init__(self):
            super().__init__()
            self.register_buffer("window", torch.hann_window(400))

        def forward(self, waveforms):
            return HiddenStates.from_utterances([self.states(waveform) for waveform in waveforms])

        def states(self, waveform):
            frames = waveform.unfold(0, 400, self.stride) * self.window  # (T, 400)
            spectrum = torch.fft.rfft(frames).abs()  # (T, 201)
            return torch.stack([spectrum, spectrum.log1p()])  # (L, T, D)

    def build():
        return Spectrum()

A torch module is set to evaluation mode, moved to the device and precision, and called with waveforms of these. Any
other object gets float32 waveforms on the device and must be frozen already. On loading, the model is tested on
synthetic waveforms. A UserError describes what breaks the contract: wrong shapes, lengths that do not match the stride,
states that are not finite, differ between two calls or depend on the batch, and parameters that can change.
Shapes and lengths are checked again at every call.

The fingerprint covers the file and what it imports, except installed packages, the name of the function, and the
tensors, numbers and text that the model and the global variables of these files hold when it is loaded. The states of
the test waveforms are in it only where something cannot be looked into, such as another library's session.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from upstream.base import HiddenStates, Provenance, Upstream, frozen
from upstream.custom_contract import check_contract, check_lengths, check_shapes, declared_sizes, layers_and_lengths
from upstream.custom_source import global_variables, source_files
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files, fingerprint_tensors
from upstream.foreign import foreign_code
from upstream.object_state import State, state_of
from upstream.text import printable

CONTRACT_VERSION = 1  # increase it whenever models are called in another way


def load(spec: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> CustomUpstream:
    """Load the model that a function returns, frozen, and test it.

    spec: "path/to/module.py:function".

    Raises UserError if the file or function is missing or fails, or the model breaks the contract.
    """
    path, function_name = parse(spec)
    who = f"The model of {spec}"
    with settings_kept(), torch.random.fork_rng(devices=[]):
        function = find_function(import_file(path), path, function_name)
        with running(f"{function_name}() of {path}", path):
            model = function()
    with running(who, path):
        sizes, files = declared_sizes(model, who), source_files(path, model)
        variables = global_variables(files)
        held = state_of({"model": model} | variables)  # before the first call, which may fill caches
        upstream = CustomUpstream(spec, path, model, sizes, torch.device(device), dtype)
        trials = check_contract(upstream, upstream.model)
        imported_late = {name: value for name, value in global_variables(files).items() if name not in variables}
        held = held.with_others(state_of(imported_late))
        upstream.fingerprint = fingerprint(upstream, function_name, files, held, trials)
    return upstream


@contextmanager
def settings_kept() -> Iterator[None]:
    """Restore what a user's code may set for everyone, and what is learned and printed afterwards depends on.

    These are the streams, and PyTorch's gradient mode, default precision, default device and automatic precision.
    """
    precision, device = torch.get_default_dtype(), torch.get_default_device()
    automatic = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}
    try:
        with (
            redirect_stdout(sys.stdout),
            redirect_stderr(sys.stderr),
            torch.set_grad_enabled(torch.is_grad_enabled()),
        ):
            yield
    finally:
        torch.set_default_dtype(precision)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        for kind, enabled in automatic.items():
            torch.set_autocast_enabled(kind, enabled)


class CustomUpstream(Upstream):
    """A user's model as an upstream."""

    def __init__(
        self,
        spec: str,
        path: Path,
        model: Any,
        sizes: tuple[int, int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if not isinstance(model, nn.Module) and dtype != torch.float32:
            raise UserError(
                f"The model of {spec} is not a torch module, so it cannot be cast to {dtype}; leave the precision at "
                "float32, or return a torch.nn.Module."
            )
        self.name, self.path = printable(spec), path
        self.device, self.dtype = device, dtype
        self.num_layers, self.dim, self.stride = sizes
        self.model = frozen(model, device, dtype) if isinstance(model, nn.Module) else model
        self.provenance = Provenance(
            source=printable(spec),
            format=f"custom {type(model).__name__}",
            notes=(f"{printable(path.name)} has the SHA-256 digest {fingerprint_files([path])}.",),
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


def parse(spec: str) -> tuple[Path, str]:
    """Split "path/module.py:function" into the file and the function's name.

    Raises UserError for text of another form, and if there is no such file.
    """
    file, colon, function_name = spec.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py" or not function_name.isidentifier():
        raise UserError(f"{spec!r} is not of the form module.py:function, such as my_model.py:build.")
    if not path.is_file():
        raise UserError(f"There is no file {path} for {spec!r}; check the path, relative to the current directory.")
    return path, function_name


def import_file(path: Path) -> ModuleType:
    """Import a Python file by its path, under a unique module name.

    Raises UserError for whatever the file raises.
    """
    name = f"wavprobe_custom_{path.stem}_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]}"
    spec = spec_from_file_location(name, path)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise UserError(f"Python cannot import {path}; expected a source file that ends in .py.")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module by name
    if str(path.parent.resolve()) not in sys.path:
        sys.path.append(str(path.parent.resolve()))  # to import files beside it; last, so that they hide nothing
    with running(f"Importing {path}", path):
        # Compiled from the current text, not from a .pyc file that may be older than the fingerprinted file.
        exec(spec.loader.source_to_code(path.read_bytes(), str(path)), module.__dict__)
    return module


def find_function(module: ModuleType, path: Path, name: str) -> Callable[[], Any]:
    """Return the function of that name; raises UserError with the nearest name if there is none."""
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    callables = {key: value for key, value in vars(module).items() if callable(value)}
    defined = [key for key, value in callables.items() if getattr(value, "__module__", None) == module.__name__]
    near = difflib.get_close_matches(name, defined, n=1)
    suggestion = f"Did you mean {near[0]}?" if near else f"It defines: {', '.join(defined) or 'no function'}."
    raise UserError(f"{path} has no function {name!r}. {suggestion}")


def running(what: str, path: Path, memory_passes: bool = False) -> AbstractContextManager[None]:
    """Return a context for the user's code, whose exceptions become a UserError with the line in `path`."""
    return foreign_code(what, "Fix it and run again.", path, memory_passes)


def fingerprint(
    upstream: CustomUpstream, function_name: str, files: set[Path], held: State, trials: list[HiddenStates]
) -> str:
    """Return the digest of everything the states depend on; see the module's docstring.

    files: of the source. held: by the model and the global variables of these files. trials: test states, used only
    where something cannot be looked into: computed numbers differ by rounding between machines.
    """
    settings = {
        "contract": CONTRACT_VERSION,
        "function": function_name,
        "files": sorted(fingerprint_files([file]) for file in files),
        "numbers": [upstream.num_layers, upstream.dim, upstream.stride],
        "facts": held.facts,
    }
    computed = {f"trial {index}": states.utterance(0) for index, states in enumerate(trials)} if held.hidden else {}
    return fingerprint_tensors(held.tensors | computed, settings)
