"""Settings of a classification recipe."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from downstream.recipes import Closed, CorpusSettings, LearnedRecipe, Name, Seconds, Width, later
from downstream.tasks.classification.metrics import METRICS


class SilenceSettings(Closed):
    """A class of silence, cut from recordings of background noise."""

    label: Name = Field(description="label of the noise recordings")
    name: Name = Field(description="name of the class")
    seconds: Seconds = Field(default=1.0, ge=0.025, description="length of a window of noise")


class ClassCorpusSettings(CorpusSettings):
    """The corpus and its classes."""

    label: tuple[Name, ...] = Field(
        default=(), description="label column to learn: the first of these that the corpus has"
    )
    classes: tuple[Name, ...] | None = Field(
        default=None, description="the classes in order; other utterances are left out; null: all classes of the corpus"
    )
    others: Name | None = Field(
        default=None, description="name of one more class for all other utterances; null: they are left out"
    )
    silence: SilenceSettings | None = Field(default=None, description="null: background noise is left out")

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


class ClassifierSettings(Closed):
    """The head; defaults are SUPERB's."""

    projection: Width | None = Field(default=None, description="width of the first linear layer; null: 256")
    pooling: Literal["mean", "attention"] = later(
        "mean", "over the frames of an utterance; attention learns a weight per frame, and needs all frames"
    )
    standardised: bool = later(
        False,
        "each feature of each layer is brought to mean 0 and deviation 1 over the training utterances before layers "
        "are summed",
    )


class ClassificationRecipe(LearnedRecipe):
    """A recipe of a classification task."""

    metric_names: ClassVar[tuple[str, ...]] = tuple(METRICS)
    split_rules: ClassVar[tuple[str, ...]] = ("speaker_folds", "clip_folds", "published", "superb_er", "superb_ks")
    samplings: ClassVar[tuple[str, ...]] = ("shuffled", "balanced", "superb_balanced")

    corpus: ClassCorpusSettings
    head: ClassifierSettings = ClassifierSettings()

    @model_validator(mode="after")
    def settings_that_go_together(self) -> ClassificationRecipe:
        if not self.corpus.label:
            raise ValueError("corpus.label is missing: which column of labels is to be learned")
        crop = self.training.crop
        if crop is not None and crop.of == "states" and self.head.pooling == "mean":
            raise ValueError("training.crop.of is states, and a classifier reads means of whole utterances; use audio")
        if self.split.rule == "superb_ks" and self.corpus.silence is None:
            raise ValueError("split.rule superb_ks cuts silence from noise; corpus.silence says which label and name")
        if self.split.rule in ("speaker_folds", "clip_folds") and self.corpus.silence is not None:
            raise ValueError(
                "noise has no speakers to make folds of; choose split.rule published, or no corpus.silence"
            )
        return self
