"""Digests that identify the question of a run: runs with the same question share a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from downstream.data import Dataset
from downstream.recipes import Options, Recipe
from downstream.results import schema3
from downstream.results.integrity import digest_of
from downstream.tasks import Family, source_digest
from upstream.base import Upstream
from upstream.fingerprint import fingerprint_files


@dataclass(frozen=True)
class Question:
    """Digests of a run.

    learned: of everything that its heads depend on. asked: of that, and of how they are tested.
    """

    learned: str
    asked: str

    @classmethod
    def of(
        cls,
        upstream: Upstream,
        recipe: Recipe,
        family: Family,
        dataset: Dataset,
        options: Options,
        given: str | None = None,
    ) -> Question:
        """Return the digests of a run; given: that of heads which were learned before, None where it learns them."""
        settings, tested = separated(recipe, family)
        learned: list[Any] = [
            settings,
            [[fold.name, fold.train, fold.dev, fold.test] for fold in dataset.split.folds],
            upstream.fingerprint,
            str(upstream.dtype),
            dataset.fingerprint,
            options.seed,
            options.layer,
            dataset.targets.question(),
        ]
        source = source_digest(recipe.task)
        learned += [] if source is None else [source]
        learned += [] if given is None else [f"given heads {given}"]
        files = [path for path in family.test_files() if path.is_file()]  # others are refused later
        return cls(digest_of(learned), digest_of([learned, tested, fingerprint_files(files)]))


def separated(recipe: Recipe, family: Family) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings that heads depend on, and those that only their test depends on.

    Of a family that records of schema 3 knew, both have the form of then, so that its runs are found again.
    """
    settings = recipe.question()
    settings["task"] = Path(recipe.task).name  # the digest of an external family counts, not where its file lies
    tested: dict[str, Any] = {}
    if family.was_in_schema_3:
        settings = schema3.with_all_sections(settings)
        tested = {name: taken(settings, key) for key, name in schema3.TEST_SETTINGS.items()}
    for key in family.test_settings():
        if not (family.was_in_schema_3 and key in schema3.TEST_SETTINGS):
            tested[key] = taken(settings, key)
    return settings, tested


def taken(settings: dict[str, Any], key: str) -> Any:
    """Remove a setting and return its value; None for a later one that is not used."""
    *sections, name = key.split(".")
    for section in sections:
        settings = settings[section]
    return settings.pop(name, None)
