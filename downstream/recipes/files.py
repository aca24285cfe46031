"""Recipe files: from YAML and `key=value` overrides to a typed recipe; errors on a wrong key suggest the nearest."""

from __future__ import annotations

import copy
import json
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from downstream.recipes.recipe import IDENTITY
from downstream.recipes.yaml_text import LARGEST, parse_yaml
from upstream.errors import UserError
from upstream.files import read_regular_file
from upstream.nearest import did_you_mean, either, nearest

PACKAGE = Path(__file__).resolve().parents[1]  # downstream
CHECKOUT = PACKAGE.parent


def shipped(name: str) -> Path:
    """Return a folder that comes with the harness, "recipes" or "results/reference".

    In a checkout it lies at the top level; a wheel holds a copy inside the package (setup.py).
    """
    packaged = PACKAGE / "shipped_files" / name
    return packaged if packaged.is_dir() else CHECKOUT / name


LONGEST_SHOWN = 80  # letters of a key or value in a message
MOST_SHOWN = 5  # errors of one recipe in a message

KINDS = {type(None): "nothing", list: "a list", str: "a single text"}
WORDS = {
    "value_error": "{error}",
    "model_type": "expected a section, keys with values",
    "tuple_type": "expected a list, such as [one, another]",
    "finite_number": "expected a finite number",
    "less_than_equal": "the largest that is allowed is {le:,.6g}",
}

AnyModel = TypeVar("AnyModel", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys and values of a recipe file; raise UserError where it holds none."""
    try:
        text = read_regular_file(path, LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"Recipe {path} is not text in UTF-8 ({error.reason}); save it as UTF-8.") from error
    content = parse_yaml(text, f"Recipe {path}")
    if not isinstance(content, dict):
        raise UserError(f"Recipe {path} holds {KINDS.get(type(content), 'a single value')}; expected keys with values.")
    return content


def validated(content: Mapping[str, Any], kind: type[AnyModel], where: str) -> AnyModel:
    """Return the content of a file as a typed recipe; where: its name in messages. Raises UserError."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, kind)}") from error


# ---------------------------------------------------------------- overrides


def overridden(content: Mapping[str, Any], overrides: Sequence[str], kind: type[BaseModel]) -> dict[str, Any]:
    """Return a recipe's content with overrides such as "optimizer.lr=1e-3" applied; values are read as YAML.

    Raises UserError for a key that recipes of that kind do not have, naming the nearest right one.
    """
    changed = copy.deepcopy(dict(content))
    for override in overrides:
        apply_override(changed, override, kind)
    return changed


def override_texts(overrides: Mapping[str, object] | Sequence[str]) -> tuple[str, ...]:
    """Return overrides as "key=value" texts, of a mapping of keys to values, of one text, or of several."""
    if isinstance(overrides, Mapping):
        return tuple(f"{key}={json.dumps(value, default=_plain)}" for key, value in overrides.items())
    return (overrides,) if isinstance(overrides, str) else tuple(overrides)


def _plain(value: Any) -> Any:
    """Return a number of numpy's or a path as JSON has them."""
    return value.item() if hasattr(value, "item") else str(value)


def effective(content: Mapping[str, Any], overrides: Sequence[str], kind: type[BaseModel]) -> tuple[str, ...]:
    """Return the overrides that change something in the content of a recipe's own file."""
    return tuple(one for one in overrides if overridden(content, [one], kind) != content)


def apply_override(content: dict[str, Any], override: str, kind: type[BaseModel]) -> None:
    """Apply one override to a recipe's content.

    Raises UserError for what is no key=value, a key that cannot be set, and a value that is no YAML.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"-o takes key=value, for example -o optimizer.lr=1e-3; got {brief(override)}.")
    if key in IDENTITY:
        raise UserError(
            f"{key!r} identifies the recipe and cannot be overridden; copy the YAML file and change it there."
        )
    refuse_unknown(key, kind)
    value = parse_yaml(text, f"The value of -o {key}, {brief(text)},")
    *parents, last = key.split(".")
    for parent in parents:
        if content.get(parent) is None:
            content[parent] = {}
        content = content[parent]
        if not isinstance(content, dict):
            raise UserError(f"-o {key}: {parent!r} is {brief(content)} in the recipe, not a section; fix the file.")
    content[last] = value


class UnknownKeyError(UserError):
    """A key that recipes of a kind do not have; another kind may have it."""

    def __init__(self, key: str, fix: str) -> None:
        super().__init__(f"A recipe of this task has no key {brief(key)}. {fix}")
        self.key, self.fix = key, fix


def refuse_unknown(key: str, kind: type[BaseModel]) -> None:
    """Raise UnknownKeyError for a key that recipes of that kind do not have."""
    known = [name for name in all_keys(kind) if name not in IDENTITY]
    if key not in known and not is_of_open_section(key, kind):
        raise UnknownKeyError(key, suggestion(key, known))


def is_of_open_section(key: str, kind: type[BaseModel]) -> bool:
    """Return True for a key in a section whose keys somebody else knows, such as a model's configuration."""
    section, _, name = key.partition(".")
    field = kind.model_fields.get(section)
    return field is not None and get_origin(field.annotation) is dict and name.isidentifier()


