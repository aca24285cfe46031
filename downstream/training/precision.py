"""The precision in which an encoder learns."""

from __future__ import annotations

import torch


def in_precision(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """Return the context in which autocast computes products in a precision; in float32 it changes nothing."""
    lower = dtype != torch.float32
    return torch.autocast(device.type, dtype if lower else None, enabled=lower)
