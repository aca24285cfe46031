"""What a copied recipe changes is told, also where an override's key begins like that of the change."""

from __future__ import annotations

import pytest

from downstream.tasks import differences, load_recipe, unnamed_differences

STEPS = ("training.steps=7", "training.evaluate_every=7")


def test_an_override_names_its_own_key_and_its_section_alone() -> None:
    recipe = load_recipe("emotion", [*STEPS, "optimizer.lr=0.5"])
    assert len(differences(recipe)) == 3
    assert unnamed_differences(recipe, ["training.steps=7", "optimizer={lr: 0.5}"]) == STEPS[1:]


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("emotion", ()),
        ("emotion", (*STEPS, "optimizer.lr=0.5")),
        ("sv_xvector", (*STEPS, "optimizer.lr=0.5")),  # whose sections may be null
        ("keyword", ("training.crop.seconds=0.5", "training.crop.of=audio")),  # a section that is null
        ("sv_xvector", ("training.crop=null",)),
    ],
)
def test_what_overrides_changed_is_told(recipe: str, overrides: tuple[str, ...]) -> None:
    assert unnamed_differences(load_recipe(recipe, overrides), overrides) == ()
