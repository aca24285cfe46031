"""What a WavLM is made of: the fields of its configuration, and the three published sizes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass

from upstream.base import receptive_field
from upstream.errors import MendableError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Layers = Annotated[int, Field(ge=1, le=1000)]  # a damaged or hostile file must not make us build a million
Distance = Annotated[int, Field(ge=1, le=100_000)]  # frames; a table of twice as many is made
Positives = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=64)]


@dataclass(frozen=True, config=ConfigDict(strict=True))
class WavLMConfig:
    """The configuration of a WavLM, in the field names of Hugging Face's config.json.

    The defaults are WavLM Base. Fields of the task heads (quantizer, x-vector, CTC) belong to those heads and
    are carried along in `extra`, so that a configuration that was read is written back whole.

    normalize_waveform: whether each utterance is standardised over its own samples before the first layer.
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

    hidden_dropout: Share = 0.1
    attention_dropout: Share = 0.1
    activation_dropout: Share = 0.0
    feat_proj_dropout: Share = 0.1
    layerdrop: Share = 0.05
    final_dropout: Share = 0.0
    initializer_range: float = 0.02
    apply_spec_augment: bool = True
    mask_time_prob: Share = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: Share = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0

    normalize_waveform: bool = False
    normalize_epsilon: PositiveFloat = 1e-5

    extra: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what this implementation cannot compute, in a sentence."""
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
        """Samples that one frame sees, and the shortest utterance that has a frame: 400 at the published sizes."""
        return receptive_field(self.conv_kernel, self.conv_stride)

    def frames(self, samples: int) -> int:
        """Frames of an utterance of so many samples: (samples - 80) // 320 at the published sizes."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def states_depend_on(self) -> dict[str, Any]:
        """What the hidden states depend on beyond the tensors themselves; part of the fingerprint."""
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
        """The content of config.json."""
        own = asdict(self)
        extra = dict(own.pop("extra"))
        del own["normalize_waveform"], own["normalize_epsilon"]  # these belong to preprocessor_config.json
        return extra | own | {"model_type": "wavlm", "num_feat_extract_layers": len(self.conv_dim)}


def refuse_unless(condition: bool, name: str, config: WavLMConfig, wanted: str) -> None:
    if not condition:
        found = getattr(config, name)
        raise MendableError(
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
# A network small enough for tests and for trying things out; nobody has published weights of it.
TINY = WavLMConfig(
    hidden_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=128,
    conv_dim=(32,) * 7,
    num_conv_pos_embeddings=32,
    num_conv_pos_embedding_groups=4,
)

OWN_FIELDS = {field.name for field in fields(WavLMConfig)} - {"extra", "normalize_waveform", "normalize_epsilon"}


def from_hugging_face(content: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> WavLMConfig:
    """Configuration from the contents of config.json and preprocessor_config.json.

    Fields that are not known are kept in `extra`: released files carry fields of other families.
    Without preprocessor_config.json the waveform is standardised where the front end is layer-normed, as the
    authors trained it (Base without, Large with; unilm issue 708).
    """
    kind = content.get("model_type")
    if kind != "wavlm":
        raise MendableError(
            f"config.json describes a model of type {kind!r}, not 'wavlm'. "
            "Load other encoders through transformers: -u hf:PATH_OR_ORG/NAME."
        )
    own = {name: as_tuple(value) for name, value in content.items() if name in OWN_FIELDS and value is not None}
    extra = {name: value for name, value in content.items() if name not in OWN_FIELDS}
    config = changed(HUGGING_FACE_DEFAULTS, own | {"extra": tuple(sorted(extra.items()))})
    if preprocessor is None:
        return replace(config, normalize_waveform=config.feat_extract_norm == "layer")
    standardisation = {
        "normalize_waveform": preprocessor.get("do_normalize", True),  # transformers' default is true
        "normalize_epsilon": preprocessor.get("normalize_epsilon", 1e-7),  # ours; else transformers' constant
    }
    return changed(config, standardisation)


# Where a config.json leaves a field out, transformers' class default holds; these differ from the released values.
HUGGING_FACE_DEFAULTS = WavLMConfig(activation_dropout=0.1, feat_proj_dropout=0.0, layerdrop=0.1, final_dropout=0.1)


# Microsoft's name of each field that has one of its own, and ours.
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
    """Configuration from the `cfg` dictionary of one of Microsoft's checkpoints.

    `mask_prob` is left behind: it is the masking of pre-training, which transformers' field of the same use
    (`mask_time_prob`, SpecAugment of fine-tuning) does not mean.
    """
    for switch in ("relative_position_embedding", "gru_rel_pos"):
        if not cfg.get(switch, False):
            raise MendableError(
                f"The checkpoint's cfg has {switch} = {cfg.get(switch)!r}; every released WavLM has it on, "
                "and this implementation needs it. Check that the file is a WavLM checkpoint."
            )
    own = {ours: cfg[theirs] for theirs, ours in MICROSOFT_FIELDS.items() if theirs in cfg}
    if "extractor_mode" in cfg:
        own["feat_extract_norm"] = {"default": "group", "layer_norm": "layer"}.get(cfg["extractor_mode"], "?")
    if "conv_feature_layers" in cfg:
        layers = conv_layers_from_text(str(cfg["conv_feature_layers"]))
        own["conv_dim"], own["conv_kernel"], own["conv_stride"] = (
            tuple(column) for column in zip(*layers, strict=True)
        )
    return changed(BASE, own)


def changed(config: WavLMConfig, values: Mapping[str, Any]) -> WavLMConfig:
    """`config` with other values; raises MendableError for values of a wrong type or size, by name."""
    try:
        return replace(config, **values)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"])
        raise MendableError(
            f"The checkpoint's configuration has {name} = {fault['input']!r}: {fault['msg'].lower()}. "
            "If the checkpoint is intact, load it through transformers with hf:PATH_OR_ORG/NAME."
        ) from error


def conv_layers_from_text(text: str) -> list[tuple[int, int, int]]:
    """Read "[(512,10,5)] + [(512,3,2)] * 4" as (width, kernel, stride) a layer, without evaluating code."""
    try:
        layers = _layers_of(ast.parse(text.strip(), mode="eval").body)
        if not 0 < len(layers) <= 64:
            raise ValueError(f"{len(layers)} layers")
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise MendableError(
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
            if len(repeated) * times > 64:  # before it is built: factors can be chained
                raise ValueError("too many layers")
            return repeated * times
        case ast.List():
            layers = [tuple(ast.literal_eval(entry)) for entry in node.elts]
            if any(len(layer) != 3 or not all(isinstance(n, int) and n > 0 for n in layer) for layer in layers):
                raise ValueError("a layer is not three positive whole numbers")
            return layers
    raise ValueError(f"unexpected {type(node).__name__}")


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
