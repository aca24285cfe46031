"""The steps of a check, in order: what fails first is raised, what was found before it has been told."""

from __future__ import annotations

import time

import torch
from torch import nn

from upstream import catalog, custom
from upstream.base import SAMPLE_RATE, Upstream
from upstream.check.candidate import Candidate
from upstream.check.finding import NOTE, Finding, Tell, joined
from upstream.check.layers import check_layers, check_unusual_audio
from upstream.check.loads import check_devices, check_precisions, check_second_load, check_untrained
from upstream.check.speed import check_batches, check_speed
from upstream.custom.probes import check_contract
from upstream.names import is_function
from upstream.object_state import state_of
from upstream.sizes import readable
from upstream.text import counted


def examine(candidate: Candidate, tell: Tell) -> Upstream:
    """Load an upstream and try it out; tell every step that passed.

    Raises UserError for what makes it unusable.
    """
    encoder = loaded(candidate, tell)
    module = module_of(encoder)
    tell(weights_of(encoder))
    tell(check_unusual_audio(encoder))
    tell(check_layers(encoder))
    tell(check_speed(encoder))
    tell(check_batches(encoder))
    tell(check_second_load(encoder, module, candidate))
    for finding in check_precisions(encoder, candidate):
        tell(finding)
    tell(check_devices(encoder, candidate))
    tell(check_untrained(encoder, candidate))
    tell(Finding("next", candidate.next_command()))
    return encoder


def loaded(candidate: Candidate, tell: Tell) -> Upstream:
    """Load an upstream and test it as a user's model is tested."""

    def told(step: str, found: str) -> None:
        tell(Finding(step, found))

    if is_function(candidate.name):
        return custom.load(
            candidate.name,
            device=catalog.torch_device(candidate.device),
            dtype=torch.float32 if candidate.dtype == catalog.FASTEST else catalog.torch_dtype(candidate.dtype),
            random_init=candidate.random_init,
            seed=candidate.seed,
            told=told,
        )
    began = time.perf_counter()
    encoder = candidate.load()
    rate = f"{SAMPLE_RATE / encoder.stride:.6g} frames a second"
    told("load", f"{encoder.provenance.format} in {time.perf_counter() - began:.1f} s")
    told("sizes", f"{encoder.num_layers} x {encoder.dim}, a frame every {encoder.stride:.6g} samples ({rate})")
    check_contract(encoder, module_of(encoder), told)
    return encoder


def module_of(encoder: Upstream) -> nn.Module | None:
    """Return the torch module that an upstream holds; None for one that has none."""
    return next((held for held in vars(encoder).values() if isinstance(held, nn.Module)), None)


def weights_of(encoder: Upstream) -> Finding:
    """Return how many numbers an upstream holds, packed ones too, and the memory that they take."""
    state = state_of({"upstream": vars(encoder)})
    numbers = sum(tensor.numel() for tensor in state.tensors.values())
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in state.tensors.values())
    where = f"{encoder.dtype_name} on {encoder.device}"
    found = f"{numbers:,} numbers in {counted(len(state.tensors), 'tensor')}, {readable(nbytes)}; {where}"
    values = {"numbers": numbers, "bytes": nbytes}
    if not state.hidden:
        return Finding("weights", found, values=values)
    hidden = ", ".join(sorted(state.hidden))
    more = (
        f"{hidden} cannot be looked into: computed states stand for it in the fingerprint, which machines round apart"
    )
    return Finding("weights", joined([found, more]), NOTE, values)
