"""The contract of a family of tasks: everything that the rest of the harness knows about one.

A family is a class with the settings, metrics and data of one kind of task (`Family`); bound to a dataset and an
upstream it makes a `Task`, which builds heads, computes their losses and predictions, and evaluates these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor

from downstream.data import Choice, Corpus, Dataset, Fold, Part
from downstream.pictures import Picture
from downstream.recipes import Recipe
from downstream.statistics import Items
from downstream.tasks.evaluation import Evaluation, Metric
from downstream.tasks.head import Head, Predictions
from downstream.tasks.head_on_part import HeadOnPart
from downstream.tasks.other_programs import HeadHere, HeadOfS3prl, TaskModelHead
from downstream.tasks.predictor import HeadContext, Predictor
from upstream.base import States, Upstream
from upstream.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Needs = Literal["means", "statistics", "frames"]


@dataclass(frozen=True)
class AffineTargets:
    """Targets of heads that are affine in per-layer means and trained with cross entropy.

    Many such heads can be trained as one batched program (`training.stacked`). Their submodules are weighted_sum,
    projection and output, and the logits are output(projection(weighted_sum(means))).

    targets: (U,) int64, the class of every utterance. Predictions are the softmax of the logits.
    """

    targets: Tensor
    num_classes: int


@dataclass(frozen=True)
class MarginTargets:
    """Targets of heads that embed pooled states linearly and are trained with the AM-softmax.

    Many such heads can be trained as one batched program (`training.stacked_embeddings`). Their submodules are
    weighted_sum, projection and objective, whose weight is (C, P); their buffers centre and scale, (L, D) each, are
    fitted. The embedding is projection(weighted_sum((states - centre) / scale)), which is what they predict; of wider
    states they read the first D.

    targets: (U,) int64, the class of every utterance. scale, margin: the logit of a class is scale times the cosine of
    its weight and the embedding, and scale times margin less for the right one.
    """

    targets: Tensor
    scale: float
    margin: float


class Task(ABC):
    """A family on one dataset and one upstream: heads, losses, predictions, evaluations.

    Utterances are indices into the dataset everywhere.
    metrics: the family's.
    """

    metrics: Mapping[str, Metric]
    affine: AffineTargets | None = None
    with_margin: MarginTargets | None = None

    @abstractmethod
    def build(self, seed: int, layer: int | None) -> Head:
        """Return a head with initial weights drawn from `seed`, on one layer or on the weighted sum of all (None)."""

    def fit(self, heads: Sequence[Head], training: Iterable[tuple[Tensor, States]]) -> None:
        """Set what heads compute in closed form from the training utterances; by default nothing, and none is read.

        Called once, before anything is trained by gradient descent. heads: of one fold, as built; what is set must be
        buffers, so that it is kept with the weights. training: utterances (B,) with their states, each one once.
        """
        return None

    @abstractmethod
    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        """Return the loss of each utterance of a batch, (B,); utterances: (B,) indices.

        Never called where nothing is trained by gradient descent.
        """

    @abstractmethod
    def predict(self, head: Head, states: States) -> Predictions:
        """Return a prediction for each utterance of a batch."""

    @abstractmethod
    def evaluate(self, predictions: Predictions, part: Part) -> Evaluation:
        """Return the evaluation of predictions for `predicted(part)`, on development sets and test parts alike."""

    @abstractmethod
    def chance(self, part: Part) -> Mapping[str, float]:
        """Return the chance level of the metrics, or of some; the primary metric must be among them."""

    def caveats(self) -> Sequence[str]:
        """Return what a reader of the score should know of the task on this dataset, a sentence each.

        Raises UserError where nothing can be learned; it is called before anything is encoded.
        """
        return ()

    def of_fold(self, train: Sequence[int]) -> Task:
        """Return the task of a fold with these training utterances; differs where a head's outputs depend on them."""
        return self

    def predicted(self, part: Part) -> Sequence[int]:
        """Return the utterances whose predictions `evaluate` needs: those of the part, then any others.

        Those behind the part must be among `Targets.further_test_utterances`, so that their states are kept.
        """
        return part.utterances

    def outputs(self, fold: Fold) -> Sequence[str]:
        """Return the names of a head's outputs: classes, characters, speakers; empty where it has none."""
        return ()

    def facts(self, fold: Fold) -> Mapping[str, Any]:
        """Return what else a `Predictor` needs to know of a fold's heads, as JSON values; it is kept with them."""
        return {}


