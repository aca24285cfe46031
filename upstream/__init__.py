"""Speech encoders: audio in, hidden states of every layer out. Knows nothing of tasks.

import upstream
wavlm = upstream.load("wavlm_base")   # or any checkpoint; frozen, in evaluation mode
states = wavlm(waveforms)             # list of 1-D float tensors, 16 kHz, in [-1, 1]
states.layers, states.lengths         # (L, B, T, D), (B,)
"""

from upstream.catalog import load
from upstream.errors import MendableError

__all__ = ["MendableError", "load"]
