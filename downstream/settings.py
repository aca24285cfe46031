"""The sections of a recipe: what each setting means, which values it takes, and what it is if nothing is said."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, field_validator, model_validator

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what every generator takes

MetricName = Literal["accuracy", "unweighted_accuracy", "macro_f1", "wer", "cer", "eer", "min_dcf_0.01", "min_dcf_0.05"]

# The families of tasks, and the metrics of each.
FAMILIES = {
    "classification": ("accuracy", "unweighted_accuracy", "macro_f1"),
    "recognition": ("wer", "cer"),
    "verification": ("eer", "min_dcf_0.01", "min_dcf_0.05"),
}

# SUPERB tunes the learning rate alone, on a log scale between these ends (s3prl, issue 498).
SUPERB_RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


class Closed(BaseModel):
    """Settings that refuse keys they do not know and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EffectsSettings(Closed):
    """What is done to every waveform before the upstream hears it, in sox's terms and order."""

    gain: float = Field(default=0.0, allow_inf_nan=False, description="dB")
    remove_silence: bool = Field(default=False, description="as SUPERB's speaker verification does it")


class SilenceSettings(Closed):
    """How a class of silence is cut from recordings of background noise."""

    label: str = Field(description="the label of such recordings")
    name: str = Field(description="of the class")
    seconds: PositiveNumber = Field(default=1.0, description="length of a window")


class CorpusSettings(Closed):
    """Which corpus, and what is learned of it."""

    name: str = Field(description="name of the corpus; -c replaces it")
    label: tuple[str, ...] = Field(
        default=(), description="classification: the label column that is learned, the first of these that there is"
    )
    classes: tuple[str, ...] | None = Field(
        default=None, description="the classes in order; utterances of others are left out; null: all there are"
    )
    others: str | None = Field(
        default=None, description="a class that all utterances of no other class belong to; null: they are left out"
    )
    silence: SilenceSettings | None = Field(default=None, description="null: background noise is left out")
    effects: EffectsSettings = EffectsSettings()

    @field_validator("label", mode="before")
    @classmethod
    def one_column_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("classes")
    @classmethod
    def each_class_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("a class is named twice")
        return value


class SplitSettings(Closed):
    """How the utterances are divided."""

    rule: Literal["speaker_folds", "published", "superb_er", "superb_ks", "superb_asv"] = Field(
        description="speaker_folds: folds of speakers, a fold of their own for development; published: the corpus's "
        "own; superb_er: development drawn by utterance; superb_ks: by a hash of the speaker, development drawn with "
        "replacement, the separate test archive; superb_asv: no development, the test trials choose the step"
    )
    folds: PositiveInt = Field(default=5, description="number of folds, where the corpus has no sessions of its own")
    train: tuple[str, ...] = Field(
        default=(), description="parts to train on, by the corpus's own names; empty: all of its training parts"
    )
    dev: tuple[str, ...] = Field(default=(), description="parts to develop on, likewise")
    test: tuple[str, ...] = Field(
        default=(), description="parts to test on, likewise; the first one's score is the primary one"
    )
    shared_speakers: bool = Field(
        default=False, description="published: whether its parts may share speakers, as those of some corpora do"
    )
    longer_than: float = Field(
        default=0.0, ge=0.0, description="seconds that an utterance must exceed to be trained on, effects applied"
    )


class SpecAugmentSettings(Closed):
    """Masks on the weighted sum while heads are learned (Park et al. 2019); the defaults are SUPERB's."""

    time_warp_window: int = Field(default=5, ge=0, description="frames by which time is warped at most; 0: not at all")
    frequency_masks: int = Field(default=4, ge=0)
    frequency_width: PositiveInt = Field(default=50, description="a mask is narrower than this")
    time_masks: int = Field(default=2, ge=0)
    time_width: PositiveInt = Field(default=40, description="frames; a mask is shorter than this")


class HeadSettings(Closed):
    """What is learned on the hidden states; each family reads its own fields, whose defaults are SUPERB's."""

    projection: PositiveInt | None = Field(
        default=None,
        description="width of the first linear layer; null: 256 of a classifier, 1024 of a recogniser, 512 of a "
        "verifier",
    )
    hidden: PositiveInt = Field(default=1024, description="recognition: width of an LSTM in each direction")
    depth: PositiveInt = Field(default=2, description="recognition: bidirectional LSTMs")
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0, description="recognition: after each LSTM")
    spec_augment: SpecAugmentSettings | None = Field(default=None, description="recognition; null: none")
    margin: float = Field(default=0.4, ge=0.0, description="verification: of the AM-softmax")
    scale: PositiveNumber = Field(default=30.0, description="verification: of the AM-softmax")


class TextSettings(Closed):
    """Recognition: what is written."""

    vocabulary: Literal["superb", "characters"] = Field(
        default="characters", description="superb: its 32 tokens; characters: those of the training transcripts"
    )


class DecodingSettings(Closed):
    """Recognition: how the test set is decoded; development is decoded greedily."""

    method: Literal["greedy", "beam"] = "greedy"
    beam: PositiveInt = Field(default=5, description="hypotheses kept")
    threshold: PositiveNumber = Field(default=25.0, description="how far behind the best a hypothesis may lie")
    language_model: str | None = Field(default=None, description="an n-gram file that KenLM reads (ARPA or binary)")
    lexicon: str | None = Field(
        default=None, description="words and their letters; null: the words of the training transcripts"
    )
    lm_weight: float = 2.0
    word_score: float = -1.0


