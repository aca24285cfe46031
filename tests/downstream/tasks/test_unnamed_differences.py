"""What a copied recipe changes is told, also where an override's key begins like that of the change."""

from __future__ import annotations

from downstream.tasks import differences, load_recipe, unnamed_differences


def test_an_override_names_its_own_key_and_its_section_alone() -> None:
    recipe = load_recipe("emotion", ["training.steps=7", "training.evaluate_every=7", "optimizer.lr=0.5"])
    assert len(differences(recipe)) == 3
    assert unnamed_differences(recipe, differences(recipe)) == ()
    assert unnamed_differences(recipe, ["training.step=7", "optimizer={lr: 0.5}"]) == (
        "training.steps=7",
        "training.evaluate_every=7",
    )
