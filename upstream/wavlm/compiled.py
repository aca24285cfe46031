"""Blocks that learn, with torch.compile for what follows attention: products, GELU, residuals and norms.

Attention and the front end stay as they are: they are lists of utterances, and what is slow in them are library calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.dropout import Dropouts
from upstream.wavlm.model import Block

FIX = "Install a C++ compiler (on Debian and Ubuntu: apt install g++), or leave compile out."
AT_MOST = 200  # characters of what the compiler says


def compile_blocks(blocks: Iterable[Block]) -> None:
    """Let blocks learn with compiled code, see `require_compilable`.

    Names of parameters stay. What does not learn, evaluation, is computed as before.
    """
    # One graph for all blocks and lengths: a training that is resumed with another length computes the same.
    compiled = torch.compile(Block.after_attention, dynamic=True)
    for block in blocks:
        block.after_attention = partial(_after_attention, block, compiled)  # type: ignore[method-assign]


def require_compilable(config: WavLMConfig, device: torch.device) -> None:
    """Raise UserError for a model whose dropouts lie in what is compiled, and where nothing can be compiled."""
    if config.hidden_dropout or config.activation_dropout:
        raise UserError(
            "compile: true goes with hidden_dropout: 0 and activation_dropout: 0, and this model has "
            f"{config.hidden_dropout:g} and {config.activation_dropout:g}: zeros of a dropout are drawn utterance by "
            "utterance, which cannot be compiled. Set both to 0, or leave compile out."
        )
    try:
        torch.compile(_small)(torch.ones(64, device=device))
    except Exception as error:  # compilers raise anything
        said = " ".join(str(error).split())[:AT_MOST]
        raise UserError(f"torch.compile does not work here ({type(error).__name__}: {said}). {FIX}") from error


def _small(x: Tensor) -> Tensor:
    return torch.sin(x) + 1.0


def _after_attention(
    block: Block, compiled: Callable[..., Tensor], x: Tensor, attended: Tensor, dropouts: Dropouts | None
) -> Tensor:
    """Compute `Block.after_attention`, compiled where it learns; there are no dropouts in it then."""
    if block.training and torch.is_grad_enabled():
        return compiled(block, x, attended, None)
    return Block.after_attention(block, x, attended, dropouts)
