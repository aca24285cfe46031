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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from upstream.base import HiddenStates, Provenance, Upstream, frozen
from upstream.custom_source import global_variables, source_files
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files, fingerprint_tensors
from upstream.foreign import foreign_code
from upstream.object_state import State, state_of
from upstream.text import printable

CONTRACT_VERSION = 1  # increase it whenever models are called in another way

TEST_SAMPLES = (16_000, 27_680)  # 1 s and 1.73 s
# s3prl refuses a batch whose frames differ by 5 or more from what the stride promises (its upstream/interfaces.py).
FRAME_TOLERANCE = 5
# Largest relative difference (norm over norm, per layer) between an utterance alone and in a batch that counts as
# rounding. In half precision, kernels for other batch sizes may differ by about 1 %.
BATCH_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}


def load(spec: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> CustomUpstream:
    """Load the model that a function returns, frozen, and test it.

    spec: "path/to/module.py:function".

    Raises UserError if the file or function is missing or fails, or the model breaks the contract.
    """
    path, function_name = parse(spec)
    who = f"The model of {spec}"
    with settings_of_torch_kept():
        function = find_function(import_file(path), path, function_name)
        with running(f"{function_name}() of {path}", path):
            model = function()
    with running(who, path):
        sizes, files = declared_sizes(model, who), source_files(path, model)
        variables = global_variables(files)
        held = state_of({"model": model} | variables)  # before the first call, which may fill caches
        upstream = CustomUpstream(spec, path, model, sizes, torch.device(device), dtype)
        trials = check_contract(upstream)
        imported_late = {name: value for name, value in global_variables(files).items() if name not in variables}
        held = held.with_others(state_of(imported_late))
        upstream.fingerprint = fingerprint(upstream, function_name, files, held, trials)
    return upstream


@contextmanager
def settings_of_torch_kept() -> Iterator[None]:
    """Restore the generator, the gradient mode and the default precision, which a user's file may set for everyone."""
    precision = torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(torch.is_grad_enabled()):
            yield
    finally:
        torch.set_default_dtype(precision)


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
        with running(f"The model of {self.name}", self.path, memory_passes=True):
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
    """Split "path/module.py:function" into the file and the function's name."""
    file, colon, function_name = spec.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py" or not function_name.isidentifier():
        raise UserError(f"{spec!r} is not of the form module.py:function, such as my_model.py:build.")
    if not path.is_file():
        raise UserError(f"There is no file {path} for {spec!r}; check the path, relative to the current directory.")
    return path, function_name


def import_file(path: Path) -> ModuleType:
    """Import a Python file by its path, under a unique module name."""
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


def declared_sizes(model: Any, who: str) -> tuple[int, int, int]:
    """Return (num_layers, dim, stride) from the model's attributes; who: name of the model in messages."""
    if not callable(model):
        raise UserError(
            f"{who} is of type {type(model).__name__}, which cannot be called; return an object that takes waveforms."
        )
    sizes = []
    for attribute in ("num_layers", "dim", "stride"):
        value = getattr(model, attribute, None)
        if type(value) is not int or value < 1:
            found = f"{attribute} = {value!r}" if hasattr(model, attribute) else f"no attribute {attribute}"
            raise UserError(f"{who} has {found}; expected a positive int. Set it in the model's class.")
        sizes.append(value)
    return sizes[0], sizes[1], sizes[2]


def layers_and_lengths(output: object, who: str) -> tuple[Tensor, Tensor]:
    """Return the two tensors of a model's output, from `HiddenStates` or a pair."""
    pair = (output.layers, output.lengths) if isinstance(output, HiddenStates) else output
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair):
        found = f"a tuple of {len(pair)}" if isinstance(pair, tuple) else type(pair).__name__
        raise UserError(
            f"{who} returned {found}; expected HiddenStates or a tuple (layers, lengths) of two tensors, "
            "(L, B, T, D) and (B,)."
        )
    return pair


