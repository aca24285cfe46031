"""The names of WavLM's tensors: Hugging Face's, Microsoft's, torchaudio's and ours.

Every reader translates into Hugging Face's names, and the writer writes them. `to_native` converts them to the
parameters of `upstream.wavlm.model`, which are fewer: the three projections of attention are one matrix, and the
weight norm of the positional convolution is folded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.wavlm.config import WavLMConfig

Tensors = dict[str, Tensor]

POSITIONAL = "encoder.pos_conv_embed.conv"
MAGNITUDE = f"{POSITIONAL}.parametrizations.weight.original0"  # g of the weight norm, (1, 1, kernel)
DIRECTION = f"{POSITIONAL}.parametrizations.weight.original1"  # v, (D, D / groups, kernel)
MASK = "masked_spec_embed"

# Pairs of pattern and replacement; the first pattern that matches the start of a name is used.
MICROSOFT_NAMES = [
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(1\.)?", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"layer_norm\.", "feature_projection.layer_norm."),
    (r"post_extract_proj\.", "feature_projection.projection."),
    (r"mask_emb$", MASK),
    (r"encoder\.pos_conv\.0\.weight_g$", MAGNITUDE),
    (r"encoder\.pos_conv\.0\.weight_v$", DIRECTION),
    (r"encoder\.pos_conv\.0\.bias$", f"{POSITIONAL}.bias"),
    (r"encoder\.layer_norm\.", "encoder.layer_norm."),
    (r"encoder\.layers\.(\d+)\.self_attn\.grep_linear\.", r"encoder.layers.\1.attention.gru_rel_pos_linear."),
    (r"encoder\.layers\.(\d+)\.self_attn\.grep_a$", r"encoder.layers.\1.attention.gru_rel_pos_const"),
    (r"encoder\.layers\.0\.self_attn\.relative_attention_bias\.", "encoder.layers.0.attention.rel_attn_embed."),
    (r"encoder\.layers\.(\d+)\.self_attn\.(q|k|v|out)_proj\.", r"encoder.layers.\1.attention.\2_proj."),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"encoder.layers.\1.layer_norm."),
    (r"encoder\.layers\.(\d+)\.fc1\.", r"encoder.layers.\1.feed_forward.intermediate_dense."),
    (r"encoder\.layers\.(\d+)\.fc2\.", r"encoder.layers.\1.feed_forward.output_dense."),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.", r"encoder.layers.\1.final_layer_norm."),
]
TORCHAUDIO_NAMES = [
    (r"feature_extractor\.", "feature_extractor."),
    (r"encoder\.feature_projection\.", "feature_projection."),
    (r"encoder\.transformer\.layers\.(\d+)\.attention\.attention\.", r"encoder.layers.\1.attention."),
    (r"encoder\.transformer\.", "encoder."),
]
OLDER_WEIGHT_NORM = {f"{POSITIONAL}.weight_g": MAGNITUDE, f"{POSITIONAL}.weight_v": DIRECTION}


def from_microsoft(tensors: Mapping[str, Tensor]) -> Tensors:
    """Translate the names of Microsoft's original model; other names are kept."""
    return {_translated(name, MICROSOFT_NAMES): tensor for name, tensor in tensors.items()}


def from_torchaudio(tensors: Mapping[str, Tensor]) -> Tensors:
    """Translate torchaudio's names and split its fused attention projection into three."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        new = _translated(name, TORCHAUDIO_NAMES)
        stem, fused, kind = new.partition(".in_proj_")
        if fused:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{stem}.{letter}_proj.{kind}"] = part
        else:
            renamed[new] = tensor
    return with_newer_weight_norm(renamed)


def with_newer_weight_norm(tensors: Mapping[str, Tensor]) -> Tensors:
    """Rename weight_g and weight_v of the positional convolution, the names of its weight norm in older files."""
    return {OLDER_WEIGHT_NORM.get(name, name): tensor for name, tensor in tensors.items()}


def _translated(name: str, pairs: list[tuple[str, str]]) -> str:
    for pattern, replacement in pairs:
        translated, matches = re.subn(f"^{pattern}", replacement, name)
        if matches:
            return translated
    return name


def expected_shapes(config: WavLMConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a checkpoint with this configuration: 248 for Base, 488 for Large."""
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
    shapes[f"{POSITIONAL}.bias"] = (dim,)
    shapes[MAGNITUDE] = (1, 1, config.num_conv_pos_embeddings)
    shapes[DIRECTION] = (dim, dim // config.num_conv_pos_embedding_groups, config.num_conv_pos_embeddings)
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


def _affine(stem: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{stem}.weight": shape, f"{stem}.bias": shape[:1]}


def check(tensors: Mapping[str, Tensor], config: WavLMConfig, where: str) -> None:
    """Raise UserError for tensors that are missing, unexpected, not finite or of a wrong shape.

    tensors: under Hugging Face's names. where: the checkpoint's name in the message.
    The mask vector may be missing: it is used in training only, and torchaudio's files do not have it.
    """
    shapes = expected_shapes(config)
    missing = [name for name in shapes if name not in tensors and name != MASK]
    unexpected = [name for name in tensors if name not in shapes]
    misshapen = [
        f"{name} is {tuple(tensors[name].shape)}, not {shape}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    broken = [name for name in shapes if name in tensors and not bool(torch.isfinite(tensors[name]).all())]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:4])}{' …' if len(names) > 4 else ''}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of the wrong shape", misshapen),
            ("with NaN or infinite numbers", broken),
        )
        if names
    ]
    if problems:
        raise UserError(
            f"{where} does not have the weights that its configuration describes. Tensors {'; '.join(problems)}. "
            "Download the checkpoint again, or convert the original again."
        )


