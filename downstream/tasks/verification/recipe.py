"""Settings of a verification recipe."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from downstream.recipes import Closed, Count, LearnedRecipe, Number, PositiveNumber, Seed, Width
from downstream.tasks.verification.metrics import METRICS


class VerifierSettings(Closed):
    """The head; defaults are SUPERB's."""

    projection: Width | None = Field(default=None, description="width of the first linear layer; null: 512")
    margin: Number = Field(default=0.4, ge=0.0, description="margin of the AM-softmax")
    scale: PositiveNumber = Field(default=30.0, description="scale of the AM-softmax")


class TrialsSettings(Closed):
    """Trials, the pairs of utterances that are compared, and normalisation of their scores."""

    list: str = Field(
        default="published",
        description="published: the corpus's list, else drawn; drawn: drawn trials; or a file, relative to the corpus",
    )
    most: Count = Field(default=40000, le=10**8, description="largest number of drawn trials, half of them targets")
    seed: Seed = Field(default=0, description="seed of drawn trials and of the cohort")
    normalisation: Literal["none", "s_norm", "as_norm"] = Field(
        default="none", description="score normalisation against a cohort of training utterances"
    )
    cohort: Count = Field(
        default=300, le=10**6, description="utterances of the cohort, from as many speakers as possible"
    )
    top: Count = Field(default=100, le=10**6, description="as_norm: number of the most similar cohort utterances used")


class VerificationRecipe(LearnedRecipe):
    """A recipe of a speaker verification task."""

    metric_names: ClassVar[tuple[str, ...]] = tuple(METRICS)
    split_rules: ClassVar[tuple[str, ...]] = ("speaker_folds", "published", "superb_asv")

    head: VerifierSettings = VerifierSettings()
    trials: TrialsSettings = TrialsSettings()
