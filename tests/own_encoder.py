"""An encoder of a user's own, as the text of a file: one layer, the energy of frames of 25 ms."""

ENERGY = """\
import torch
from upstream.base import HiddenStates
class Energy(torch.nn.Module):
    num_layers, dim, stride = 1, 4, 160
    def forward(self, waveforms):
        each = [w.unfold(0, 400, 160).square().mean(-1)[None, :, None].expand(1, -1, 4) for w in waveforms]
        return HiddenStates.from_utterances(each)
def build():
    return Energy()
"""
