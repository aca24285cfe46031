"""A fingerprint is the same on every machine: nothing computed is in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from peers import KINDS, save_transformers, transformers_model
from places import REPOSITORY

import upstream

PRINT = """
import sys, torch, upstream
print(torch.backends.cpu.get_cpu_capability())
for name in sys.argv[1:]:
    print(upstream.load(name, random_init=name == "wavlm_nano").fingerprint)
"""
CUSTOM = """
import torch
class Model(torch.nn.Module):
    num_layers, dim, stride = 1, 8, 320
    def __init__(self):
        super().__init__()
        self.filters = torch.nn.Conv1d(1, 8, 400, stride=320)
        self.filters.load_state_dict(torch.load({weights!r}))
    def forward(self, waveforms):
        states = [self.filters(w[None, None]).tanh().transpose(1, 2) for w in waveforms]
        lengths = torch.tensor([s.shape[1] for s in states])
        padded = torch.nn.utils.rnn.pad_sequence([s[0] for s in states], batch_first=True)
        return padded[None], lengths
def build():
    return Model()
"""


def test_threads_and_instructions_do_not_matter(tmp_path: Path) -> None:
    """A checkpoint's weight norm is folded, a custom model is tried out, untrained weights are drawn: all computed."""
    folder = save_transformers(transformers_model(KINDS["large"]), tmp_path / "hf", do_normalize=True)
    torch.save(torch.nn.Conv1d(1, 8, 400).state_dict(), tmp_path / "weights.pt")
    (tmp_path / "custom.py").write_text(CUSTOM.format(weights=str(tmp_path / "weights.pt")))
    names = [str(folder), f"{tmp_path / 'custom.py'}:build", "wavlm_nano"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "ATEN_CPU_CAPABILITY": "default"}
    command = [sys.executable, "-c", PRINT, *names]
    capability, *plain = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    assert capability == "DEFAULT"
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert [upstream.load(name, random_init=name == "wavlm_nano").fingerprint for name in names] == plain
    finally:
        torch.set_num_threads(threads)