class Family(ABC):
    """One kind of task, for one recipe.

    recipe_type: its recipes' type, with the family's own sections and checks.
    metrics: by name, the first one most usual.
    chance_means: what the chance level is the score of, in words.
    within_protocol: beginnings of overrides that keep a recipe within its protocol, beside those of every family.
    hub_task: what Hugging Face's model cards call such a task.
    was_in_schema_3: True for the families that records of schema 3 knew, whose runs keep their folders.
    """

    recipe_type: ClassVar[type[Recipe]]
    metrics: ClassVar[Mapping[str, Metric]]
    chance_means: ClassVar[str]
    within_protocol: ClassVar[Sequence[str]] = ()
    hub_task: ClassVar[str] = "other"
    was_in_schema_3: ClassVar[bool] = False

    def __init__(self, recipe: Any) -> None:
        """recipe: of `recipe_type`."""
        self.recipe = recipe

    @abstractmethod
    def choose(self, corpus: Corpus) -> Choice:
        """Return the utterances that the task can be learned from.

        Raises UserError where there are none; the message lists what the corpus has.
        """

    @abstractmethod
    def task(self, dataset: Dataset, upstream: Upstream) -> Task:
        """Return the task on a dataset and an upstream (only its shape is used; nothing is encoded)."""

    def finish(self, dataset: Dataset) -> Dataset:
        """Return the dataset with its targets; a family may also narrow the split."""
        return dataset

    def predictor(self, context: HeadContext) -> Predictor:
        """Return what applies heads to new recordings; a family without it can be scored, and predicts nothing.

        Raises UserError where the context is none of this family's.
        """
        raise UserError(
            f"{type(self).__name__} cannot be applied to new recordings: the family does not define predictor; see "
            "docs/adding_a_family.md."
        )

    def needs(self) -> Needs:
        """Return what the recipe's heads need at least: means over time, means and deviations, or all frames.

        A head that needs less than frames has to take frames as well: `store.mode` of a recipe may ask for them.
        """
        return "frames"

    def test_settings(self) -> Sequence[str]:
        """Return the keys of settings that affect the test of heads and not their training."""
        return ()

    def test_files(self) -> Sequence[Path]:
        """Return the files beside the corpus that the test depends on, such as a language model."""
        return ()

    def details(self, dataset: Dataset) -> Mapping[str, Any]:
        """Return the family's fields of a record, as JSON values; those of a head are in its evaluation."""
        return {}

    def known_outputs(self) -> Sequence[str]:
        """Return the names of a head's outputs as far as the recipe alone tells them; empty where it takes data."""
        return ()

    @classmethod
    def naming(cls, outputs: Sequence[str]) -> Sequence[str]:
        """Return the overrides of a recipe whose heads have outputs of these names; none where data name them."""
        return ()

    @classmethod
    def of_s3prl(cls, theirs: HeadOfS3prl) -> HeadHere | None:
        """Return a head that s3prl learned as one of this family; None where it has the structure of none."""
        return None

    @classmethod
    def task_model(cls, head: Head) -> TaskModelHead:
        """Return a head as a task model of transformers has it; raise UserError, with the reason, where none has."""
        raise UserError(
            f"transformers has no task model with a head like this ({type(head).__name__}), so it cannot be written as "
            "one; wavprobe export writes it as a file that wavprobe predict applies."
        )

    @classmethod
    def items(cls, details: Mapping[str, Any], head: HeadOnPart, rows: Sequence[Mapping[str, Any]]) -> Items:
        """Return what was tested of a head on a test part, read back from the files of a run.

        It is what `Evaluation.items` was, so that scores can be recomputed, and runs compared item by item.
        details: of the record as a whole. rows: those of `Evaluation.rows`.
        Raises UserError where the files of an earlier version lack something.
        """
        raise UserError(
            f"{cls.__name__} keeps no tested items: the family does not define items; see docs/adding_a_family.md."
        )

    @classmethod
    def published_as(cls, metric: str, settings: Mapping[str, Any]) -> str:
        """Return the name of a metric in tables of published scores, under the settings of a recipe as recorded."""
        return metric

    @classmethod
    def contradictions(cls, head: HeadOnPart, items: Items, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Return what the family's own fields of a record, or of its rows, say otherwise than the tested items.

        Each one is a clause ("the confusion matrix is not that of the predictions"); records of others are refused
        for it. Metrics are compared without this. items: of `items`, from the same head and rows.
        """
        return ()

    @classmethod
    def tables(cls, details: Mapping[str, Any], heads: Sequence[Mapping[str, Any]]) -> Sequence[Table | Text]:
        """Return tables, or lines, for the terminal beside the scores.

        details: of the record as a whole. heads: the fold ("fold") of every chosen head, and the details of its
        evaluation on the first test part.
        """
        return ()

    @classmethod
    def pictures(cls, details: Mapping[str, Any], heads: Sequence[HeadOnPart]) -> Sequence[Picture]:
        """Return pictures beside those of every family (learning curves, layers), made of a record and its files.

        details: of the record as a whole. heads: the chosen heads of the first layer setting, on each test part.
        """
        return ()