def suggestion(key: str, known: Sequence[str]) -> str:
    """Return what may have been meant by a key: one that is spelled alike or ends alike, or those of its section."""
    if inner := [name for name in known if name.startswith(f"{key}.")]:
        return f"That is a section; its keys are {', '.join(inner)}."
    if alike := [name for name in known if name.endswith(f".{key}")]:
        return f"Did you mean {either(alike)}?"
    section = key.rpartition(".")[0]
    there = [name for name in known if section and name.startswith(f"{section}.")]
    return did_you_mean(key, known) or f"Known{' there' if there else ''}: {', '.join(there or known)}."


def all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return every key of a recipe in dotted form, sections left out."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            keys += all_keys(section, f"{prefix}{name}.")
        if section is not field.annotation:  # a value, or a section that may be null
            keys.append(prefix + name)
    return keys


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds, if it holds one (or null)."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


# ---------------------------------------------------------------- messages


def explain(error: ValidationError, kind: type[BaseModel]) -> str:
    """Return the errors of a recipe as sentences, the first ones where there are many."""
    faults = error.errors()
    more = [f"There are {len(faults) - MOST_SHOWN} more such values."] if len(faults) > MOST_SHOWN else []
    return " ".join([*(_sentence(fault, kind) for fault in faults[:MOST_SHOWN]), *more])


def _sentence(fault: Mapping[str, Any], kind: type[BaseModel]) -> str:
    path = [str(part) for part in fault["loc"]]
    key, value = ".".join(path), fault["input"]
    if fault["type"] == "extra_forbidden":
        siblings = _keys_beside(path, kind)
        near = nearest(path[-1], siblings)
        meant = f"did you mean {either(near)}?" if near else f"known there: {', '.join(siblings)}."
        return f"There is no key {brief(key)}; {meant}"
    if fault["type"] == "missing":
        return f"The key {key!r} is missing."
    reason = WORDS.get(fault["type"], str(fault["msg"]).lower()).format(**fault.get("ctx", {}))
    if fault["type"] == "value_error" and isinstance(value, dict):  # settings that do not go together
        where = f"{key}: " if key else ""
        return f"{where}{reason}."
    is_number = isinstance(value, bool | int | float)  # YAML reads yes, no, on, off as booleans
    quotes = " (put it in quotes)" if fault["type"] == "string_type" and is_number else ""
    shown = "empty" if value is None else brief(value)
    return f"The value of {brief(key)} is {shown}: {reason}{quotes}."


def _keys_beside(path: Sequence[str], kind: type[BaseModel]) -> list[str]:
    """Return the keys beside the last one of a path, in which places in lists and kinds of sections are steps too."""
    sections = [kind]
    for step in path[:-1]:
        inner = [one for own in sections if step in own.model_fields for one in sections_in(own.model_fields[step])]
        of_kind = [one for one in sections if "kind" in one.model_fields and one.model_fields["kind"].default == step]
        sections = inner or of_kind or sections
    return list(dict.fromkeys(name for one in sections for name in one.model_fields))


def sections_in(field: Any) -> list[type[BaseModel]]:
    """Return the sections that a field, or each item of its list, may be."""
    annotation = getattr(field, "annotation", field)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for one in get_args(annotation) for section in sections_in(one)]


def brief(value: object) -> str:
    """Return a value as a message shows it, shortened: an alias of YAML may stand for billions of letters."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = LONGEST_SHOWN
    short.maxlevel, short.maxlist, short.maxdict = 2, 4, 4
    return short.repr(value)
