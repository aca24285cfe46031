"""The shapes of a WavLM's tensors, from its configuration; and the configuration, from the shapes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.wavlm.config import BASE, LARGE, WavLMConfig
from upstream.wavlm.config_formats import with_values
from upstream.wavlm.names import DIRECTION, FOLDED, MAGNITUDE, MASK, POSITIONAL


def expected_shapes(config: WavLMConfig, folded: bool = False) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a checkpoint with this configuration: 248 for Base, 488 for Large.

    folded: True for one whose positional convolution has one weight in place of a weight norm's two.
    """
    dim, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    shapes: dict[str, tuple[int, ...]] = {MASK: (dim,)}
    width = 1
    for i, (out, kernel) in enumerate(zip(config.conv_dim, config.conv_kernel, strict=True)):
        stem = f"feature_extractor.conv_layers.{i}"
        shapes[f"{stem}.conv.weight"] = (out, width, kernel)
        if config.conv_bias:
            shapes[f"{stem}.conv.bias"] = (out,)
        if config.feat_extract_norm == "layer" or i == 0:
            shapes |= _affine(f"{stem}.layer_norm", out)
        width = out
    shapes |= _affine("feature_projection.layer_norm", width)
    shapes |= _affine("feature_projection.projection", dim, width)
    shapes |= _positional(config, folded)
    shapes |= _affine("encoder.layer_norm", dim)
    shapes["encoder.layers.0.attention.rel_attn_embed.weight"] = (config.num_buckets, heads)
    for i in range(config.num_hidden_layers):
        stem = f"encoder.layers.{i}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _affine(f"{stem}.attention.{projection}", dim, dim)
        shapes |= _affine(f"{stem}.attention.gru_rel_pos_linear", 8, dim // heads)
        shapes[f"{stem}.attention.gru_rel_pos_const"] = (1, heads, 1, 1)
        shapes |= _affine(f"{stem}.layer_norm", dim)
        shapes |= _affine(f"{stem}.feed_forward.intermediate_dense", inner, dim)
        shapes |= _affine(f"{stem}.feed_forward.output_dense", dim, inner)
        shapes |= _affine(f"{stem}.final_layer_norm", dim)
    return shapes


def _positional(config: WavLMConfig, folded: bool) -> dict[str, tuple[int, ...]]:
    dim, kernel = config.hidden_size, config.num_conv_pos_embeddings
    weight = (dim, dim // config.num_conv_pos_embedding_groups, kernel)
    shapes: dict[str, tuple[int, ...]] = {f"{POSITIONAL}.bias": (dim,)}
    return shapes | ({FOLDED: weight} if folded else {MAGNITUDE: (1, 1, kernel), DIRECTION: weight})


def _affine(stem: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{stem}.weight": shape, f"{stem}.bias": shape[:1]}


def check(tensors: Mapping[str, Tensor], config: WavLMConfig, where: str) -> None:
    """Raise UserError for tensors of an encoder that are missing, unexpected, not finite or of a wrong shape.

    tensors: under the project's names. where: the checkpoint's name in the message.
    The mask vector may be missing: it is used in training only, and torchaudio's files do not have it.
    """
    compare(tensors, expected_shapes(config, folded=FOLDED in tensors), where, may_be_missing=(MASK,))


def compare(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    where: str,
    may_be_missing: tuple[str, ...] = (),
) -> None:
    """Raise UserError unless there are tensors of these names and shapes and no others, all of finite numbers."""
    misshapen = [
        f"{name} is {tuple(tensors[name].shape)}, not {shape}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    problems = {
        "missing": [name for name in shapes if name not in tensors and name not in may_be_missing],
        "unexpected": [name for name in tensors if name not in shapes],
        "of the wrong shape": misshapen,
    }
    fix = "Put the config.json that belongs to these weights beside them, or get a complete checkpoint."
    if not any(problems.values()):  # else tensors may be of any size
        problems["with NaN or infinite numbers"] = [name for name, tensor in tensors.items() if _broken(tensor)]
        fix = "Get an intact checkpoint, saved before the training diverged."
    found = [
        f"{len(names)} {what}: {', '.join(names[:4])}{' …' if len(names) > 4 else ''}"
        for what, names in problems.items()
        if names
    ]
    if found:
        raise UserError(
            f"{where} does not have the weights that its configuration describes. Tensors {'; '.join(found)}. {fix}"
        )


def _broken(tensor: Tensor) -> bool:
    """Return True if a number is NaN or infinite, or becomes so in float32."""
    return not bool(torch.isfinite(tensor.float()).all())


def config_from_shapes(tensors: Mapping[str, Tensor], where: str) -> WavLMConfig:
    """Return the configuration of a checkpoint that has none, from the shapes of its tensors.

    Strides, the largest bucket distance, the place of the norms and the waveform's standardisation cannot be seen in
    the shapes; they are those of the published model with the same front end.

    Raises UserError for tensors that are missing or of another rank, and for kernels that were never published.
    """
    try:
        convolutions = [
            tensors[f"feature_extractor.conv_layers.{i}.conv.weight"].shape
            for i in range(sum(name.endswith(".conv.weight") and name != FOLDED for name in tensors))
        ]
        num_buckets, heads = tensors["encoder.layers.0.attention.rel_attn_embed.weight"].shape
        inner, dim = tensors["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape
        group_width, positions = tensors[FOLDED if FOLDED in tensors else DIRECTION].shape[1:]
    except KeyError as error:
        raise UserError(
            f"{where} lacks the tensor {error.args[0]}, so it is not a complete WavLM encoder. Save all of it."
        ) from error
    except ValueError as error:  # a tensor of another rank cannot be unpacked
        raise UserError(
            f"{where} has tensors of unexpected shapes ({error}), so it is not a WavLM encoder that is read here."
        ) from error
    kernels = tuple(shape[-1] for shape in convolutions if shape)
    if kernels != BASE.conv_kernel:
        raise UserError(
            f"{where} has no configuration, and its convolutions have kernels {list(kernels)}, "
            "not the published ones, so their strides are unknown. Put its config.json beside it."
        )
    layer_normed = "feature_extractor.conv_layers.1.layer_norm.weight" in tensors
    published = LARGE if layer_normed else BASE
    layers = {name.split(".")[2] for name in tensors if name.startswith("encoder.layers.")}
    sizes = {
        "hidden_size": dim,
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "conv_dim": tuple(shape[0] for shape in convolutions),
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in tensors,
        "num_conv_pos_embeddings": positions,
        "num_conv_pos_embedding_groups": dim // max(1, group_width),
        "num_buckets": num_buckets,
    }
    return with_values(published, sizes)
