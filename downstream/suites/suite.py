"""A suite: a list of recipes that one command runs, with what is changed of them and where their corpora lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from downstream.recipes import Closed, find_suite, override_texts, read_yaml, recipe_names, validated
from downstream.tasks import load_recipe
from upstream.errors import UserError


class Entry(Closed):
    """One recipe of a suite."""

    recipe: str = Field(description="a name from --list, or a YAML file, relative to the suite's")
    corpus: str | None = Field(default=None, description="another corpus than the recipe's, as -c")
    data: str | None = Field(default=None, description="folder of its corpus, relative to the suite's file")
    overrides: tuple[str, ...] = Field(default=(), description="of this recipe: keys with values, or key=value texts")

    @field_validator("overrides", mode="before")
    @classmethod
    def as_texts(cls, value: Any) -> Any:
        return texts_of(value)

    @property
    def label(self) -> str:
        """The recipe, with its corpus where that is another."""
        return self.recipe if self.corpus is None else f"{self.recipe} on {self.corpus}"

    def changed(self, overrides: Iterable[str]) -> Entry:
        """Return the entry with further overrides of this recipe alone, in place of its own ones of the same keys."""
        return self.model_copy(update={"overrides": (*self.overrides, *overrides)})

    def all_overrides(self, common: Sequence[str]) -> list[str]:
        """Return those of all recipes, then its own; with the corpus."""
        corpus = [] if self.corpus is None else [f"corpus.name={self.corpus}"]
        return [*corpus, *common, *self.overrides]


class SuiteFile(Closed):
    """The content of a suite's file."""

    name: str = Field(description="of the suite")
    title: str = Field(default="", description="what it is, in words")
    published: str | None = Field(
        default=None, description="table of published scores in results/reference: its tasks make the overall score"
    )
    recipes: list[Any] = Field(min_length=1, description="names of recipes, or sections of `Entry`")
    overrides: tuple[str, ...] = Field(default=(), description="of every recipe that has their keys")
    data: str | dict[str, str] = Field(
        default="", description="folder in which the corpora lie by their names, or the folder of each by its name"
    )

    @field_validator("overrides", mode="before")
    @classmethod
    def as_texts(cls, value: Any) -> Any:
        return texts_of(value)


@dataclass(frozen=True)
class Suite:
    """A list of recipes to run.

    published: name of the table of published scores that it reproduces rows of; None without one.
    overrides: of every recipe that has their keys. root: folder in which corpora lie by their names; None without.
    folders: of corpora, by their names.
    """

    name: str
    title: str
    entries: tuple[Entry, ...]
    published: str | None = None
    overrides: tuple[str, ...] = ()
    root: Path | None = None
    folders: Mapping[str, Path] | None = None

    @classmethod
    def of_recipes(cls, names: Sequence[str]) -> Suite:
        """Return a suite of recipes that were named one by one."""
        return cls(" ".join(names), "", tuple(Entry(recipe=name) for name in names))


def is_suite(name: str) -> bool:
    """Return True for the name or the file of a suite."""
    return find_suite(name) is not None


def load_suite(name: str) -> Suite | None:
    """Return the suite of that name or file; None for a recipe.

    Raises UserError for a file that is no suite though it has a list of recipes, and for recipes that there are not.
    """
    path = find_suite(name)
    if path is None:
        return None
    where, beside = f"Suite {path}", path.parent
    content = validated(read_yaml(path), SuiteFile, where)
    entries = tuple(entry_of(one, f"{where}, recipe {number}", beside) for number, one in enumerate(content.recipes, 1))
    refuse_repeated(entries, where)
    by_corpus = {} if isinstance(content.data, str) else content.data
    root = content.data if isinstance(content.data, str) else ""
    return Suite(
        content.name,
        content.title or content.name,
        entries,
        content.published,
        content.overrides,
        below(beside, root) if root else None,
        {corpus: below(beside, folder) for corpus, folder in by_corpus.items()},
    )


def named_suite(names: Sequence[str]) -> Suite:
    """Return a suite by its name or file, or one of several recipes and suites; raise UserError for other names."""
    loaded = [load_suite(name) or Suite.of_recipes([name]) for name in names]
    if len(loaded) == 1:
        return loaded[0]
    if not loaded:
        raise UserError("A suite needs a recipe; for example emotion.")
    if any(one.overrides or one.root or one.folders for one in loaded):
        raise UserError("A suite with overrides or data of its own is run alone; type one name.")
    return Suite(", ".join(names), "", tuple(entry for one in loaded for entry in one.entries))


def entry_of(content: Any, where: str, beside: Path) -> Entry:
    """Return a recipe of a suite, a name or a section, with paths that no longer depend on the file's place."""
    entry = validated({"recipe": content} if isinstance(content, str) else content, Entry, where)
    file = below(beside, entry.recipe)
    recipe = str(file) if entry.recipe not in recipe_names() and file.is_file() else entry.recipe
    data = None if entry.data is None else str(below(beside, entry.data))
    made = entry.model_copy(update={"recipe": recipe, "data": data})
    try:
        load_recipe(made.recipe, made.all_overrides(()))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return made


def refuse_repeated(entries: Sequence[Entry], where: str) -> None:
    """Raise UserError for a suite that lists one thing twice."""
    for number, entry in enumerate(entries):
        if entry in entries[:number]:
            raise UserError(
                f"{where} lists {entry.label} twice; remove one of them, or change its corpus or overrides."
            )


def below(folder: Path, path: str) -> Path:
    """Return a path of a file, relative to the file's folder."""
    return folder / Path(path).expanduser()


def texts_of(value: Any) -> Any:
    """Return overrides as "key=value" texts; what is no form of them stays, to be refused."""
    return override_texts(value) if isinstance(value, Mapping | str | list) else value
