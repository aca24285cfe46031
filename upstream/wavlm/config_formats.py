"""WavLM configurations as others write them: Hugging Face's config.json, Microsoft's `cfg`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pydantic import ValidationError

from upstream.base import SAMPLE_RATE
from upstream.errors import UserError
from upstream.wavlm.config import BASE, CORRECT, MOST_LABELS, TRANSFORMERS, WavLMConfig, numbered_labels

KNOWN_FIELDS = {field.name for field in fields(WavLMConfig)} - {"extra", "normalize_waveform", "normalize_epsilon"}
MAY_BE_NULL = {"pad_token_id", "bos_token_id", "eos_token_id"}  # a null elsewhere stands for the default


def from_hugging_face(content: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> WavLMConfig:
    """Return the configuration from the contents of config.json and preprocessor_config.json.

    Unknown fields are kept in `extra`: released files have fields of other model families.
    Without preprocessor_config.json the waveform is standardised if the front end is layer-normed, as the
    authors trained it (Base without, Large with; unilm issue 708).

    Raises UserError for another type of model, or values of a wrong type or size.
    """
    kind = content.get("model_type")
    if kind != "wavlm":
        raise UserError(
            f"config.json describes a model of type {kind!r}, not 'wavlm'. "
            "Load other encoders through transformers: -u hf:PATH_OR_ORG/NAME."
        )
    if content.get("quantization_config"):
        raise UserError(
            "config.json describes quantised weights (quantization_config), which are not read here. "
            "Save the model before it was quantised, or dequantised."
        )
    refuse_other_rate(content.get("sampling_rate") or SAMPLE_RATE)
    given = {name: value for name, value in content.items() if value is not None or name in MAY_BE_NULL}
    known = {name: as_tuple(value) for name, value in given.items() if name in KNOWN_FIELDS} | labels_of(given)
    extra = {name: value for name, value in content.items() if name not in KNOWN_FIELDS | {"num_labels"}}
    config = with_values(HUGGING_FACE_DEFAULTS, known | {"extra": tuple(sorted(extra.items()))})
    if preprocessor is None:
        return replace(config, normalize_waveform=config.feat_extract_norm == "layer")
    refuse_other_rate(preprocessor.get("sampling_rate", SAMPLE_RATE))
    standardisation = {
        "normalize_waveform": preprocessor.get("do_normalize", True),  # transformers' default is true
        "normalize_epsilon": preprocessor.get("normalize_epsilon", 1e-7),  # ours; else transformers' constant
    }
    return with_values(config, standardisation)


def labels_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields id2label and label2id, from those of a config.json or from the number of labels alone.

    Raises UserError for ids that are no numbers.
    """
    names, count = content.get("id2label"), content.get("num_labels")
    if names is None:
        return {"id2label": numbered_labels(count)} if isinstance(count, int) and 0 < count <= MOST_LABELS else {}
    try:
        # transformers takes numbers as names, too: those of digits, say
        labels = {int(index): str(label) if isinstance(label, int) else label for index, label in names.items()}
    except (AttributeError, ValueError) as error:
        raise UserError(
            f'config.json has id2label = {str(names)[:100]}; expected names by number, as {{"0": "happy"}}. {CORRECT}'
        ) from error
    given = content.get("label2id")
    return {"id2label": labels, "label2id": None if given == {name: i for i, name in labels.items()} else given}


def refuse_adapter_layers(config: WavLMConfig) -> None:
    """Raise UserError for a model with convolutions after the encoder, which are not computed here."""
    if config.add_adapter:
        raise UserError(f"The configuration has add_adapter, convolutions after the encoder. {TRANSFORMERS}")


def refuse_other_rate(rate: object) -> None:
    """Raise UserError for a model that was trained on audio of another sampling rate, in Hz."""
    if rate != SAMPLE_RATE:
        raise UserError(
            f"The checkpoint takes audio at {rate!r} Hz; encoders here get {SAMPLE_RATE} Hz. Choose another model."
        )


# transformers' class defaults, for fields that config.json omits; they differ from the released values.
HUGGING_FACE_DEFAULTS = WavLMConfig(activation_dropout=0.1, feat_proj_dropout=0.0, layerdrop=0.1, final_dropout=0.1)


