"""Speech encoders: audio in, hidden states of every layer out. Knows nothing of tasks.

import upstream
wavlm = upstream.load("wavlm_base")   # or any checkpoint; frozen, in evaluation mode
states = wavlm(waveforms)             # list of 1-D float tensors, 16 kHz, in [-1, 1]
states.layers, states.lengths         # (L, B, T, D), (B,)

Importing this package does not import torch; loading an upstream does.
"""

from typing import TYPE_CHECKING

from upstream.catalog import load
from upstream.errors import UserError
from upstream.lazy import lazy_exports
from upstream.user import introduce_user

if TYPE_CHECKING:
    from upstream.base import SAMPLE_RATE, HiddenStates, Upstream
else:
    __getattr__ = lazy_exports(__name__, dict.fromkeys(("SAMPLE_RATE", "HiddenStates", "Upstream"), "upstream.base"))

introduce_user()

__all__ = ["SAMPLE_RATE", "HiddenStates", "Upstream", "UserError", "load"]
