"""WavLM: front end, positional convolution, transformer blocks.

A batch is packed: the frames of its utterances are concatenated to (N, D) rows, with a list of their lengths. All
layers but attention and the convolutions work on single frames, so they run on all rows at once; attention and the
convolutions work on one utterance. There is no padding and no mask, and an utterance's states do not depend on the
rest of its batch.

Code that depends on the machine is elsewhere: matrix products in `products.py`, attention in `attention_kernels.py`,
and the length of the pieces in `front_end.py`. The model is the same on all devices, frozen or trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.wavlm.attention import Attention, RelativePositions
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.dropout import Dropouts
from upstream.wavlm.equal_lengths import equal_runs
from upstream.wavlm.feed_forward_training import narrowed
from upstream.wavlm.front_end import FrontEnd
from upstream.wavlm.masking import Masks
from upstream.wavlm.products import Convolution, Linear
from upstream.wavlm.ways import POSITIONAL

LEARNED_AT_ONCE = 1024  # frames of utterances of equal length


class PositionalConv(Convolution):
    """Convolutional position embedding: a grouped convolution over time whose output is added to its input.

    The weight norm of checkpoints is folded into `weight` when they are read.
    """

    operation = POSITIONAL

    def __init__(self, config: WavLMConfig) -> None:
        dim, groups = config.hidden_size, config.num_conv_pos_embedding_groups
        super().__init__(dim, dim, config.num_conv_pos_embeddings, groups=groups)

    def of_utterances(self, x: Tensor) -> Tensor:
        """Return the position embeddings of utterances of equal length, (B, T, D) -> (B, T, D).

        Frame t depends on frames t - 64 … t + 63 at kernel 128, zeros beyond the ends. The zeros are added here:
        oneDNN needs ten times as long to prepare a convolution with padding.
        """
        before = self.kernel // 2
        positions: Tensor = self(F.pad(x, (0, 0, before, self.kernel - 1 - before)), gelu=True)
        return positions

    def of_batch(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the position embeddings of a packed batch, (N, D) -> (N, D).

        Frozen, an utterance is computed alone: its states do not depend on the rest of its batch, to the bit.
        """
        runs = list(equal_runs(lengths, LEARNED_AT_ONCE if torch.is_grad_enabled() else 0))
        parts = torch.split(x, [len(run) * lengths[run.start] for run in runs])
        each = [self.of_utterances(part.view(len(run), -1, x.shape[1])) for run, part in zip(runs, parts, strict=True)]
        return torch.cat([one.flatten(0, 1) for one in each])


