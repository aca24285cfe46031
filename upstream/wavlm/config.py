"""The configuration of a WavLM, and the published sizes."""

from __future__ import annotations

from dataclasses import asdict, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from upstream.base import SAMPLE_RATE, receptive_field
from upstream.errors import UserError

# Upper bounds far beyond every model, so that a damaged or hostile file cannot ask for all memory.
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Spread = Annotated[float, Field(ge=0.0, le=1000.0)]
Epsilon = Annotated[float, Field(gt=0.0, le=1.0)]
Size = Annotated[int, Field(ge=1, le=65_536)]
Layers = Annotated[int, Field(ge=1, le=1000)]
Distance = Annotated[int, Field(ge=1, le=100_000)]  # frames; a table of twice this size is built
Sizes = Annotated[tuple[Size, ...], Field(min_length=1, max_length=64)]
MOST_LABELS = 1_000_000  # of a head, or tokens of a vocabulary
Vocabulary = Annotated[int, Field(ge=1, le=MOST_LABELS)]
Labels = Annotated[dict[int, str], Field(min_length=1, max_length=MOST_LABELS)]
Index = Annotated[int, Field(ge=0)]
LONGEST_FRAME = 10 * SAMPLE_RATE  # samples; shorter utterances are padded to one frame

CORRECT = "Put the configuration that belongs to the weights in its place."
TRANSFORMERS = "If the checkpoint is intact, transformers may compute it: -u hf:DIRECTORY_OR_ORG/NAME."


def numbered_labels(count: int) -> dict[int, str]:
    """Return the names that transformers gives to outputs without names: LABEL_0, LABEL_1 …"""
    return {index: f"LABEL_{index}" for index in range(count)}


