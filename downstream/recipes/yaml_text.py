"""The one reader of YAML: whatever is wrong with a text, the error is a UserError that names it and the line."""

from __future__ import annotations

from typing import Any

import yaml

from upstream.errors import UserError
from upstream.text import printable

# Far beyond every honest recipe, and small enough that code which walks or prints the content cannot fail.
LARGEST = 1 << 20  # bytes
DEEPEST = 20  # sections and lists within each other
MOST = 100_000  # values, each counted wherever an alias repeats it

TIMESTAMP = "tag:yaml.org,2002:timestamp"
MERGE = "tag:yaml.org,2002:merge"


class Loader(yaml.SafeLoader):
    """PyYAML's, without dates, which no recipe has and which are often meant as names; a key has one value."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        known: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != MERGE):
            if key.value in known:
                problem = f"the key {key.value[:60]!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            known.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; what PyYAML's conversion of a scalar raises is an error of YAML too."""
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # ValueError, KeyError, AttributeError, binascii's
            kind = node.tag.rpartition(":")[2]
            problem = f"{str(node.value)[:60]!r} is no {kind}; put it in quotes if it is text"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error


Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str, where: str) -> Any:
    """Return the value that YAML text describes.

    where: the text's name in the message.

    Raises UserError for text that is not YAML, and for what is larger, deeper or more than a recipe can be.
    """
    if len(text) > LARGEST:
        raise UserError(
            f"{where} is not a recipe's: {len(text):,} characters, more than the {LARGEST:,} that are read."
        )
    try:
        value = yaml.load(text, Loader)
    except RecursionError as error:
        raise UserError(f"{where} is not valid YAML: it is nested too deeply.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not valid YAML: {explained(error)}.") from error
    if fault := unusable(value):
        raise UserError(f"{where} cannot be used: {fault}.")
    return value


def explained(error: yaml.YAMLError) -> str:
    """Return an error of PyYAML in one line, with the number of the line where it has one."""
    if isinstance(error, yaml.MarkedYAMLError):
        said = ", ".join(part for part in (error.context, error.problem) if part)
        mark = error.problem_mark or error.context_mark
        return printable(f"line {mark.line + 1}, column {mark.column + 1}: {said}" if mark else said)
    if isinstance(error, yaml.reader.ReaderError):
        return f"the character {chr(int(error.character))!r} is not allowed in YAML"
    return " ".join(str(error).split())


def unusable(value: Any) -> str:
    """Return why a value would break what works on it, or nothing: too deep or too much, or text that is no UTF-8."""
    level, count = [value], 0
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for entry in level:
            if isinstance(entry, str) and printable(entry) != entry:
                return f"{printable(entry)[:60]!r} is no text of Unicode"
            if isinstance(entry, dict):
                inner += [*entry.keys(), *entry.values()]
            elif isinstance(entry, list | tuple | set):
                inner += entry
            if count + len(inner) > MOST:
                return f"it has more than {MOST:,} values"
        if not inner:
            return ""
        count += len(inner)
        level = inner
    return f"more than {DEEPEST} sections and lists lie within each other"