# Our names to Hugging Face's, inside a block.
BLOCK_NAMES = {
    "attention.out": "attention.out_proj",
    "attention.gate": "attention.gru_rel_pos_linear",
    "attention_norm": "layer_norm",
    "feed_forward_in": "feed_forward.intermediate_dense",
    "feed_forward_out": "feed_forward.output_dense",
    "feed_forward_norm": "final_layer_norm",
}
# Our names to Hugging Face's, outside the blocks.
OUTER_NAMES = {
    "feature_norm": "feature_projection.layer_norm",
    "projection": "feature_projection.projection",
    "norm": "encoder.layer_norm",
}


def to_native(tensors: Mapping[str, Tensor], config: WavLMConfig) -> Tensors:
    """Return the state dict of `upstream.wavlm.model.WavLM`, float32, from tensors that passed `check`."""
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    native: Tensors = {
        "mask_embedding": tensors.get(MASK, torch.zeros(config.hidden_size)),
        "relative_positions.weight": tensors["encoder.layers.0.attention.rel_attn_embed.weight"],
        "positional_conv.bias": tensors[f"{POSITIONAL}.bias"],
        "positional_conv.weight": fold_weight_norm(tensors[MAGNITUDE], tensors[DIRECTION]),
    }
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"feature_extractor\.conv_layers\.(\d+)\.(conv|layer_norm)\.(weight|bias)", name):
            index, kind, which = match.groups()
            native[f"front_end.layers.{index}.{'norm_' if kind == 'layer_norm' else ''}{which}"] = tensor
    for kind in ("weight", "bias"):
        for ours, theirs in OUTER_NAMES.items():
            native[f"{ours}.{kind}"] = tensors[f"{theirs}.{kind}"]
        for i in range(config.num_hidden_layers):
            stem = f"encoder.layers.{i}"
            native[f"blocks.{i}.attention.qkv.{kind}"] = torch.cat(
                [tensors[f"{stem}.attention.{letter}_proj.{kind}"] for letter in "qkv"]
            )
            for ours, theirs in BLOCK_NAMES.items():
                native[f"blocks.{i}.{ours}.{kind}"] = tensors[f"{stem}.{theirs}.{kind}"]
    for i in range(config.num_hidden_layers):
        constant = tensors[f"encoder.layers.{i}.attention.gru_rel_pos_const"]
        native[f"blocks.{i}.attention.gate_constant"] = constant.flatten()
    return native


def from_native(native: Mapping[str, Tensor], config: WavLMConfig) -> Tensors:
    """Return Hugging Face's tensors from our state dict; the inverse of `to_native`.

    A weight w is the weight norm with direction w and magnitude ‖w‖, up to rounding.
    """
    weight = native["positional_conv.weight"]
    tensors: Tensors = {
        MASK: native["mask_embedding"],
        "encoder.layers.0.attention.rel_attn_embed.weight": native["relative_positions.weight"],
        f"{POSITIONAL}.bias": native["positional_conv.bias"],
        MAGNITUDE: weight.norm(dim=(0, 1), keepdim=True),
        DIRECTION: weight,
    }
    for name, tensor in native.items():
        if match := re.fullmatch(r"front_end\.layers\.(\d+)\.(norm_)?(weight|bias)", name):
            index, norm, which = match.groups()
            tensors[f"feature_extractor.conv_layers.{index}.{'layer_norm' if norm else 'conv'}.{which}"] = tensor
    for kind in ("weight", "bias"):
        for ours, theirs in OUTER_NAMES.items():
            tensors[f"{theirs}.{kind}"] = native[f"{ours}.{kind}"]
        for i in range(config.num_hidden_layers):
            for letter, part in zip("qkv", native[f"blocks.{i}.attention.qkv.{kind}"].chunk(3), strict=True):
                tensors[f"encoder.layers.{i}.attention.{letter}_proj.{kind}"] = part
            for ours, theirs in BLOCK_NAMES.items():
                tensors[f"encoder.layers.{i}.{theirs}.{kind}"] = native[f"blocks.{i}.{ours}.{kind}"]
    for i in range(config.num_hidden_layers):
        constant = native[f"blocks.{i}.attention.gate_constant"]
        tensors[f"encoder.layers.{i}.attention.gru_rel_pos_const"] = constant.view(1, -1, 1, 1)
    return tensors


def fold_weight_norm(magnitude: Tensor, direction: Tensor) -> Tensor:
    """Return w = g · v / ‖v‖, with the norm over output and input channels of each tap (weight_norm with dim 2)."""
    return torch._weight_norm(direction, magnitude, 2)
