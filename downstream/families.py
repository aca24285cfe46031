"""The three families of tasks: what is learned, how it is scored, and the least of the states that it needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from downstream.material import Material
from downstream.recipe import Recipe
from downstream.scoring.base import Scorer
from downstream.scoring.classification import ClassificationScorer
from downstream.scoring.recognition import RecognitionScorer
from downstream.scoring.verification import VerificationScorer
from downstream.tasks.base import Task
from downstream.tasks.classification import Classification
from downstream.tasks.recognition import Recognition
from downstream.tasks.verification import Verification
from downstream.transcripts.text import Vocabulary, characters_of, superb_vocabulary
from upstream.base import Upstream
from upstream.errors import MendableError

# A classifier is affine up to its mean over frames, so means over time are enough for it; LSTMs and x-vectors are not.
UNKNOWN_AT_MOST = 0.1  # of the characters of transcripts, for a vocabulary to make sense
NEEDS = {"classification": "means", "recognition": "frames", "verification": "frames"}


def make_family(recipe: Recipe, upstream: Upstream, material: Material) -> tuple[Task, Scorer]:
    """What learns the recipe's heads on an upstream's states, and what tests them."""
    if recipe.task == "recognition":
        recogniser = recognition(recipe, upstream, material)
        return recogniser, RecognitionScorer(recogniser, material, recipe.decoding, recipe.split.test, recipe.primary)
    if recipe.task == "verification":
        verifier = verification(recipe, upstream, material)
        return verifier, VerificationScorer(verifier, material, recipe.trials, recipe.primary)
    classifier = classification(recipe, upstream, material)
    return classifier, ClassificationScorer(classifier, material, recipe.primary)


def classification(recipe: Recipe, upstream: Upstream, material: Material) -> Classification:
    return Classification(
        upstream.num_layers,
        upstream.dim,
        recipe.head.projection or 256,  # s3prl, downstream/emotion and speech_commands
        len(material.classes),
        torch.tensor(material.targets),
        recipe.select,
    )


def recognition(recipe: Recipe, upstream: Upstream, material: Material) -> Recognition:
    trained = material.split.trained
    written = superb_vocabulary() if recipe.text.vocabulary == "superb" else None
    if written is not None:
        refuse_other_scripts(written, [material.texts[index] for index in trained])
    return Recognition(
        upstream.num_layers,
        upstream.dim,
        recipe.head,
        written or characters_of(material.texts[index] for index in trained),
        material.texts,
        recipe.select,
    )


def refuse_other_scripts(vocabulary: Vocabulary, texts: Sequence[str]) -> None:
    """Raise MendableError where the vocabulary lacks so many characters that nothing could be learned."""
    letters = "".join(texts).replace(" ", "")
    unknown = sum(letter not in vocabulary.tokens for letter in letters)
    if unknown > UNKNOWN_AT_MOST * len(letters):
        raise MendableError(
            f"{unknown / len(letters):.0%} of the transcripts' characters are not in SUPERB's vocabulary of English "
            "letters; choose -o text.vocabulary=characters, or -d asr."
        )


def verification(recipe: Recipe, upstream: Upstream, material: Material) -> Verification:
    return Verification(
        upstream.num_layers,
        upstream.dim,
        recipe.head,
        len(material.classes),
        torch.tensor(material.targets),
        material.trials,
        recipe.select,
    )
