"""Blocks that learn with torch.compile: the same numbers, gradients and names."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from peers import relative_error
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from upstream.errors import UserError
from upstream.learned import Learned
from upstream.wavlm.config import NANO
from upstream.wavlm.training import TrainableWavLM
from upstream.wavlm.upstream import drawn

CPU = torch.device("cpu")
CERTAIN = replace(NANO, num_hidden_layers=2, hidden_dropout=0.0, activation_dropout=0.0, layerdrop=0.0)


def noise(samples: int) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(samples)) * 0.1


def states_and_gradients(encoder: TrainableWavLM, waveforms: list[Tensor]) -> dict[str, Tensor]:
    encoder.zero_grad()
    layers = encoder(waveforms, [1, 2]).layers
    weights = torch.randn(layers.shape[-1], generator=torch.Generator().manual_seed(0))
    (layers.float() @ weights).sum().backward()
    return {name: own.grad.clone() for name, own in encoder.learned() if own.grad is not None} | {"": layers.detach()}


def test_compiled_blocks_have_the_same_states_gradients_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of two lengths, the second with the graphs of the first; evaluation is not compiled.

    The graphs are those of torch.compile, without the C++ that takes half a minute.
    """
    graphs = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=graphs))
    plain, encoder = (TrainableWavLM(drawn(CERTAIN, 0), Learned(), CPU).train() for _ in range(2))
    encoder.compile_blocks()
    counts = []
    assert list(encoder.state_dict()) == list(plain.state_dict())
    for samples in (8_000, 5_000):
        batch = [noise(samples), noise(samples + 320)]
        expected, found = states_and_gradients(plain, batch), states_and_gradients(encoder, batch)
        assert found.keys() == expected.keys()
        for name, own in expected.items():
            if not name.endswith("qkv.bias"):  # the keys' part is rounding
                assert relative_error(found[name], own) < 1e-4, name
        counts.append(graphs.frame_count)
    assert torch.equal(encoder.eval()(batch).layers, plain.eval()(batch).layers)
    assert counts[0] == counts[1] == graphs.frame_count


def test_dropouts_in_compiled_blocks_are_refused() -> None:
    encoder = TrainableWavLM(drawn(replace(CERTAIN, hidden_dropout=0.1), 0), Learned(), CPU)
    with pytest.raises(UserError, match=r"hidden_dropout: 0 and activation_dropout: 0, and this model has 0\.1 and 0"):
        encoder.compile_blocks()


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Tensor) -> Tensor:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    encoder = TrainableWavLM(drawn(CERTAIN, 0), Learned(), CPU)
    with pytest.raises(UserError, match=r"No working C\+\+ compiler found.*Install a C\+\+ compiler"):
        encoder.compile_blocks()
