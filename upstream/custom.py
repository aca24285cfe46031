"""A model of the user's own: `module.py:function`.

The function takes no arguments and returns a model: anything that can be called with a list of 1-D waveforms (float,
16 kHz, in [-1, 1], each of its own length, none shorter than 400 samples) and has three integer attributes,
`num_layers` (L), `dim` (D) and `stride` (samples between two frames). A call returns `HiddenStates` or a pair
`(layers, lengths)` of tensors (L, B, T, D) and (B,). A whole example:

    import torch
    from torch import nn
    from upstream.base import HiddenStates

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

A torch module is put into evaluation mode, moved to the device and precision, and called with waveforms in them. Any
other object gets float32 waveforms on the device and has to freeze itself. When it is loaded, the model is tried on
synthetic waveforms, and whatever breaks the contract is told plainly: shapes, lengths that do not follow from the
stride, states that are not finite, differ between two calls or depend on batch-mates, and anything that still learns.
Shapes and lengths are checked again at every call.

The fingerprint covers the states of the trial waveforms, the file, the name of the function, and the tensors of a torch
module with the files that its classes are defined in, as far as those are not installed packages.
"""

from __future__ import annotations

import difflib
import hashlib
import sys
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from upstream.base import HiddenStates, Provenance, Upstream, frozen
from upstream.errors import MendableError
from upstream.fingerprint import fingerprint_files, fingerprint_tensors

CONTRACT_VERSION = 1  # raise it whenever the same model comes to be called in another way

TRIAL_SAMPLES = (16_000, 27_680)  # 1 s and 1.73 s
# s3prl refuses a batch whose frames differ by 5 or more from what the stride promises (its upstream/interfaces.py).
FRAME_TOLERANCE = 5
# Largest relative difference between an utterance alone and in a batch that is still rounding: norm over norm, for
# each layer. In half precision, kernels for other batch sizes may round differently by about 1 %.
BATCH_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}