class Block(nn.Module):
    """One transformer block; pre_norm: True if the layer norms come first (Large), False if last (Base)."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        dim, eps = config.hidden_size, config.layer_norm_eps
        self.pre_norm = config.do_stable_layer_norm
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(dim, eps)
        self.feed_forward_in = Linear(dim, config.intermediate_size)
        self.feed_forward_out = Linear(config.intermediate_size, dim)
        self.feed_forward_norm = nn.LayerNorm(dim, eps)
        self.dropout, self.activation_dropout = config.hidden_dropout, config.activation_dropout

    def forward(self, x: Tensor, lengths: list[int], by_distance: Tensor, dropouts: Dropouts | None = None) -> Tensor:
        """(N, D) -> (N, D); arguments as in `Attention.forward`."""
        inner = self.attention_norm(x) if self.pre_norm else x
        return self.after_attention(x, self.attention(inner, lengths, by_distance, dropouts), dropouts)

    def after_attention(self, x: Tensor, attended: Tensor, dropouts: Dropouts | None) -> Tensor:
        """Return the output of the block from its input and what attention made of it, (N, D) each."""
        x = self._plus(x, self.attention.out, attended, dropouts, "attention output")
        if self.pre_norm:
            return self._fed_forward(x, self.feed_forward_norm(x), dropouts)
        x = self.attention_norm(x)
        result: Tensor = self.feed_forward_norm(self._fed_forward(x, x, dropouts))
        return result

    def _fed_forward(self, x: Tensor, inner: Tensor, dropouts: Dropouts | None) -> Tensor:
        learns = torch.is_grad_enabled() and not self.feed_forward_out.is_packed
        learns = learns and not torch.compiler.is_compiling()  # a compiler decides itself what it keeps
        last = partial(self._narrowed if learns else self._product, dropouts=dropouts)
        return self._plus(x, last, self.feed_forward_in(inner, gelu=not learns), dropouts, "feed forward")

    def _product(self, wide: Tensor, plus: Tensor | None = None, *, dropouts: Dropouts | None) -> Tensor:
        """Return the second product of the feed-forward layers; wide: (N, K), behind GELU."""
        if dropouts is not None:
            wide = dropouts(wide, self.activation_dropout, "activation")
        narrow: Tensor = self.feed_forward_out(wide, plus=plus)
        return narrow

    def _narrowed(self, wide: Tensor, plus: Tensor | None = None, *, dropouts: Dropouts | None) -> Tensor:
        """Return the same with GELU, in a way that keeps little for the backward pass; wide: before GELU."""
        weight, bias = self.feed_forward_out.weight, self.feed_forward_out.bias
        assert bias is not None
        narrow = narrowed(wide, weight, bias, self.activation_dropout, dropouts)
        return narrow if plus is None else plus + narrow

    def _plus(
        self, x: Tensor, last: Callable[..., Tensor], inner: Tensor, dropouts: Dropouts | None, place: str
    ) -> Tensor:
        """Return x + dropout(last(inner)), the residual connection; without dropout the product adds x itself."""
        if dropouts is None:
            return last(inner, plus=x)
        return x + dropouts(last(inner), self.dropout, place)


class WavLM(nn.Module):
    """The encoder. Its parameters are uninitialised until a checkpoint is loaded; see also `untrained`."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.config = config
        dim, eps = config.hidden_size, config.layer_norm_eps
        self.front_end = FrontEnd(config)
        self.feature_norm = nn.LayerNorm(config.conv_dim[-1], eps)
        self.projection = Linear(config.conv_dim[-1], dim)
        self.mask_embedding = nn.Parameter(torch.empty(dim))
        self.positional_conv = PositionalConv(config)
        self.relative_positions = RelativePositions(config)
        self.norm = nn.LayerNorm(dim, eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))

    def forward(self, waveforms: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the hidden states of a batch of utterances, packed, one layer at a time to save memory.

        waveforms: 1-D tensors of at least `config.receptive_field` samples, standardised if the model needs it.

        Yields the input of every block and the encoder's output: num_hidden_layers + 1 tensors (N, D), in
        the order and with the values of SUPERB's weighted sum. The utterances are concatenated; each has
        `config.frames(samples)` frames, N in total.
        """
        for depth, x in enumerate(self.before_norm(waveforms)):
            yield self.output(x) if depth == len(self.blocks) else x

    def before_norm(self, waveforms: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the same states, but the last one as the last block leaves it, before the norm of a pre-norm model."""
        x, lengths = self.embed(*self.features(waveforms))
        by_distance = self.relative_positions()
        for block in self.blocks:
            yield x
            x = block(x, lengths, by_distance)
        yield x

    def output(self, x: Tensor) -> Tensor:
        """Return the encoder's output from the output of the last block, (N, D) -> (N, D)."""
        return self.norm(x) if self.config.do_stable_layer_norm else x

    def features(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """Return the layer-normed output of the front end, (N, C), and the number of frames of each utterance."""
        features, lengths = self.front_end(waveforms)
        return self.feature_norm(features), lengths

    def embed(
        self,
        features: Tensor,
        lengths: list[int],
        masks: Masks | None = None,
        dropouts: Dropouts | None = None,
    ) -> tuple[Tensor, list[int]]:
        """Return the input of the first block, (N, D), and the number of frames of each utterance.

        features, lengths: as `features` returns them. masks, dropouts: of training.
        """
        x = self.projection(features)
        if dropouts is not None:
            x = dropouts(x, self.config.feat_proj_dropout, "projection")
        if masks is not None:
            x = masks.applied(x, self.mask_embedding)
        x = x + self.positional_conv.of_batch(x, lengths)
        if not self.config.do_stable_layer_norm:
            x = self.norm(x)
        return x if dropouts is None else dropouts(x, self.config.hidden_dropout, "input"), lengths


def untrained(config: WavLMConfig, seed: int) -> WavLM:
    """Return a model with weights drawn from `seed`, the control for every probe.

    The distributions are those of transformers: the positional convolution normal(0, 2 / √(kernel · dim)), the
    front end's convolutions Kaiming normal, the projection and its bias uniform within ±1/√width, every
    other matrix normal(0, initializer_range), the mask vector uniform in [0, 1), norms and gate constants one,
    other biases zero.
    """
    with torch.device("meta"):  # else constructors would draw from the global generator
        model = WavLM(config)
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_drawn(name, parameter.shape, config, generator))
    return model


def _drawn(name: str, shape: torch.Size, config: WavLMConfig, generator: torch.Generator) -> Tensor:
    spread, width = config.initializer_range, config.conv_dim[-1]
    if name == "mask_embedding":
        return torch.rand(shape, generator=generator)
    if name.endswith("gate_constant") or ("norm" in name and name.endswith("weight")):
        return torch.ones(shape)
    if name == "positional_conv.weight":
        kernel, dim = shape[2], shape[0]
        return torch.randn(shape, generator=generator) * (2.0 / math.sqrt(kernel * dim))
    if name.startswith("front_end") and name.endswith(".weight"):
        return torch.randn(shape, generator=generator) * math.sqrt(2.0 / (shape[1] * shape[2]))
    if name.startswith("projection."):
        return (2.0 * torch.rand(shape, generator=generator) - 1.0) / math.sqrt(width)
    if name.endswith("bias"):
        return torch.zeros(shape)
    return torch.randn(shape, generator=generator) * spread
