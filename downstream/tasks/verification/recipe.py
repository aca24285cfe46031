"""Settings of a verification recipe."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from downstream.recipes import (
    Closed,
    Count,
    Descent,
    Number,
    OptimizerSettings,
    PositiveNumber,
    Recipe,
    Seed,
    SomeDescent,
    TrainingSettings,
    Width,
    later,
    refuse_unfit_descent,
)
from downstream.tasks.verification.metrics import METRICS

TRAINED = ("xvector", "linear")  # kinds of heads that gradient descent trains
CLOSED_FORM = ("cosine", "lda", "plda")
WHITENED = ("whitened", "wccn")  # transforms that divide by a covariance


class VerifierSettings(Closed):
    """The head; defaults are SUPERB's."""

    projection: Width | None = Field(
        default=None,
        description="width of the first linear layer, null: 512; of the embedding for linear, null: 128; directions "
        "that are kept for lda and plda, null: one less than there are training speakers",
    )
    margin: Number = Field(default=0.4, ge=0.0, description="margin of the AM-softmax")
    scale: PositiveNumber = Field(default=30.0, description="scale of the AM-softmax")
    kind: Literal["xvector", "cosine", "lda", "plda", "linear"] = later(
        "xvector",
        "xvector: SUPERB's, on frames; the others read what is pooled over time: cosine compares it as it is, lda and "
        "plda are fitted to the training speakers in closed form, linear learns an embedding with the AM-softmax",
    )
    pooling: Literal["mean", "statistics"] = later(
        "statistics", "over the frames of an utterance: the mean, or the mean and the standard deviation"
    )
    transform: Literal["none", "centred", "whitened", "wccn"] = later(
        "none",
        "of cosine, by the training utterances: centred subtracts their mean; whitened divides by their covariance as "
        "well, wccn by the covariance within speakers, with which lda and plda begin anyway",
    )
    shrinkage: Literal["auto"] | Annotated[Number, Field(ge=0.0, le=1.0)] = later(
        "auto",
        "of that covariance, and of those of lda and plda, towards a multiple of the identity, from 0 to 1; auto: "
        "Ledoit and Wolf's",
    )

    @model_validator(mode="after")
    def settings_that_go_together(self) -> VerifierSettings:
        fitting = {"cosine": self.transform, "lda": "wccn", "plda": "wccn"}.get(self.kind)
        if self.transform not in ("none", fitting):
            raise ValueError(
                f"head.transform {self.transform} is of the kind cosine, and head.kind is {self.kind}; set it to none"
            )
        if self.shrinkage != "auto" and not (self.transform in WHITENED or self.kind in ("lda", "plda")):
            raise ValueError(
                "head.shrinkage is of a covariance, and this head has none: it belongs to lda, plda, and cosine with "
                f"the transforms {' and '.join(WHITENED)}"
            )
        if self.projection is not None and self.kind == "cosine":
            raise ValueError("head.projection is the width of a linear layer, and head.kind cosine has none")
        if self.pooling != "statistics" and self.kind == "xvector":
            raise ValueError("head.kind xvector pools mean and standard deviation; head.pooling is of the other kinds")
        return self


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


class VerificationRecipe(Recipe):
    """A recipe of a speaker verification task."""

    metric_names: ClassVar[tuple[str, ...]] = tuple(METRICS)
    split_rules: ClassVar[tuple[str, ...]] = ("speaker_folds", "published", "superb_asv")
    samplings: ClassVar[tuple[str, ...]] = ("shuffled",)
    learning_instead: ClassVar[str] = "-d sv_xvector or -d sv_linear, whose heads are trained"

    optimizer: OptimizerSettings | None = Field(default=None, description="null where nothing is trained by descent")
    training: TrainingSettings | None = Field(default=None, description="likewise")
    head: VerifierSettings = VerifierSettings()
    trials: TrialsSettings = TrialsSettings()

    @property
    def select(self) -> str:
        return (self.training.select if self.training else None) or self.primary

    @property
    def learned(self) -> Descent | None:
        if self.optimizer is None or self.training is None:
            return None
        return SomeDescent(self.optimizer, self.training, self.select)

    @model_validator(mode="before")
    @classmethod
    def descent_where_something_is_trained_and_nowhere_else(cls, content: Any) -> Any:
        """Refuse a kind of head of another recipe, before what else it would have to change is listed."""
        if not isinstance(content, dict):
            return content
        head = content.get("head", {})
        kind = head.get("kind", TRAINED[0]) if isinstance(head, dict) else getattr(head, "kind", None)
        missing = [name for name in ("optimizer", "training") if content.get(name) is None]
        if kind in CLOSED_FORM and len(missing) < 2:
            raise ValueError(
                f"head.kind {kind} is not trained by gradient descent, and takes no optimizer and training; leave them "
                "out (null), or choose -d sv_linear or -d sv_xvector, whose heads are trained"
            )
        if kind in TRAINED and missing:
            raise ValueError(
                f"head.kind {kind} is trained by gradient descent, and {' and '.join(missing)} is missing; take "
                f"-d sv_{kind}, which has it"
            )
        return content

    @model_validator(mode="after")
    def settings_of_the_kind_of_head(self) -> VerificationRecipe:
        kind, descent = self.head.kind, self.learned
        if kind in CLOSED_FORM and len(self.sweep.seed) > 1:
            raise ValueError(
                f"sweep.seed lists seeds, and head.kind {kind} draws nothing: each gives the same score; leave it out"
            )
        if descent is not None:
            refuse_unfit_descent(descent, self.task, self.samplings)
        if kind == "linear" and self.training is not None and self.training.crop is not None:
            raise ValueError("head.kind linear reads what is pooled over whole utterances; set training.crop to null")
        return self
