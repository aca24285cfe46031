"""Other ways to load an upstream: again, in half precision, on another device, untrained."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from upstream.base import Upstream
from upstream.check.candidate import Candidate
from upstream.check.finding import NOTE, OK, Finding, words_of_model
from upstream.check.layers import syllables
from upstream.check.speed import timed
from upstream.custom.probes import BATCH_TOLERANCE, deviations
from upstream.custom.user_code import generators_kept
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors
from upstream.object_state import state_of, written

OTHER_SEED = 20_260_101  # of the global generators at the second load
HALF = ("bfloat16", "float16")
BRIEF = 0.1  # seconds for 10 s of audio; float16, which few CPUs have, may take 20 times as long
FAR = 0.1  # relative difference from float32 beyond which half precision is not the same encoder


def difference(first: Upstream, second: Upstream) -> float:
    """Return the largest relative difference of a layer's states of two upstreams."""
    waveform = syllables(2.0, 1)
    states = [encoder([waveform]).utterance(0).float().cpu() for encoder in (first, second)]
    return float(deviations(states[0], states[1]).max())


# ---------------------------------------------------------------- again


def check_second_load(encoder: Upstream, module: nn.Module | None, candidate: Candidate) -> Finding:
    """Load the upstream again, while every random generator is elsewhere.

    Raises UserError if its states are others.
    """
    with generators_kept(OTHER_SEED):
        second = candidate.load()
    same_states = difference(encoder, second) <= BATCH_TOLERANCE[torch.float32]
    if same_states and second.fingerprint == encoder.fingerprint:
        return Finding("second load", f"the same states and fingerprint ({encoder.fingerprint[:8]}…)")
    other = next((held for held in vars(second).values() if isinstance(held, nn.Module)), None)
    changed = what_differs(module, other)
    which = f" ({changed}, for one)" if changed else ""
    if same_states:
        return Finding(
            "second load",
            f"the same states, but another fingerprint{which}, so that stored states would not be found again; "
            "load that too, or leave it out",
            NOTE,
        )
    raise UserError(
        f"{encoder.name} gives other states when it is loaded again{which}: something is drawn at random and not "
        "loaded. Load trained weights for it, or seed it (torch.manual_seed) in the function."
    )


def what_differs(first: nn.Module | None, second: nn.Module | None) -> str:
    """Return the place of a tensor or fact that two modules do not share; nothing if none is found."""
    if first is None or second is None:
        return ""
    others = dict([*second.named_parameters(), *second.named_buffers()])
    for name, tensor in sorted([*first.named_parameters(), *first.named_buffers()]):
        if name in others and not torch.equal(tensor, others[name]):
            return name
    states = [state_of({"model": module}) for module in (first, second)]
    held = [
        state.facts | {place: fingerprint_tensors({"": tensor}, {}) for place, tensor in state.tensors.items()}
        for state in states
    ]
    return written(min((place for place, _ in held[0].items() ^ held[1].items()), default=""))


# ---------------------------------------------------------------- precisions and devices


def check_precisions(encoder: Upstream, candidate: Candidate) -> Iterator[Finding]:
    """Load the upstream in half precision; say how far its states are from those in float32, and how fast it is."""
    if encoder.dtype != torch.float32:
        return
    ten_seconds = syllables(10.0, 0)
    taken = timed(lambda: encoder([ten_seconds]), encoder.device)
    for name in HALF:
        if name == "float16" and encoder.device.type == "cpu" and taken > BRIEF:
            yield Finding(name, "not tried: a CPU takes many times as long as for float32")
            continue
        try:
            half = candidate.but(dtype=name).load()
            off = difference(encoder, half)
        except UserError as error:
            yield Finding(name, f"not usable: {words_of_model(error, encoder.name)}", NOTE)
            continue
        if half.dtype == encoder.dtype:
            yield Finding(name, "always float32")
            continue
        speed = taken / timed(lambda half=half: half([ten_seconds]), half.device)  # type: ignore[misc]
        said = f"states differ by {off:.2g} of a layer's norm from float32's; {speed:.2g} times as fast"
        usable = off < FAR
        yield Finding(
            name,
            f"usable: {said}" if usable else f"not usable: {said}",
            OK if usable else NOTE,
            {"deviation": off, "speed": speed},
        )


def check_devices(encoder: Upstream, candidate: Candidate) -> Finding:
    """Load the upstream on the other kind of device, if there is a GPU, and compare its states."""
    if not torch.cuda.is_available():
        return Finding("devices", "cpu; PyTorch sees no GPU here, so none was tried")
    other = "cpu" if encoder.device.type == "cuda" else "cuda"
    try:
        off = difference(encoder, candidate.but(device=other).load())
    except UserError as error:
        return Finding("devices", f"{encoder.device.type}; on {other}: {words_of_model(error, encoder.name)}", NOTE)
    said = f"cpu and cuda, whose states differ by {off:.2g} of a layer's norm"
    return Finding("devices", said, OK if off < FAR else NOTE, {"deviation": off})


# ---------------------------------------------------------------- untrained


def check_untrained(encoder: Upstream, candidate: Candidate) -> Finding:
    """Load the untrained control, which every trained upstream needs."""
    if candidate.random_init:
        return Finding("untrained", f"this is one, drawn from seed {candidate.seed}")
    try:
        control = candidate.but(random_init=True).load()
    except UserError as error:
        return Finding("untrained", f"--random-init cannot be used: {words_of_model(error, encoder.name)}", NOTE)
    off = difference(encoder, control)
    if off <= BATCH_TOLERANCE[torch.float32]:
        same = "--random-init gives the same states: this model is not trained, or its weights have no effect"
        return Finding("untrained", same, NOTE)
    notes = [note for note in control.provenance.notes if note.startswith("Untrained")]
    how = f" ({notes[0].removeprefix('Untrained: ').rstrip('.')})" if notes else ""
    return Finding("untrained", f"--random-init works{how}; its states are other ones", OK, {"deviation": off})
