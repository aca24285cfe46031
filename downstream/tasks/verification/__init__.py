"""Verification: are two utterances of one speaker? Read `family.py` first."""

from downstream.tasks.verification.family import Verification, VerificationTask
from downstream.tasks.verification.recipe import VerificationRecipe

__all__ = ["Verification", "VerificationRecipe", "VerificationTask"]
