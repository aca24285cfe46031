"""Recognition: a transcript per utterance. Read `family.py` first."""

from downstream.tasks.recognition.family import Recognition, RecognitionTask
from downstream.tasks.recognition.recipe import RecognitionRecipe

__all__ = ["Recognition", "RecognitionRecipe", "RecognitionTask"]
