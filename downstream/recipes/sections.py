"""The sections that recipes of every family share: each setting with its meaning, its values and its default.

The sections of one family are in the family's folder below `downstream/tasks/`.
"""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from upstream.text import composed


def no_boolean(value: object) -> object:
    """Refuse YAML's booleans where a number is meant; pydantic would take true for 1."""
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")
    return value


# Numbers and their bounds. What lies beyond is a slip of the finger, and would end in an overflow, in more memory than
# any machine has, or in centuries of learning.
Whole = Annotated[int, BeforeValidator(no_boolean)]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(no_boolean), Field(ge=-1e38, le=1e38)]  # float32
PositiveNumber = Annotated[Number, Field(gt=0)]
Seconds = Annotated[PositiveNumber, Field(ge=0.001, le=1e6)]  # of audio: a millisecond to eleven days
Count = Annotated[Whole, Field(gt=0, le=10**9)]
Width = Annotated[Whole, Field(gt=0, le=16_384)]  # of a layer: two of these are a gigabyte of weights
Depth = Annotated[Whole, Field(gt=0, le=64)]  # layers of a head
Seed = Annotated[Whole, Field(ge=0, lt=2**63)]  # range of every generator
Name = Annotated[str, AfterValidator(composed)]  # of a corpus's columns, labels and parts, which are read composed
MOST_SWEPT = 1000  # values in a list of a sweep; a head is learned for every combination

# In place of a layer: the single one whose head has the best development score; the weighted sum, or that single one
# where its development score is better by more than chance.
BEST, CHOSEN = "best", "chosen"

# SUPERB tunes the learning rate alone, on a log scale between these ends (s3prl, issue 498).
SUPERB_RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


class Closed(BaseModel):
    """Immutable settings that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def later(default: Any, description: str) -> Any:
    """Return a field that was added after runs had been recorded.

    At its default it is left out of the settings that identify a run (`Recipe.question`), so that adding a setting does
    not move the folders of runs that do not use it.
    """
    return Field(default=default, description=description, json_schema_extra={"later": True})


class EffectsSettings(Closed):
    """Effects on every waveform before it is encoded, in sox's terms and order."""

    gain: Number = Field(default=0.0, ge=-200, le=200, description="gain in dB")
    remove_silence: bool = Field(default=False, description="remove silence as SUPERB's speaker verification does")


class CorpusSettings(Closed):
    """The corpus, and effects on its audio."""

    name: str = Field(description="name of the corpus; -c replaces it")
    effects: EffectsSettings = EffectsSettings()


class SplitSettings(Closed):
    """Division of the utterances into training, development and test."""

    rule: Literal["speaker_folds", "clip_folds", "published", "superb_er", "superb_ks", "superb_asv"] = Field(
        description="speaker_folds: folds of disjoint speakers, the next fold for development (where speakers are not "
        "known, the corpus's own parts, or by clip); clip_folds: likewise by clip, whoever speaks; published: the "
        "corpus's own, drawn where it has none; superb_er: development drawn by utterance; superb_ks: by a hash of the "
        "speaker, development drawn with replacement, the separate test archive; superb_asv: no development, the test "
        "trials choose the step"
    )
    folds: Count = Field(
        default=5, le=100_000, description="number of folds; a corpus of sessions has one fold per session"
    )
    train: tuple[Name, ...] = Field(
        default=(), description="parts to train on, by the corpus's own names; empty: all of its training parts"
    )
    dev: tuple[Name, ...] = Field(default=(), description="development parts, likewise")
    test: tuple[Name, ...] = Field(
        default=(), description="test parts, likewise, each scored separately; the first one's score is primary"
    )
    shared_speakers: bool = Field(
        default=False, description="published: allow parts that share speakers, as those of some corpora do"
    )
    longer_than: Number = Field(
        default=0.0, ge=0.0, description="seconds; training utterances must be longer than this, after effects"
    )
    seed: Seed = later(0, "seed of folds over clips, and of the parts of a corpus that has none of its own")

    @property
    def test_parts(self) -> tuple[str, ...]:
        """The named test parts; none where folds are made across the corpus's parts."""
        return () if self.rule in ("speaker_folds", "clip_folds", "superb_er") else self.test


class OptimizerSettings(Closed):
    """Optimiser of the heads."""

    name: Literal["adam", "adamw"] = "adam"
    lr: PositiveNumber = Field(description="learning rate; its largest value where a schedule changes it")
    mix_lr: PositiveNumber | None = later(
        None, "learning rate of the weights of the layers, which a schedule changes likewise; null: that of the head"
    )
    weight_decay: Number = Field(default=0.0, ge=0.0)
    schedule: Literal["constant", "linear", "cosine"] = later(
        "constant", "course of the learning rate after the warm-up: linear and cosine fall towards zero"
    )
    warmup: Annotated[Whole, Field(ge=0, le=10**9)] = later(
        0, "updates over which the learning rate rises linearly to lr; 0: none"
    )


