"""The configuration of a WavLM, and the published sizes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass

from upstream.base import receptive_field
from upstream.errors import UserError

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Layers = Annotated[int, Field(ge=1, le=1000)]  # so that a damaged or hostile file cannot request a million
Distance = Annotated[int, Field(ge=1, le=100_000)]  # frames; a table of twice this size is built
Positives = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=64)]


@dataclass(frozen=True, config=ConfigDict(strict=True))
class WavLMConfig:
    """The configuration of a WavLM, with the field names of Hugging Face's config.json.

    The defaults are WavLM Base. Fields of task heads (quantizer, x-vector, CTC) are kept in `extra`, so that a
    configuration is written back complete.

    normalize_waveform: True to standardise each utterance over its samples before the first layer.
    normalize_epsilon: added to the variance there; 1e-5 in Microsoft's and s3prl's code, 1e-7 in
        transformers' feature extractor.
    """

    hidden_size: PositiveInt = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: PositiveInt = 12
    intermediate_size: PositiveInt = 3072
    hidden_act: Literal["gelu"] = "gelu"  # the exact, erf form

    conv_dim: Positives = (512,) * 7
    conv_kernel: Positives = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: Positives = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: Literal["gelu"] = "gelu"

    do_stable_layer_norm: bool = False
    layer_norm_eps: PositiveFloat = 1e-5
    num_conv_pos_embeddings: PositiveInt = 128
    num_conv_pos_embedding_groups: PositiveInt = 16
    num_buckets: PositiveInt = 320
    max_bucket_distance: Distance = 800

    hidden_dropout: Probability = 0.1
    attention_dropout: Probability = 0.1
    activation_dropout: Probability = 0.0
    feat_proj_dropout: Probability = 0.1
    layerdrop: Probability = 0.05
    final_dropout: Probability = 0.0
    initializer_range: float = 0.02
    apply_spec_augment: bool = True
    mask_time_prob: Probability = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: Probability = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0

    normalize_waveform: bool = False
    normalize_epsilon: PositiveFloat = 1e-5

    extra: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError for a configuration that this implementation cannot compute."""
        refuse_unless(
            len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) > 0,
            "conv_dim",
            self,
            "as many entries as conv_kernel and conv_stride",
        )
        refuse_unless(
            self.hidden_size % self.num_attention_heads == 0, "hidden_size", self, "a multiple of num_attention_heads"
        )
        refuse_unless(
            self.hidden_size % self.num_conv_pos_embedding_groups == 0,
            "hidden_size",
            self,
            "a multiple of num_conv_pos_embedding_groups",
        )
        refuse_unless(self.num_buckets % 4 == 0, "num_buckets", self, "a multiple of four")
        refuse_unless(
            self.max_bucket_distance > self.num_buckets // 4,
            "max_bucket_distance",
            self,
            "more than a quarter of num_buckets",
        )
        refuse_unless(not dict(self.extra).get("add_adapter", False), "extra", self, "add_adapter false")

    @property
    def stride(self) -> int:
        """Samples between two frames: 320 at the published strides."""
        product = 1
        for stride in self.conv_stride:
            product *= stride
        return product

    @property
    def receptive_field(self) -> int:
        """Receptive field of a frame in samples, and the shortest utterance: 400 at the published sizes."""
        return receptive_field(self.conv_kernel, self.conv_stride)

    def frames(self, samples: int) -> int:
        """Return the frames of an utterance with this many samples: (samples - 80) // 320 at the published sizes."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def fingerprint_settings(self) -> dict[str, Any]:
        """Return the settings that the hidden states depend on besides the tensors; part of the fingerprint."""
        names = (
            "num_attention_heads",
            "num_conv_pos_embedding_groups",
            "conv_stride",
            "feat_extract_norm",
            "do_stable_layer_norm",
            "layer_norm_eps",
            "num_buckets",
            "max_bucket_distance",
        )
        epsilon = self.normalize_epsilon if self.normalize_waveform else None
        return {name: getattr(self, name) for name in names} | {"waveform_standardised_with": epsilon}

    def to_hugging_face(self) -> dict[str, Any]:
        """Return the content of config.json."""
        content = asdict(self)
        extra = dict(content.pop("extra"))
        del content["normalize_waveform"], content["normalize_epsilon"]  # these belong to preprocessor_config.json
        return extra | content | {"model_type": "wavlm", "num_feat_extract_layers": len(self.conv_dim)}


def refuse_unless(condition: bool, name: str, config: WavLMConfig, wanted: str) -> None:
    """Raise UserError for the field `name` unless `condition` holds; wanted: what it should be, in words."""
    if not condition:
        found = getattr(config, name)
        raise UserError(
            f"This WavLM configuration has {name} = {found!r}, but this implementation needs {wanted}. "
            "If the checkpoint is intact, load it through transformers with hf:PATH_OR_ORG/NAME."
        )


BASE = WavLMConfig()
BASE_PLUS = BASE  # the same network, trained on 94,000 hours instead of 960
LARGE = WavLMConfig(
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
    normalize_waveform=True,
)
# A small network for tests and for trying things out; there are no published weights.
TINY = WavLMConfig(
    hidden_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=128,
    conv_dim=(32,) * 7,
    num_conv_pos_embeddings=32,
    num_conv_pos_embedding_groups=4,
)

KNOWN_FIELDS = {field.name for field in fields(WavLMConfig)} - {"extra", "normalize_waveform", "normalize_epsilon"}


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
    known = {name: as_tuple(value) for name, value in content.items() if name in KNOWN_FIELDS and value is not None}
    extra = {name: value for name, value in content.items() if name not in KNOWN_FIELDS}
    config = with_values(HUGGING_FACE_DEFAULTS, known | {"extra": tuple(sorted(extra.items()))})
    if preprocessor is None:
        return replace(config, normalize_waveform=config.feat_extract_norm == "layer")
    standardisation = {
        "normalize_waveform": preprocessor.get("do_normalize", True),  # transformers' default is true
        "normalize_epsilon": preprocessor.get("normalize_epsilon", 1e-7),  # ours; else transformers' constant
    }
    return with_values(config, standardisation)


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
    values = {ours: cfg[theirs] for theirs, ours in MICROSOFT_FIELDS.items() if theirs in cfg}
    if "extractor_mode" in cfg:
        values["feat_extract_norm"] = {"default": "group", "layer_norm": "layer"}.get(cfg["extractor_mode"], "?")
    if "conv_feature_layers" in cfg:
        layers = conv_layers_from_text(str(cfg["conv_feature_layers"]))
        values["conv_dim"], values["conv_kernel"], values["conv_stride"] = (
            tuple(column) for column in zip(*layers, strict=True)
        )
    return with_values(BASE, values)


def with_values(config: WavLMConfig, values: Mapping[str, Any]) -> WavLMConfig:
    """Return `config` with other values; raises UserError with the field's name for a wrong type or size."""
    try:
        return replace(config, **values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise UserError(
            f"The checkpoint's configuration has {name} = {problem['input']!r}: {problem['msg'].lower()}. "
            "If the checkpoint is intact, load it through transformers with hf:PATH_OR_ORG/NAME."
        ) from error


def conv_layers_from_text(text: str) -> list[tuple[int, int, int]]:
    """Parse "[(512,10,5)] + [(512,3,2)] * 4" into (width, kernel, stride) per layer, without evaluating code."""
    try:
        layers = _layers_of(ast.parse(text.strip(), mode="eval").body)
        if not 0 < len(layers) <= 64:
            raise ValueError(f"{len(layers)} layers")
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise UserError(
            f"conv_feature_layers is {text!r}; expected lists of (width, kernel, stride) joined by + and *. "
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