@dataclass(frozen=True, config=ConfigDict(strict=True))
class WavLMConfig:
    """The configuration of a WavLM, with the field names of Hugging Face's config.json.

    The defaults are WavLM Base. Fields that no WavLM has are kept in `extra`, so that a configuration is written back
    complete.

    id2label: names of the outputs of a head that classifies. label2id: None where it is the inverse.
    output_hidden_size: of an adapter; None for hidden_size.
    tie_last_hidden_states: of pre-norm models with use_weighted_layer_sum: True if the last layer of the sum is the
        encoder's output, as in s3prl and transformers 4; otherwise it is the last block's before the final norm, as in
        transformers 5. Post-norm models (Base) have no such difference.
    normalize_waveform: True to standardise each utterance over its samples before the first layer.
    normalize_epsilon: added to the variance there; 1e-5 in Microsoft's and s3prl's code, 1e-7 in
        transformers' feature extractor.
    """

    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: Literal["gelu"] = "gelu"  # the exact, erf form

    conv_dim: Sizes = (512,) * 7
    conv_kernel: Sizes = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: Sizes = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: Literal["gelu"] = "gelu"

    do_stable_layer_norm: bool = False
    layer_norm_eps: Epsilon = 1e-5
    num_conv_pos_embeddings: Size = 128
    num_conv_pos_embedding_groups: Size = 16
    num_buckets: Size = 320
    max_bucket_distance: Distance = 800

    hidden_dropout: Probability = 0.1
    attention_dropout: Probability = 0.1
    activation_dropout: Probability = 0.0
    feat_proj_dropout: Probability = 0.1
    layerdrop: Probability = 0.05
    final_dropout: Probability = 0.0
    initializer_range: Spread = 0.02
    apply_spec_augment: bool = True
    mask_time_prob: Probability = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: Probability = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0

    # The heads of task models.
    use_weighted_layer_sum: bool = False
    tie_last_hidden_states: bool | None = None
    id2label: Labels = field(default_factory=lambda: numbered_labels(2))
    label2id: dict[str, int | str] | None = None
    classifier_proj_size: Size = 256
    tdnn_dim: Sizes = (512, 512, 512, 512, 1500)
    tdnn_kernel: Sizes = (5, 3, 3, 1, 1)
    tdnn_dilation: Sizes = (1, 2, 3, 1, 1)
    xvector_output_dim: Size = 512
    vocab_size: Vocabulary = 32
    pad_token_id: Index | None = 0  # the blank of CTC
    bos_token_id: Index | None = 1
    eos_token_id: Index | tuple[Index, ...] | None = 2
    ctc_loss_reduction: Literal["mean", "sum", "none"] = "mean"
    ctc_zero_infinity: bool = False
    num_ctc_classes: Size = 80  # read by no WavLM

    # Convolutions after the encoder, which no published model has.
    add_adapter: bool = False
    adapter_kernel_size: Size = 3
    adapter_stride: Size = 2
    num_adapter_layers: Layers = 3
    output_hidden_size: Size | None = None

    # Contrastive pre-training.
    num_codevectors_per_group: Size = 320
    num_codevector_groups: Size = 2
    codevector_dim: Size = 256
    proj_codevector_dim: Size = 256
    contrastive_logits_temperature: float = 0.1
    num_negatives: Size = 100
    diversity_loss_weight: float = 0.1

    normalize_waveform: bool = False
    normalize_epsilon: Epsilon = 1e-5

    extra: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError for a configuration of no model, or of one that this implementation cannot compute."""
        heads, groups, buckets = self.num_attention_heads, self.num_conv_pos_embedding_groups, self.num_buckets
        layers = len(self.conv_dim)
        same_depths = len(self.tdnn_dim) == len(self.tdnn_kernel) == len(self.tdnn_dilation)
        same_lengths = layers == len(self.conv_kernel) == len(self.conv_stride)
        for name, is_right, wanted in (
            ("conv_dim", same_lengths, "as many entries as in conv_kernel and conv_stride"),
            ("hidden_size", self.hidden_size % heads == 0, f"a multiple of num_attention_heads, {heads}"),
            ("hidden_size", self.hidden_size % groups == 0, f"a multiple of num_conv_pos_embedding_groups, {groups}"),
            ("tdnn_dim", same_depths, "as many entries as in tdnn_kernel and tdnn_dilation"),
        ):
            if not is_right:
                raise UserError(
                    f"This configuration has {name} = {getattr(self, name)!r}; expected {wanted}. {CORRECT}"
                )
        if self.receptive_field > LONGEST_FRAME or self.stride > LONGEST_FRAME:
            raise UserError(
                f"This configuration's conv_kernel and conv_stride make frames of {self.receptive_field:,} samples, "
                f"{self.stride:,} apart; at most {LONGEST_FRAME:,} are computed. {CORRECT}"
            )
        for name, is_right, wanted in (
            ("num_buckets", buckets % 4 == 0, "a multiple of four"),
            ("max_bucket_distance", self.max_bucket_distance > buckets // 4, "more than a quarter of num_buckets"),
        ):
            if not is_right:
                raise UserError(
                    f"This configuration has {name} = {getattr(self, name)!r}; expected {wanted} here. {TRANSFORMERS}"
                )

    @property
    def num_labels(self) -> int:
        """Outputs of a head that classifies."""
        return len(self.id2label)

    def label(self, index: int) -> str:
        """Return the name of an output."""
        return self.id2label.get(index, f"LABEL_{index}")

    @property
    def problem_type(self) -> str | None:
        """What a head that classifies learned, "multi_label_classification" or other words of transformers."""
        kind = dict(self.extra).get("problem_type")
        return None if kind is None else str(kind)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The classes that the checkpoint says it is of, ("WavLMForCTC",)."""
        return tuple(map(str, dict(self.extra).get("architectures") or ()))

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

    def drawing_settings(self) -> dict[str, Any]:
        """Return the settings that the states of untrained weights depend on besides the seed."""
        names = (
            "hidden_size",
            "num_hidden_layers",
            "intermediate_size",
            "conv_dim",
            "conv_kernel",
            "conv_bias",
            "num_conv_pos_embeddings",
            "initializer_range",
        )
        return self.fingerprint_settings() | {name: getattr(self, name) for name in names}

    def to_hugging_face(self) -> dict[str, Any]:
        """Return the content of config.json."""
        content = asdict(self)
        extra = dict(content.pop("extra"))
        del content["normalize_waveform"], content["normalize_epsilon"]  # these belong to preprocessor_config.json
        if self.tie_last_hidden_states is None:
            del content["tie_last_hidden_states"]
        derived = {
            "model_type": "wavlm",
            "num_feat_extract_layers": len(self.conv_dim),
            "output_hidden_size": self.output_hidden_size or self.hidden_size,
            "id2label": {str(index): label for index, label in self.id2label.items()},
            "label2id": self.label2id or {label: index for index, label in self.id2label.items()},
        }
        return extra | content | derived


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
# A very small network for tests; there are no weights of it.
NANO = WavLMConfig(
    hidden_size=64,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=128,
    conv_dim=(32,) * 7,
    num_conv_pos_embeddings=32,
    num_conv_pos_embedding_groups=4,
)
