"""Text of a record without its author: paths that do not say whose machine it was, names that any reader can print.

Records are published. An absolute path often holds a user's name, a project's, or a machine's; nobody else needs it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from downstream.recipes import Options
from upstream.text import printable

HOME = "~"
ELSEWHERE = "..."  # instead of the folders before the last part of a path outside the home folder

# An absolute path of two parts or more in a sentence. What stands before it is no part of an address (https://…), of a
# relative path, or of a fraction.
BEFORE = r"(?<![\w/.~*)\]}-])"
PATH = re.compile(BEFORE + r"(/[^\s/\"'`,;:()<>|]+)/(?:[^\s/\"'`,;:()<>|]+/)*([^\s/\"'`,;()<>|]*)")
OPTION = re.compile(r"([^/=]*=)?(/.*)", re.DOTALL)  # --data=/corpus, /corpus


@dataclass(frozen=True)
class Anonymous:
    """Replacement of paths: the home folder becomes ~, of other absolute paths only the last part stays.

    corpus: what lies in it is named relative to it, as recipes may name it too; None without a folder.
    known: further folders, whose names may have blanks, which end a path within a sentence.
    results: of runs; a family's module beside it is named relative to the run's folder.
    """

    corpus: Path | None = None
    known: tuple[Path, ...] = ()
    results: Path | None = None

    @classmethod
    def of(cls, options: Options) -> Anonymous:
        """Return the replacement of the paths that a run was given."""
        folders = (options.data, options.folder, options.results, options.store)
        known = [folder for folder in folders if folder is not None]
        return cls(options.data, tuple(known), options.results)

    @cached_property
    def homes(self) -> list[str]:
        """The home folder as it is named, and as links resolve; none where the user has none, or it is the root."""
        home = os.path.expanduser(HOME)
        return [] if home == HOME else [name for name in spellings(Path(home)) if name != os.sep]

    def path(self, name: str) -> str:
        """Return the form of one path: in the corpus, below ~, its last part alone, or a relative path as it stands."""
        for corpus in () if self.corpus is None else spellings(self.corpus):
            if name.startswith(corpus + os.sep):
                return name[len(corpus) + 1 :]
        for home in self.homes:
            if name == home or name.startswith(home + os.sep):
                return HOME + name[len(home) :]
        return f"{ELSEWHERE}/{name.rstrip(os.sep).rpartition(os.sep)[2]}" if name.count(os.sep) > 1 else name

    def text(self, text: str) -> str:
        """Return a name, a path or a sentence with every absolute path in it replaced, printable."""
        if os.sep in text:
            if text.startswith(os.sep) and os.path.lexists(text):
                return printable(self.path(text))
            for name in (*self.homes, *(name for folder in self.known for name in spellings(folder))):
                pieces = re.split(BEFORE + re.escape(name) + r"(?![\w.-])", text)
                text = self.path(name).join(pieces)
            text = PATH.sub(short, text)
        return printable(text)

    def command(self, command: str) -> str:
        """Return a command line whose arguments have no absolute paths."""
        try:
            words = shlex.split(command)
        except ValueError:  # no command line
            return self.text(command)
        return " ".join(quoted(self._argument(word)) for word in words)

    def _argument(self, word: str) -> str:
        found = OPTION.fullmatch(word)
        return printable((found[1] or "") + self.path(found[2])) if found else self.text(word)

    def recipe(self, content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Return a dumped recipe without absolute paths; it can be read again from a run's folder."""
        hidden: dict[str, Any] = self.content(dict(content))
        return hidden | {"task": self.task(content["task"], folder)}

    def task(self, task: str, folder: Path) -> str:
        """Return a recipe's task, of whose module the path is relative to a run's folder if it lies beside results."""
        module, _, name = task.rpartition(":")
        if self.results is None or not Path(module).is_relative_to(self.results.resolve().parent):
            return self.text(task)
        return f"{os.path.relpath(module, folder.resolve())}:{name}"

    def content(self, value: Any) -> Any:
        """Return a JSON value with all of its text replaced, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.content(key): self.content(inner) for key, inner in value.items()}
        return [self.content(inner) for inner in value] if isinstance(value, list | tuple) else value


def quoted(word: str) -> str:
    """Return a word as a shell reads it, a leading ~ as the home folder."""
    home, rest = HOME + os.sep, word.removeprefix(HOME + os.sep)
    return home + shlex.quote(rest) if word.startswith(home) and rest else shlex.quote(word)


def short(found: re.Match[str]) -> str:
    """Return the last part of a path; all of what is none, such as the phoneme /t/: no folder of the root begins so."""
    return f"{ELSEWHERE}/{found[2]}" if os.path.isdir(found[1]) else found[0]


def spellings(folder: Path) -> Iterable[str]:
    """Return the absolute names of a folder, as given and without links; none of the root."""
    names = (os.path.abspath(folder), os.path.realpath(folder))
    return dict.fromkeys(name for name in names if name != os.sep)
