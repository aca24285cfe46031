"""Classification: one class per utterance. Read `family.py` first."""

from downstream.tasks.classification.family import Classification, ClassificationTask
from downstream.tasks.classification.recipe import ClassificationRecipe

__all__ = ["Classification", "ClassificationRecipe", "ClassificationTask"]
