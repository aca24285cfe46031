"""Kinds of tasks. `base.py` is the contract that a family keeps, `registry.py` lists families; a folder holds each.

A family from outside imports what it needs from here.
"""

from downstream.data import Choice, Corpus, Dataset, Part, Targets, left_out
from downstream.recipes import Closed, LearnedRecipe, Recipe, later
from downstream.statistics import CountedItems, Interval, Items, cluster_of
from downstream.tasks.base import (
    AffineTargets,
    Family,
    MarginTargets,
    Needs,
    Task,
)
from downstream.tasks.evaluation import CountedEvaluation, Evaluation, IntArray, Metric
from downstream.tasks.head import Head, Predictions, as_rows, initialised
from downstream.tasks.head_on_part import HeadOnPart
from downstream.tasks.other_programs import HeadHere, HeadOfS3prl, TaskModelHead
from downstream.tasks.predictor import HeadContext, Predictor
from downstream.tasks.registry import (
    differences,
    errors_named,
    family_of,
    family_of_record,
    family_of_s3prl,
    find_family,
    is_external,
    load_overridden,
    load_recipe,
    source_digest,
    trust,
    trusted,
    unnamed_differences,
)
from downstream.tasks.weighted_sum import WeightedSum, layer_index
from upstream.base import States

__all__ = [
    "AffineTargets",
    "Choice",
    "Closed",
    "Corpus",
    "CountedEvaluation",
    "CountedItems",
    "Dataset",
    "Evaluation",
    "Family",
    "Head",
    "HeadContext",
    "HeadHere",
    "HeadOfS3prl",
    "HeadOnPart",
    "IntArray",
    "Interval",
    "Items",
    "LearnedRecipe",
    "MarginTargets",
    "Metric",
    "Needs",
    "Part",
    "Predictions",
    "Predictor",
    "Recipe",
    "States",
    "Targets",
    "TaskModelHead",
    "Task",
    "WeightedSum",
    "as_rows",
    "cluster_of",
    "differences",
    "load_overridden",
    "errors_named",
    "family_of",
    "family_of_record",
    "family_of_s3prl",
    "find_family",
    "initialised",
    "is_external",
    "later",
    "layer_index",
    "left_out",
    "load_recipe",
    "source_digest",
    "unnamed_differences",
    "trust",
    "trusted",
]
