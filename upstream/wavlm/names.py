"""The names of WavLM's tensors: Hugging Face's, Microsoft's, torchaudio's and those of the model here.

Every reader translates into the project's names, which are Hugging Face's, and the writer writes them. `to_native`
converts them to the parameters of `upstream.wavlm.model`, which are fewer: the three projections of attention are one
matrix, and the weight norm of the positional convolution is folded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.named_tensors import Tensors, add
from upstream.wavlm.config import WavLMConfig

POSITIONAL = "encoder.pos_conv_embed.conv"
MAGNITUDE = f"{POSITIONAL}.parametrizations.weight.original0"  # g of the weight norm, (1, 1, kernel)
DIRECTION = f"{POSITIONAL}.parametrizations.weight.original1"  # v, (D, D / groups, kernel)
FOLDED = f"{POSITIONAL}.weight"  # in place of both where the weight norm was removed
MASK = "masked_spec_embed"

# Pairs of pattern and replacement; the first pattern that matches the start of a name is used.
MICROSOFT_NAMES = [
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(1\.)?", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"layer_norm\.", "feature_projection.layer_norm."),
    (r"post_extract_proj\.", "feature_projection.projection."),
    (r"mask_emb$", MASK),
    (r"encoder\.pos_conv\.0\.", f"{POSITIONAL}."),
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
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        add(renamed, _translated(name, MICROSOFT_NAMES), tensor)
    return with_newer_weight_norm(renamed)


def from_torchaudio(tensors: Mapping[str, Tensor]) -> Tensors:
    """Translate torchaudio's names and split its fused attention projection into three."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        new = _translated(name, TORCHAUDIO_NAMES)
        stem, fused, kind = new.partition(".in_proj_")
        if fused and tensor.ndim and tensor.shape[0] % 3 == 0:
            for letter, part in zip("qkv", tensor.tensor_split(3), strict=True):
                add(renamed, f"{stem}.{letter}_proj.{kind}", part)
        else:
            add(renamed, new, tensor)
    return with_newer_weight_norm(renamed)


def with_newer_weight_norm(tensors: Mapping[str, Tensor]) -> Tensors:
    """Rename weight_g and weight_v of the positional convolution, the names of its weight norm in older files."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        add(renamed, OLDER_WEIGHT_NORM.get(name, name), tensor)
    return renamed


def _translated(name: str, pairs: list[tuple[str, str]]) -> str:
    for pattern, replacement in pairs:
        translated, matches = re.subn(f"^{pattern}", replacement, name)
        if matches:
            return translated
    return name


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
# The weight norm of a model in training, under the names of `torch.nn.utils.parametrizations`.
NATIVE_WEIGHT_NORM = {
    "positional_conv.parametrizations.weight.original0": MAGNITUDE,
    "positional_conv.parametrizations.weight.original1": DIRECTION,
}


def to_native(tensors: Mapping[str, Tensor], config: WavLMConfig) -> Tensors:
    """Return the state dict of `upstream.wavlm.model.WavLM`, float32, from tensors that passed `shapes.check`.

    Raises UserError for a weight norm that has no direction.
    """
    stored, tensors = tensors, {name: tensor.float() for name, tensor in tensors.items()}
    native: Tensors = {
        "mask_embedding": tensors.get(MASK, torch.zeros(config.hidden_size)),
        "relative_positions.weight": tensors["encoder.layers.0.attention.rel_attn_embed.weight"],
        "positional_conv.bias": tensors[f"{POSITIONAL}.bias"],
        "positional_conv.weight": positional_weight(stored),
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

    A weight w is the weight norm with direction w and magnitude ‖w‖, up to rounding; a model in training has both, and
    `with_weight_norm_as_read` gives those of a checkpoint back.
    """
    learned = {theirs: native[ours] for ours, theirs in NATIVE_WEIGHT_NORM.items() if ours in native}
    tensors: Tensors = {
        MASK: native["mask_embedding"],
        "encoder.layers.0.attention.rel_attn_embed.weight": native["relative_positions.weight"],
        f"{POSITIONAL}.bias": native["positional_conv.bias"],
        **(learned or {FOLDED: native["positional_conv.weight"]}),
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
    return with_weight_norm(tensors)


def with_weight_norm(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return the tensors with the two of a weight norm in place of a folded weight, as transformers wants them."""
    if FOLDED not in tensors:
        return dict(tensors)
    weight = tensors[FOLDED]
    rest = {name: tensor for name, tensor in tensors.items() if name != FOLDED}
    return rest | {MAGNITUDE: tap_norms(weight).to(weight.dtype), DIRECTION: weight}


def weight_norm_of(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return the two tensors of the weight norm as they are stored; none where it was folded."""
    return {name: tensors[name] for name in (MAGNITUDE, DIRECTION) if name in tensors}


def with_weight_norm_as_read(tensors: Mapping[str, Tensor], read: Mapping[str, Tensor]) -> Tensors:
    """Return what `from_native` returned with the weight norm that was read, where that is still the model's weight.

    So an encoder that did not learn keeps its bits, and its fingerprint, when it is written again.
    """
    if not read or not torch.equal(positional_weight(read), tensors[DIRECTION].cpu()):
        return dict(tensors)
    return dict(tensors) | {name: tensor.float() for name, tensor in read.items()}


def positional_weight(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the weight of the positional convolution, (D, D / groups, kernel) float32, from tensors as stored.

    Raises UserError for a weight norm without a direction.
    """
    if FOLDED in tensors:
        return tensors[FOLDED].float()
    weight = fold_weight_norm(tensors[MAGNITUDE], tensors[DIRECTION])
    if not bool(torch.isfinite(weight).all()):
        raise UserError(
            f"The weight norm of {POSITIONAL} has taps without a direction, or overflows: its weights would be NaN or "
            "infinite. Get an intact checkpoint."
        )
    return weight


def fold_weight_norm(magnitude: Tensor, direction: Tensor) -> Tensor:
    """Return w = g · v / ‖v‖ in float32, with the norm over output and input channels of each tap, (1, 1, kernel).

    This is PyTorch's weight_norm with dim 2, computed in float64 by operations on single numbers in a fixed order, so
    that every machine gets the same bits.
    """
    return (direction.double() * (magnitude.double() / tap_norms(direction))).float()


def tap_norms(weight: Tensor) -> Tensor:
    """Return the norm of every tap of (D, D / groups, kernel), (1, 1, kernel) float64, the same on every machine."""
    rows = weight.double().square().flatten(0, 1)
    while len(rows) > 1:  # `sum` would add in an order that depends on threads and instructions
        half = len(rows) // 2
        rows = torch.cat([rows[:half] + rows[half : 2 * half], rows[2 * half :]])
    return rows.sqrt()[None]