def load(spec: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> CustomUpstream:
    """The frozen model that `function` of `module.py` returns, for `spec` "path/to/module.py:function".

    Raises MendableError where file or function are missing or fail, or the model breaks the contract.
    """
    path, function_name = parse(spec)
    function = find_function(run_file(path), path, function_name)
    with torch.random.fork_rng(devices=[]):  # whatever it draws, the caller's generator stays as it was
        model = calling(f"{function_name}() of {path}", path, function)
    who = f"The model of {spec}"
    num_layers, dim, stride = stated_numbers(model, who)
    upstream = CustomUpstream(spec, path, model, (num_layers, dim, stride), torch.device(device), dtype)
    upstream.fingerprint = fingerprint(upstream, function_name, try_out(upstream))
    return upstream


class CustomUpstream(Upstream):
    """A user's model under the contract of an upstream."""

    def __init__(
        self,
        spec: str,
        path: Path,
        model: Any,
        numbers: tuple[int, int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if not isinstance(model, nn.Module) and dtype != torch.float32:
            raise MendableError(
                f"The model of {spec} is no torch module, so it cannot be cast to {dtype}; leave the precision at "
                "float32, or return a torch.nn.Module."
            )
        self.name, self.path = spec, path
        self.device, self.dtype = device, dtype
        self.num_layers, self.dim, self.stride = numbers
        self.model = frozen(model, device, dtype) if isinstance(model, nn.Module) else model
        self.provenance = Provenance(
            source=spec,
            format=f"custom {type(model).__name__}",
            notes=(f"{path.name} has the SHA-256 digest {fingerprint_files([path])}.",),
        )

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        # Copies, so that a model that works in place cannot reach the caller's audio.
        output = self.model([waveform.to(self.dtype, copy=True) for waveform in waveforms])
        states = self.checked(output, waveforms)
        return HiddenStates(states.layers.to(self.device, self.dtype), states.lengths.to("cpu", torch.int64))

    def checked(self, output: object, waveforms: list[Tensor]) -> HiddenStates:
        """`output` as HiddenStates, if it keeps the contract in types, shapes and lengths; else MendableError."""
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
        raise MendableError(f"{spec!r} is not of the form module.py:function, such as my_model.py:build.")
    if not path.is_file():
        raise MendableError(f"There is no file {path} for {spec!r}; check the path, relative to where you are.")
    return path, function_name


def run_file(path: Path) -> ModuleType:
    """Import a Python file by its path, under a name of its own."""
    name = f"wavprobe_custom_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, path)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise MendableError(f"Python cannot import {path}; expected a source file that ends in .py.")
    module, loader = module_from_spec(spec), spec.loader

    def run() -> None:
        # Compiled from the text as it is now, not from a .pyc file that may be older than what is fingerprinted.
        exec(loader.source_to_code(path.read_bytes(), str(path)), module.__dict__)

    sys.modules[name] = module  # dataclasses look their module up by name
    if str(path.parent.resolve()) not in sys.path:
        sys.path.append(str(path.parent.resolve()))  # its neighbours can be imported; last, so that they hide nothing
    calling(f"Importing {path}", path, run)
    return module


def find_function(module: ModuleType, path: Path, name: str) -> Callable[[], Any]:
    """The function of that name, or MendableError with the nearest one."""
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    own = [key for key, value in vars(module).items() if callable(value) and value.__module__ == module.__name__]
    near = difflib.get_close_matches(name, own, n=1)
    suggestion = f"Did you mean {near[0]}?" if near else f"It defines: {', '.join(own) or 'no function'}."
    raise MendableError(f"{path} has no function {name!r}. {suggestion}")


def calling(what: str, path: Path, function: Callable[[], Any]) -> Any:
    """The result of `function`; what the user's code in `path` raises becomes a sentence that says where."""
    try:
        return function()
    except MendableError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything, or try to leave
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        place = f" at line {lines[-1]} of {path}" if lines else ""
        raise MendableError(f"{what} failed{place}: {type(error).__name__}: {error}. Mend it and run again.") from error


def stated_numbers(model: Any, who: str) -> tuple[int, int, int]:
    """(num_layers, dim, stride) as the model states them."""
    if not callable(model):
        raise MendableError(
            f"{who} is of type {type(model).__name__}, which cannot be called; return an object that takes waveforms."
        )
    numbers = []
    for attribute in ("num_layers", "dim", "stride"):
        value = getattr(model, attribute, None)
        if type(value) is not int or value < 1:
            found = f"{attribute} = {value!r}" if hasattr(model, attribute) else f"no attribute {attribute}"
            raise MendableError(f"{who} has {found}; expected a positive int. Set it in the model's class.")
        numbers.append(value)
    return numbers[0], numbers[1], numbers[2]


def layers_and_lengths(output: object, who: str) -> tuple[Tensor, Tensor]:
    """The two tensors of a model's output, whichever of the two forms it has."""
    pair = (output.layers, output.lengths) if isinstance(output, HiddenStates) else output
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair):
        found = f"a tuple of {len(pair)}" if isinstance(pair, tuple) else type(pair).__name__
        raise MendableError(
            f"{who} returned {found}; expected HiddenStates or a tuple (layers, lengths) of two tensors, "
            "(L, B, T, D) and (B,)."
        )
    return pair


def check_shapes(layers: Tensor, lengths: Tensor, expected: tuple[int, int, int], who: str) -> None:
    """Check types and shapes of an output; `expected` is (L, B, D)."""
    num_layers, batch, dim = expected
    if layers.ndim != 4:
        raise MendableError(f"{who} returned layers of shape {tuple(layers.shape)}; expected (L, B, T, D).")
    if not layers.is_floating_point():
        raise MendableError(f"{who} returned layers of {layers.dtype}; expected floating-point states.")
    found = {"num_layers": layers.shape[0], "utterances": layers.shape[1], "dim": layers.shape[3]}
    for name, wanted in (("num_layers", num_layers), ("utterances", batch), ("dim", dim)):
        if found[name] != wanted:
            raise MendableError(
                f"{who} returned layers of shape {tuple(layers.shape)}, (L, B, T, D), with {name} = {found[name]}; "
                f"expected {wanted}. Correct the attribute or the output."
            )
    if lengths.shape != (batch,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise MendableError(
            f"{who} returned lengths of shape {tuple(lengths.shape)} and {lengths.dtype}; "
            f"expected ({batch},) whole numbers, the valid frames of each utterance."
        )


def check_lengths(layers: Tensor, lengths: Tensor, samples: Sequence[int], stride: int, who: str) -> None:
    """Check that the lengths lie within the padded states and follow from the stride."""
    frames = layers.shape[2]
    for length, count in zip(lengths.tolist(), samples, strict=True):
        if not 1 <= length <= frames:
            raise MendableError(
                f"{who} returned {frames} padded frames, of which an utterance of {count} samples is said to own "
                f"{length}; expected 1 to {frames}."
            )
        if abs(length - count / stride) >= FRAME_TOLERANCE:
            raise MendableError(
                f"{who} returned {length} frames for {count} samples; expected about {count / stride:.0f} at its "
                f"stride of {stride}. Correct `stride`, or return every frame of the utterance."
            )


def try_out(upstream: CustomUpstream) -> list[HiddenStates]:
    """Try the model on synthetic waveforms, alone and together; return the states of each alone.

    Raises MendableError if the model fails, or its states are not finite, repeatable and independent of batch-mates, or
    if anything in it changes or could learn.
    """
    who, model = f"The model of {upstream.name}", upstream.model
    generator = torch.Generator().manual_seed(0)
    waveforms = [0.1 * torch.randn(samples, generator=generator) for samples in TRIAL_SAMPLES]

    def states_of(*batch: Tensor) -> HiddenStates:
        result: HiddenStates = calling(who, upstream.path, lambda: upstream(batch))
        return result

    before = tensors_digest(model)
    alone = [states_of(waveform) for waveform in waveforms]
    again = [states_of(waveform) for waveform in waveforms]
    together = states_of(*waveforms)
    for index, (first, second) in enumerate(zip(alone, again, strict=True)):
        check_finite(first.utterance(0), who)
        check_repeatable(first.utterance(0), second.utterance(0), who)
        check_batch_mates(first.utterance(0), together.utterance(index), upstream.dtype, who)
    check_frozen(model, together, before, who)
    return alone


def check_finite(states: Tensor, who: str) -> None:
    bad = [layer for layer, state in enumerate(states) if not bool(torch.isfinite(state).all())]
    if bad:
        raise MendableError(
            f"{who} gives NaN or infinite states for noise at a tenth of full scale (layer {bad[0]}); "
            "look for logarithms of zero, divisions by zero, or an overflow in half precision."
        )


def check_repeatable(first: Tensor, second: Tensor, who: str) -> None:
    """Two calls on one waveform must give the very same states, (L, T, D)."""
    if not torch.equal(first, second):
        raise MendableError(
            f"{who} gave different states for the same waveform in two calls; switch off dropout, masking, dithering "
            "and whatever else draws at random or remembers earlier calls."
        )


def check_batch_mates(alone: Tensor, in_batch: Tensor, dtype: torch.dtype, who: str) -> None:
    """An utterance alone and in a batch must give the same states, (L, T, D), up to rounding."""
    mend = "Encode each utterance by itself, as HiddenStates.from_utterances makes easy, or mask the padding."
    if alone.shape != in_batch.shape:
        raise MendableError(
            f"{who} gives an utterance {alone.shape[1]} frames alone and {in_batch.shape[1]} in a batch. {mend}"
        )
    difference = (alone.float() - in_batch.float()).flatten(1).norm(dim=1)
    relative = difference / alone.float().flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    layer = int(relative.argmax())
    if relative[layer] > BATCH_TOLERANCE.get(dtype, 1e-4):
        raise MendableError(
            f"{who} gives an utterance other states in a batch than alone: layer {layer} differs by "
            f"{float(relative[layer]):.2g} of its norm. {mend}"
        )


def check_frozen(model: Any, states: HiddenStates, before: str, who: str) -> None:
    """Nothing may have changed or be able to learn; `before` is the tensors' digest ahead of the first call."""
    if states.layers.requires_grad:
        raise MendableError(f"{who} returned states that carry gradients; remove torch.enable_grad from it.")
    if not isinstance(model, nn.Module):
        return
    if any(module.training for module in model.modules()):
        raise MendableError(f"{who} went back to training mode when called; remove the call of train() from it.")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if learning:
        raise MendableError(f"{who} made {learning[0]} require gradients again; remove requires_grad_ from it.")
    if tensors_digest(model) != before:
        raise MendableError(
            f"{who} changes its own parameters or buffers when called; a frozen upstream must not: look for running "
            "statistics and caches, and keep what has to change out of parameters and buffers."
        )


def tensors_digest(model: Any) -> str:
    """Digest of all parameters and buffers of a torch module, persistent or not; of nothing for another object."""
    tensors = [*model.named_parameters(), *model.named_buffers()] if isinstance(model, nn.Module) else []
    return fingerprint_tensors(dict(tensors), {})


def fingerprint(upstream: CustomUpstream, function_name: str, trial: list[HiddenStates]) -> str:
    """Digest of what the states depend on, as the head of this file says."""
    model = upstream.model
    files = own_source_files(model) | {upstream.path.resolve()}
    tensors = {f"trial {index}": states.utterance(0) for index, states in enumerate(trial)}
    if isinstance(model, nn.Module):
        tensors |= dict([*model.named_parameters(), *model.named_buffers()])
    settings = {
        "contract": CONTRACT_VERSION,
        "function": function_name,
        "files": sorted(fingerprint_files([file]) for file in files),
        "numbers": [upstream.num_layers, upstream.dim, upstream.stride],
    }
    return fingerprint_tensors(tensors, settings)


def own_source_files(model: Any) -> set[Path]:
    """The files that the classes of a torch module are defined in, installed packages left out."""
    parts = list(model.modules()) if isinstance(model, nn.Module) else [model]
    modules = {sys.modules.get(type(part).__module__) for part in parts}
    files = {Path(file).resolve() for file in (getattr(module, "__file__", None) for module in modules) if file}
    installed = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")]
    return {file for file in files if not any(file.is_relative_to(folder) for folder in installed)}