class TrialsSettings(Closed):
    """Verification: which pairs of utterances are compared, and how."""

    list: str = Field(
        default="published",
        description="published: the list beside the corpus, else drawn; drawn; or a file, relative to the corpus",
    )
    most: PositiveInt = Field(default=40000, description="trials that are drawn at most, half of them of one speaker")
    seed: Seed = Field(default=0, description="of drawn trials")
    normalisation: Literal["none", "s_norm", "as_norm"] = Field(
        default="none", description="of scores, against a cohort of training utterances"
    )
    cohort: PositiveInt = Field(default=300, description="utterances of the cohort, as many speakers as possible")
    top: PositiveInt = Field(default=100, description="as_norm: of the cohort, the most similar")


class OptimizerSettings(Closed):
    """How it is learned."""

    name: Literal["adam", "adamw"] = "adam"
    lr: PositiveNumber = Field(description="learning rate, constant")
    weight_decay: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)


def layer_or_word(value: object) -> object:
    """Refuse what is neither a layer's number nor a word for layers."""
    if isinstance(value, bool) or not (isinstance(value, int) or value in ("mix", "all")):
        raise ValueError("a layer is a number, or mix for the weighted sum; all stands for mix and every layer")
    return value


Layer = Annotated[int | str, BeforeValidator(layer_or_word)]


class StoreSettings(Closed):
    """What is kept of the upstream's states."""

    mode: Literal["auto", "means", "frames", "off"] = Field(
        default="auto",
        description="means over time or all frames go through the store; off: the upstream runs while heads are "
        "learned; auto: what the task needs, if the disk allowance has room for it, else off",
    )
    codec: Literal["float32", "float16", "bfloat16", "int8"] = Field(
        default="float16", description="how frames lie on disk; means are always float32"
    )

    @field_validator("mode", mode="before")
    @classmethod
    def off_is_no_boolean(cls, value: object) -> object:
        return "off" if value is False else value  # YAML reads a bare off as false


class SweepSettings(Closed):
    """Values that are learned side by side, each with each; what is not listed has one value.

    Learning rates compete: development chooses one for each fold, seed and layer. Seeds are repetitions, whose
    scores are averaged. Layers are questions of their own; the first one's score is the primary one.
    """

    lr: tuple[PositiveNumber, ...] = Field(
        default=(), description="learning rates; superb: SUPERB's search, 1e-1 to 1e-7 by decades"
    )
    seed: tuple[Seed, ...] = Field(default=(), description="seeds of first weights and dropout; else --seed")
    layer: tuple[Layer, ...] = Field(
        default=(), description="single layers, and mix for the weighted sum; all: the sum and every layer; else -l"
    )

    @field_validator("lr", "seed", "layer", mode="before")
    @classmethod
    def one_or_several(cls, value: object) -> object:
        values = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, bool) for one in values):
            raise ValueError("true and false are no numbers")
        return values

    @field_validator("lr", mode="before")
    @classmethod
    def the_word_superb(cls, value: object) -> object:
        return SUPERB_RATES if value in ("superb", ("superb",), ["superb"]) else value

    @field_validator("lr", "seed", "layer")
    @classmethod
    def each_value_once(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a value is listed twice")
        return value

    def layers(self, num_layers: int) -> tuple[int | None, ...]:
        """The layers, None for the weighted sum; empty where none are listed."""
        words: dict[int | str, tuple[int | None, ...]] = {"mix": (None,), "all": (None, *range(num_layers))}
        return tuple(chain.from_iterable(words.get(layer, (layer,)) for layer in self.layer))  # type: ignore[arg-type]


class CropSettings(Closed):
    """What is heard of long utterances while heads are learned: a window, drawn anew each time."""

    seconds: PositiveNumber
    of: Literal["audio", "states"] = Field(
        description="audio: the upstream hears the window alone, as in SUPERB, and cannot have heard it before; "
        "states: it hears the whole utterance, and its states are cut"
    )


class TrainingSettings(Closed):
    """How long, in which portions, and which step is kept."""

    steps: PositiveInt = Field(description="updates, per fold")
    batch: PositiveInt | None = Field(default=None, description="utterances in a micro-batch")
    batch_seconds: PositiveNumber | None = Field(
        default=None, description="instead of batch: seconds of audio in a micro-batch, utterances of similar length"
    )
    sampling: Literal["shuffled", "balanced", "superb_balanced", "superb_buckets"] = Field(
        default="shuffled",
        description="shuffled: each utterance once an epoch; balanced: each class equally often, its utterances in "
        "turn; superb_balanced: each class equally likely, with replacement; superb_buckets: 16 of similar length",
    )
    crop: CropSettings | None = None
    accumulate: PositiveInt = Field(default=1, description="micro-batches in an update")
    clip: PositiveNumber = Field(default=1.0, description="largest norm of the gradient")
    evaluate_every: PositiveInt = Field(description="updates between two looks at the development set")
    order_seed: Seed = Field(default=0, description="seed of the order of utterances, shared by all that is learned")
    select: MetricName | None = Field(
        default=None, description="the development score that chooses the step; null: the primary one"
    )

    @model_validator(mode="after")
    def one_way_to_cut_batches(self) -> TrainingSettings:
        ways = [self.batch is not None, self.batch_seconds is not None, self.sampling == "superb_buckets"]
        if sum(ways) != 1:
            raise ValueError("give one of batch, batch_seconds and sampling: superb_buckets; set others to null")
        if self.batch_seconds is not None and self.sampling != "shuffled":
            raise ValueError(f"sampling {self.sampling} needs batch, not batch_seconds")
        return self
