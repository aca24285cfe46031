"""A recipe's version is raised whenever its score can move: its content is pinned together with its version."""

from __future__ import annotations

import pytest

from downstream.recipes import recipe_names
from downstream.results.integrity import digest_of
from downstream.tasks.registry import load_recipe

# The version of each shipped recipe, and the digest of every setting that its score depends on. Where this fails, raise
# the recipe's version, say in the changelog what moved, and write both new values here.
PINNED = {
    "asr": (1, "f4a9c21701fb"),
    "demo/asr": (1, "f3faded03345"),
    "demo/emotion": (2, "550d488d2912"),
    "demo/keyword": (1, "5035387fcaec"),
    "demo/sv": (2, "11adab66d5a0"),
    "emotion": (4, "35ce2fd6490e"),
    "keyword": (2, "5e1d776b7736"),
    "keyword_words": (2, "7aa9155dfaad"),
    "superb/asr": (1, "766fac7013ee"),
    "superb/asv": (1, "429d54c4319d"),
    "superb/er": (2, "0682f4ca32d4"),
    "superb/ks": (1, "b756b9b3dd0d"),
    "sv": (2, "1e9728a57acc"),
    "sv_linear": (1, "8964de28f511"),
    "sv_xvector": (1, "d5ebaf31179a"),
}
WORDS = {"name", "title", "version", "deviations"}  # no score depends on them


def test_every_shipped_recipe_is_pinned() -> None:
    assert set(PINNED) == set(recipe_names())


@pytest.mark.parametrize("name", PINNED)
def test_a_recipe_that_changes_raises_its_version(name: str) -> None:
    recipe = load_recipe(name)
    settings = {key: value for key, value in recipe.question().items() if key not in WORDS}
    assert (recipe.version, digest_of(settings)[:12]) == PINNED[name]