def check_shapes(layers: Tensor, lengths: Tensor, expected: tuple[int, int, int], who: str) -> None:
    """Raise UserError for wrong types or shapes of an output; expected: (L, B, D)."""
    num_layers, batch, dim = expected
    for tensor in (layers, lengths):
        if tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta or tensor.is_quantized:
            raise UserError(
                f"{who} returned a tensor that is sparse, nested, quantised or without data; return others."
            )
    if layers.requires_grad:
        raise UserError(f"{who} returned states that carry gradients; remove torch.enable_grad from it.")
    if layers.ndim != 4:
        raise UserError(f"{who} returned layers of shape {tuple(layers.shape)}; expected (L, B, T, D).")
    if not layers.is_floating_point():
        raise UserError(f"{who} returned layers of {layers.dtype}; expected floating-point states.")
    found = {"num_layers": layers.shape[0], "utterances": layers.shape[1], "dim": layers.shape[3]}
    for name, wanted in (("num_layers", num_layers), ("utterances", batch), ("dim", dim)):
        if found[name] != wanted:
            raise UserError(
                f"{who} returned layers of shape {tuple(layers.shape)}, (L, B, T, D), with {name} = {found[name]}; "
                f"expected {wanted}. Correct the attribute or the output."
            )
    if lengths.shape != (batch,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise UserError(
            f"{who} returned lengths of shape {tuple(lengths.shape)} and {lengths.dtype}; "
            f"expected ({batch},) whole numbers, the valid frames of each utterance."
        )


def check_lengths(layers: Tensor, lengths: Tensor, samples: Sequence[int], stride: int, who: str) -> None:
    """Raise UserError unless the lengths are within the padded states and match the stride.

    samples: of each utterance.
    """
    frames = layers.shape[2]
    for length, count in zip(lengths.tolist(), samples, strict=True):
        if not 1 <= length <= frames:
            raise UserError(
                f"{who} returned {frames} padded frames, but a length of {length} for an utterance of {count} samples; "
                f"expected 1 to {frames}."
            )
        if abs(length - count / stride) >= FRAME_TOLERANCE:
            raise UserError(
                f"{who} returned {length} frames for {count} samples; expected about {count / stride:.0f} at its "
                f"stride of {stride}. Correct `stride`, or return every frame of the utterance."
            )


def check_contract(upstream: CustomUpstream) -> list[HiddenStates]:
    """Test the model on synthetic waveforms, alone and together; return the states of each alone.

    Raises UserError if the model fails, if its states are not finite, not repeatable or depend on the batch, or if
    its tensors change or are trainable.
    """
    who, model = f"The model of {upstream.name}", upstream.model
    generator = torch.Generator().manual_seed(0)
    waveforms = [0.1 * torch.randn(samples, generator=generator) for samples in TEST_SAMPLES]

    before = tensors_digest(model)
    alone = [upstream([waveform]) for waveform in waveforms]
    again = [upstream([waveform]) for waveform in waveforms]
    together = upstream(waveforms)
    for index, (first, second) in enumerate(zip(alone, again, strict=True)):
        check_finite(first.utterance(0), who)
        check_repeatable(first.utterance(0), second.utterance(0), who)
        check_batch(first.utterance(0), together.utterance(index), upstream.dtype, who)
    check_frozen(model, before, who)
    return alone


def check_finite(states: Tensor, who: str) -> None:
    """Raise UserError for NaN or infinite states, (L, T, D)."""
    bad = [layer for layer, state in enumerate(states) if not bool(torch.isfinite(state).all())]
    if bad:
        raise UserError(
            f"{who} gives NaN or infinite states for noise at a tenth of full scale (layer {bad[0]}); "
            "look for logarithms of zero, divisions by zero, or an overflow in half precision."
        )


def check_repeatable(first: Tensor, second: Tensor, who: str) -> None:
    """Raise UserError unless two calls on one waveform gave identical states, (L, T, D)."""
    if not torch.equal(first, second):
        raise UserError(
            f"{who} gave different states for the same waveform in two calls; switch off dropout, masking, dithering "
            "and anything else that is random or depends on earlier calls."
        )


def check_batch(alone: Tensor, in_batch: Tensor, dtype: torch.dtype, who: str) -> None:
    """Raise UserError unless an utterance alone and in a batch gave the same states, (L, T, D), up to rounding."""
    fix = "Encode each utterance separately and use HiddenStates.from_utterances, or mask the padding."
    if alone.shape != in_batch.shape:
        raise UserError(
            f"{who} gives an utterance {alone.shape[1]} frames alone and {in_batch.shape[1]} in a batch. {fix}"
        )
    difference = (alone.float() - in_batch.float()).flatten(1).norm(dim=1)
    relative = difference / alone.float().flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    layer = int(relative.argmax())
    if relative[layer] > BATCH_TOLERANCE.get(dtype, 1e-4):
        raise UserError(
            f"{who} gives an utterance other states in a batch than alone: layer {layer} differs by "
            f"{float(relative[layer]):.2g} of its norm. {fix}"
        )


def check_frozen(model: Any, before: str, who: str) -> None:
    """Raise UserError if the model changed or is trainable; before: digest of its tensors before the first call."""
    if not isinstance(model, nn.Module):
        return
    if any(module.training for module in model.modules()):
        raise UserError(f"{who} went back to training mode when called; remove the call of train() from it.")
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if trainable:
        raise UserError(f"{who} made {trainable[0]} require gradients again; remove requires_grad_ from it.")
    if tensors_digest(model) != before:
        raise UserError(
            f"{who} changes its parameters or buffers when called; a frozen upstream must not. Look for running "
            "statistics and caches, and keep state that must change out of parameters and buffers."
        )


def tensors_digest(model: Any) -> str:
    """Return the digest of all parameters and buffers of a torch module, persistent or not; other objects have none."""
    tensors = [*model.named_parameters(), *model.named_buffers()] if isinstance(model, nn.Module) else []
    return fingerprint_tensors(dict(tensors), {})


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
