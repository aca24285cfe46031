"""A recipe: one task as data, typed and closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, Field, model_validator

from downstream.recipes.finetuning import FINE_TUNED, FinetuneSettings, is_read_alone
from downstream.recipes.sections import (
    Closed,
    CorpusSettings,
    Count,
    OptimizerSettings,
    SplitSettings,
    StoreSettings,
    SweepSettings,
    TrainingSettings,
    later,
)

# Keys that identify a recipe: a YAML file sets them, an override may not.
IDENTITY = ("name", "version", "title", "task", "protocol", "deviations")


class Descent(Protocol):
    """Settings of the heads that are trained by gradient descent."""

    @property
    def optimizer(self) -> OptimizerSettings: ...
    @property
    def training(self) -> TrainingSettings: ...
    @property
    def select(self) -> str: ...


class Recipe(Closed):
    """A task: its data, head, training and score. Each family adds its own sections in a subclass.

    version is raised whenever a change can move a score.
    metric_names: the metrics of the family, which `primary` and `training.select` are taken from.
    split_rules: the rules of `split.rule` that make sense for the family.
    learning_instead: what to type instead of a recipe that learns nothing by gradient descent.
    """

    metric_names: ClassVar[tuple[str, ...]] = ()
    learning_instead: ClassVar[str] = "a recipe whose heads are trained"
    split_rules: ClassVar[tuple[str, ...]] = ("speaker_folds", "clip_folds", "published")

    name: str = Field(
        pattern=r"^\w[\w-]*(/\w[\w-]*)*$", max_length=100, description="also its folder below the results"
    )
    version: Count
    title: str
    task: str = Field(description="the family: a name of the registry, or path/to/module.py:Family")
    protocol: Literal["clean", "superb", "demo"]
    corpus: CorpusSettings
    split: SplitSettings
    sweep: SweepSettings = SweepSettings()
    store: StoreSettings = StoreSettings()
    primary: str = Field(description="the metric that the leaderboard shows")
    deviations: tuple[str, ...] = Field(default=(), description="where it departs from the protocol it follows")
    finetune: FinetuneSettings | None = later(None, "how the encoder learns beside the head; null: it is frozen")

    @model_validator(mode="after")
    def encoder_that_can_learn(self) -> Recipe:
        if self.finetune is None:
            return self
        if self.learned is None:
            raise ValueError(
                "finetune: an encoder learns by gradient descent with its head, and nothing here is learned so; take "
                f"{self.learning_instead}"
            )
        if not is_read_alone(self.sweep.layer):
            raise ValueError(
                "sweep.layer lists layers to score or to choose among, and a fine-tuned encoder learns for one reading "
                "of them; take -o sweep.layer=mix for the weighted sum, or one layer: -o sweep.layer=6"
            )
        return self

    @model_validator(mode="after")
    def parts_that_fit_the_task(self) -> Recipe:
        for key, metric in (("primary", self.primary), ("training.select", self.select)):
            if metric not in self.metric_names:
                raise ValueError(f"{key} is {metric[:60]}; a task of {self.task} has {', '.join(self.metric_names)}")
        if self.split.rule not in self.split_rules:
            raise ValueError(
                f"split.rule is {self.split.rule}; a task of {self.task} can be divided by "
                f"{', '.join(self.split_rules)}"
            )
        if self.learned is None and self.sweep.lr:
            raise ValueError("sweep.lr lists learning rates, and nothing is learned by gradient descent; leave it out")
        return self

    @property
    def select(self) -> str:
        """The metric whose development score chooses the step, the learning rate and, for `best`, the layer."""
        return self.primary

    @property
    def learned(self) -> Descent | None:
        """How heads are trained by gradient descent; None where they learn nothing, or in closed form."""
        return None

    @property
    def rate(self) -> float | None:
        """The learning rate of a config where `sweep.lr` lists none: of the encoder where that learns, else of heads.

        None where nothing is learned by gradient descent.
        """
        if self.finetune is not None:
            return self.finetune.lr
        return self.learned.optimizer.lr if self.learned else None

    @property
    def protocol_of_run(self) -> str:
        """The protocol that records name: the recipe's, or that of fine-tuned encoders."""
        return self.protocol if self.finetune is None else FINE_TUNED

    def question(self) -> dict[str, Any]:
        """Return the settings that identify a run, as JSON values; later settings only where they are used."""
        return without_unused(self, self.model_dump(mode="json"))


class LearnedRecipe(Recipe):
    """A recipe whose heads are trained by gradient descent.

    samplings: the values of `training.sampling` that make sense for the family.
    """

    samplings: ClassVar[tuple[str, ...]] = ("shuffled",)

    optimizer: OptimizerSettings
    training: TrainingSettings

    @model_validator(mode="after")
    def sampling_that_fits_the_task(self) -> LearnedRecipe:
        refuse_unfit_descent(self, self.task, self.samplings)
        return self

    @property
    def select(self) -> str:
        return self.training.select or self.primary

    @property
    def learned(self) -> LearnedRecipe:
        return self


@dataclass(frozen=True)
class SomeDescent:
    """The `Descent` of a recipe whose sections for it may be missing."""

    optimizer: OptimizerSettings
    training: TrainingSettings
    select: str


def refuse_unfit_descent(descent: Descent, task: str, samplings: Sequence[str]) -> None:
    """Raise ValueError for a sampling that makes no sense for a family, and for a warm-up longer than the training."""
    optimizer, training = descent.optimizer, descent.training
    if training.sampling not in samplings:
        raise ValueError(f"training.sampling is {training.sampling}; a task of {task} takes {' or '.join(samplings)}")
    if optimizer.warmup > training.steps:
        raise ValueError(f"optimizer.warmup is {optimizer.warmup} updates, and training.steps only {training.steps}")


def without_unused(model: BaseModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dumped values of a model without `later` fields at their defaults."""
    kept: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        own, extra = getattr(model, name), field.json_schema_extra
        if isinstance(extra, dict) and extra.get("later") and own == field.default:
            continue
        kept[name] = without_unused(own, values[name]) if isinstance(own, BaseModel) else values[name]
    return kept
