"""Settings of a recognition recipe."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from downstream.recipes import Closed, Count, Depth, LearnedRecipe, Number, PositiveNumber, Whole, Width
from downstream.tasks.recognition.metrics import METRICS


class SpecAugmentSettings(Closed):
    """SpecAugment of the weighted sum in training (Park et al. 2019); the defaults are SUPERB's."""

    time_warp_window: Whole = Field(
        default=5, ge=0, le=10**6, description="frames by which time is warped at most; 0: not at all"
    )
    frequency_masks: Whole = Field(default=4, ge=0, le=1000)
    frequency_width: Count = Field(default=50, le=10**6, description="feature dimensions; a mask is narrower than this")
    time_masks: Whole = Field(default=2, ge=0, le=1000)
    time_width: Count = Field(default=40, le=10**6, description="frames; a mask is shorter than this")


class RecogniserSettings(Closed):
    """The head; defaults are SUPERB's."""

    projection: Width | None = Field(default=None, description="width of the first linear layer; null: 1024")
    hidden: Width = Field(default=1024, description="width of an LSTM in each direction")
    depth: Depth = Field(default=2, description="bidirectional LSTMs")
    dropout: Number = Field(default=0.2, ge=0.0, lt=1.0, description="after each LSTM")
    spec_augment: SpecAugmentSettings | None = Field(default=None, description="null: none")


class TextSettings(Closed):
    """Tokens of the head's outputs."""

    vocabulary: Literal["superb", "characters"] = Field(
        default="characters", description="superb: its 32 tokens; characters: those of the training transcripts"
    )


class DecodingSettings(Closed):
    """Decoding of the test set; development is decoded greedily."""

    method: Literal["greedy", "beam"] = "greedy"
    beam: Count = Field(default=5, le=100_000, description="hypotheses kept")
    threshold: PositiveNumber = Field(default=25.0, description="how far behind the best a hypothesis may lie")
    language_model: str | None = Field(default=None, description="an n-gram file that KenLM reads (ARPA or binary)")
    lexicon: str | None = Field(
        default=None, description="file of words and spellings; null: the words of the training transcripts"
    )
    lm_weight: Number = Field(default=2.0, description="factor of the language model's score")
    word_score: Number = Field(default=-1.0, description="added to a hypothesis per word")


class RecognitionRecipe(LearnedRecipe):
    """A recipe of a speech recognition task."""

    metric_names: ClassVar[tuple[str, ...]] = tuple(METRICS)
    samplings: ClassVar[tuple[str, ...]] = ("shuffled", "superb_buckets")

    head: RecogniserSettings = RecogniserSettings()
    text: TextSettings = TextSettings()
    decoding: DecodingSettings = DecodingSettings()

    @model_validator(mode="after")
    def words_need_a_beam(self) -> RecognitionRecipe:
        for name in ("language_model", "lexicon"):
            if self.decoding.method == "greedy" and getattr(self.decoding, name) is not None:
                raise ValueError(f"greedy decoding takes no {name.replace('_', ' ')}; choose decoding.method=beam")
        return self

    @model_validator(mode="after")
    def whole_utterances(self) -> RecognitionRecipe:
        if self.training.crop is not None:
            raise ValueError("training.crop cuts audio and not its transcript; leave it out")
        return self
