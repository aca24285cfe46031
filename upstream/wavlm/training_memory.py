"""What a WavLM that learns keeps in memory from the forward to the backward pass.

Counted as measured: `torch.autograd.graph.saved_tensors_hooks` sees every tensor that is kept, and the tests compare
its bytes with these. All in float32; under autocast it is less.
"""

from __future__ import annotations

from collections.abc import Sequence

from upstream.learned import Learned
from upstream.wavlm.config import WavLMConfig

BYTES = 4  # of a float32
OF_DROPOUT = 0.25  # numbers that a dropout keeps for each of its own: one byte

# Tensors of a block as wide as the model: inputs of its two halves and of their norms, and what attention put out; and
# queries, keys and values. Of each head and frame: the logits of the gate, its two sigmoids, and the gate.
ROWS, GATES = 5 + 3, 4
BEFORE_BLOCKS = 4  # tensors as wide as the model: inputs of the positional convolution, of its GELU, and of the norm
OF_A_CONVOLUTION = 2  # tensors of each layer of a front end that learns: its input and that of GELU
OF_STATES = 2  # the hidden states that are returned, and their gradient


def kept_bytes(config: WavLMConfig, settings: Learned, samples: Sequence[int]) -> int:
    """Return the bytes of a training batch with utterances of so many samples, beside weights and their gradients."""
    lengths = [config.frames(length) for length in samples]
    frames, learning = sum(lengths), config.num_hidden_layers - settings.from_layer
    numbers = (config.num_attention_heads + 2.0) * (2 * config.max_bucket_distance + 1)  # position bias, 64-bit buckets
    numbers += OF_STATES * (config.num_hidden_layers + 1) * len(lengths) * max(lengths) * config.hidden_size
    inside = of_block(config) * frames
    numbers += learning * config.hidden_size * frames + inside if settings.checkpointing else learning * inside
    if settings.from_layer == 0:
        numbers += of_embedding(config, frames)
    if settings.front_end:
        numbers += of_front_end(config, sum(samples))
    return round(BYTES * numbers)


def of_block(config: WavLMConfig) -> float:
    """Return the numbers that a block keeps of a frame. Attention keeps no squares of frames."""
    rows = ROWS + 2 * OF_DROPOUT * (config.hidden_dropout > 0.0)
    return rows * config.hidden_size + config.intermediate_size + GATES * config.num_attention_heads


def of_embedding(config: WavLMConfig, frames: int) -> float:
    """Return the numbers that are kept between the front end and the first block.

    The weight norm's product, (D, D / groups, kernel), is most of it for a short utterance.
    """
    dim = config.hidden_size
    weight = dim * dim // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings
    return weight + frames * (BEFORE_BLOCKS * dim + 2 * config.conv_dim[-1])


def of_front_end(config: WavLMConfig, samples: int) -> float:
    """Return the numbers that a front end keeps that learns."""
    numbers, rows = 0.0, float(samples)
    for dim, stride in zip(config.conv_dim, config.conv_stride, strict=True):
        rows /= stride
        numbers += rows * dim * (OF_A_CONVOLUTION + (config.feat_extract_norm == "layer"))
    return numbers