# Field names of Microsoft's checkpoints and ours.
MICROSOFT_FIELDS = {
    "encoder_embed_dim": "hidden_size",
    "encoder_layers": "num_hidden_layers",
    "encoder_attention_heads": "num_attention_heads",
    "encoder_ffn_embed_dim": "intermediate_size",
    "activation_fn": "hidden_act",
    "conv_bias": "conv_bias",
    "layer_norm_first": "do_stable_layer_norm",
    "conv_pos": "num_conv_pos_embeddings",
    "conv_pos_groups": "num_conv_pos_embedding_groups",
    "num_buckets": "num_buckets",
    "max_distance": "max_bucket_distance",
    "dropout": "hidden_dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "dropout_input": "feat_proj_dropout",
    "encoder_layerdrop": "layerdrop",
    "mask_length": "mask_time_length",
    "mask_channel_prob": "mask_feature_prob",
    "mask_channel_length": "mask_feature_length",
    "normalize": "normalize_waveform",
}


def from_microsoft(cfg: Mapping[str, Any]) -> WavLMConfig:
    """Return the configuration from the `cfg` dictionary of a Microsoft checkpoint.

    `mask_prob` is dropped: it is the masking of pre-training, while transformers' `mask_time_prob` is the SpecAugment
    of fine-tuning.

    Raises UserError for a checkpoint that is not a WavLM, or values of a wrong type or size.
    """
    for switch in ("relative_position_embedding", "gru_rel_pos"):
        if not cfg.get(switch, False):
            raise UserError(
                f"The checkpoint's cfg has {switch} = {cfg.get(switch)!r}; every released WavLM has it on, "
                "and this implementation needs it. Check that the file is a WavLM checkpoint."
            )
    refuse_other_rate(cfg.get("sample_rate", SAMPLE_RATE))
    values = {ours: cfg[theirs] for theirs, ours in MICROSOFT_FIELDS.items() if theirs in cfg}
    if "extractor_mode" in cfg:
        values["feat_extract_norm"] = {"default": "group", "layer_norm": "layer"}.get(str(cfg["extractor_mode"]), "?")
    if "conv_feature_layers" in cfg:
        layers = conv_layers_from_text(str(cfg["conv_feature_layers"]))
        values["conv_dim"], values["conv_kernel"], values["conv_stride"] = (
            tuple(column) for column in zip(*layers, strict=True)
        )
    return with_values(BASE, values)


def with_values(
    config: WavLMConfig, values: Mapping[str, Any], whose: str = "The checkpoint's configuration"
) -> WavLMConfig:
    """Return `config` with other values; raises UserError with the field's name for a wrong type or size.

    whose: what has the values, the subject of that sentence.
    """
    try:
        return replace(config, **values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        found = repr(problem["input"])
        fix = TRANSFORMERS if name in ("hidden_act", "feat_extract_activation") else CORRECT
        raise UserError(
            f"{whose} has {name} = {found[:100]}{'…' * (len(found) > 100)}: {problem['msg'].lower()}. {fix}"
        ) from error


def conv_layers_from_text(text: str) -> list[tuple[int, int, int]]:
    """Parse "[(512,10,5)] + [(512,3,2)] * 4" into (width, kernel, stride) per layer, without evaluating code.

    Raises UserError for any other text.
    """
    try:
        layers = _layers_of(ast.parse(text.strip(), mode="eval").body)
        if not 0 < len(layers) <= 64:
            raise ValueError(f"{len(layers)} layers")
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise UserError(
            f"conv_feature_layers is {text[:100]!r}; expected lists of (width, kernel, stride) joined by + and *. "
            "The checkpoint is damaged or of another kind."
        ) from error
    return layers


def _layers_of(node: ast.expr) -> list[tuple[int, int, int]]:
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _layers_of(left) + _layers_of(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int(times))) if 0 < times <= 64:
            repeated = _layers_of(left)
            if len(repeated) * times > 64:  # checked before the list is built: factors can be chained
                raise ValueError("too many layers")
            return repeated * times
        case ast.List():
            layers = [tuple(ast.literal_eval(entry)) for entry in node.elts]
            if any(len(layer) != 3 or not all(isinstance(n, int) and n > 0 for n in layer) for layer in layers):
                raise ValueError("a layer is not three positive whole numbers")
            return layers
    raise ValueError(f"unexpected {type(node).__name__}")


def as_tuple(value: Any) -> Any:
    """Return a list as a tuple, anything else unchanged."""
    return tuple(value) if isinstance(value, list) else value