def layer_or_word(value: object) -> object:
    """Refuse what is neither a layer's number nor a word for layers."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10_000
    if not (is_number or value in ("mix", "all", BEST, CHOSEN)):
        raise ValueError(
            "a layer is a number, mix for the weighted sum, best for the layer that development chooses, or chosen for "
            "the sum unless a layer is clearly better there; all is mix and every layer"
        )
    return value


Layer = Annotated[int | str, BeforeValidator(layer_or_word)]


class StoreSettings(Closed):
    """Cache of the upstream's states."""

    mode: Literal["auto", "means", "frames", "off"] = Field(
        default="auto",
        description="means over time or all frames are stored; off: the upstream runs while heads are trained; "
        "auto: what the task needs (means, means and deviations, or frames), if it fits the disk limit, else off",
    )
    codec: Literal["float32", "float16", "bfloat16", "int8"] = Field(
        default="float16", description="number format of frames on disk; all else is float32"
    )

    @field_validator("mode", mode="before")
    @classmethod
    def off_is_no_boolean(cls, value: object) -> object:
        return "off" if value is False else value  # YAML reads a bare off as false


class SweepSettings(Closed):
    """Lists of values, all combinations of which are trained; an empty list means a single default.

    Learning rates compete: development chooses one for each fold, seed and layer. Seeds are repetitions, whose
    scores are averaged. Each layer has a separate score, and the first one's is the primary score.
    """

    lr: tuple[PositiveNumber, ...] = Field(
        default=(),
        max_length=MOST_SWEPT,
        description="learning rates, of the encoder where it is fine-tuned; superb: SUPERB's search, 1e-1 to 1e-7 by "
        "decades",
    )
    seed: tuple[Seed, ...] = Field(
        default=(), max_length=MOST_SWEPT, description="seeds of initial weights and dropout; else --seed"
    )
    layer: tuple[Layer, ...] = Field(
        default=(),
        max_length=MOST_SWEPT,
        description="single layers, mix for the weighted sum, best for the layer that development chooses, chosen for "
        "the sum unless such a layer is better by more than chance; all: the sum and every layer; else -l",
    )

    @field_validator("lr", "seed", "layer", mode="before")
    @classmethod
    def one_or_several(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else (value,)

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

    def layers(self, num_layers: int) -> tuple[int | str | None, ...]:
        """Return the entries of `layer` with `all` written out: numbers, None for the sum, "best", "chosen"."""
        words: dict[int | str, tuple[int | None, ...]] = {"mix": (None,), "all": (None, *range(num_layers))}
        return tuple(chain.from_iterable(words.get(layer, (layer,)) for layer in self.layer))


class CropSettings(Closed):
    """Window of long utterances that heads are trained on, drawn again each time."""

    seconds: Seconds = Field(ge=0.025)
    of: Literal["audio", "states"] = Field(
        description="audio: the upstream encodes the window alone, as in SUPERB, so that its states cannot be stored; "
        "states: it encodes the whole utterance, and its states are cut"
    )


class TrainingSettings(Closed):
    """Number of updates, how they are batched, and which step is kept."""

    steps: Count = Field(description="updates, per fold")
    batch: Annotated[Count, Field(le=10**6)] | None = Field(default=None, description="utterances in a micro-batch")
    batch_seconds: Seconds | None = Field(
        default=None, description="instead of batch: seconds of audio in a micro-batch, utterances of similar length"
    )
    sampling: Literal["shuffled", "balanced", "superb_balanced", "superb_buckets"] = Field(
        default="shuffled",
        description="shuffled: each utterance once an epoch; balanced: each class equally often, its utterances in "
        "turn; superb_balanced: each class equally likely, with replacement; superb_buckets: 16 of similar length",
    )
    crop: CropSettings | None = None
    accumulate: Count = Field(default=1, le=10_000, description="micro-batches in an update")
    clip: PositiveNumber = Field(default=1.0, description="largest norm of the gradient")
    evaluate_every: Count = Field(description="updates between two evaluations on the development set")
    order_seed: Seed = Field(default=0, description="seed of the order of utterances, shared by all configs")
    select: str | None = Field(
        default=None, description="metric of the development score that chooses; null: the primary one"
    )

    @model_validator(mode="after")
    def one_way_to_cut_batches(self) -> TrainingSettings:
        ways = [self.batch is not None, self.batch_seconds is not None, self.sampling == "superb_buckets"]
        if sum(ways) != 1:
            raise ValueError("give one of batch, batch_seconds and sampling: superb_buckets; set others to null")
        if self.batch_seconds is not None and self.sampling != "shuffled":
            raise ValueError(f"sampling {self.sampling} needs batch, not batch_seconds")
        return self
