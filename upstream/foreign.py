"""Calls of code that is not this project's, a user's model or transformers: what it raises becomes a sentence."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from upstream.errors import UserError, words_of
from upstream.out_of_memory import is_out_of_memory


@contextmanager
def foreign_code(
    what: str, fix: str | Callable[[BaseException], str], file: Path | None = None, memory_passes: bool = False
) -> Iterator[None]:
    """Turn whatever the code inside raises into a UserError; an interruption by the user (KeyboardInterrupt) passes.

    what, fix: the start and the end of the message; the end may depend on the error.
    file: of the user, whose last line in the traceback is named.
    memory_passes: True to let errors of memory through, for callers that go on with a smaller batch.

    with foreign_code("Importing my_model.py", "Fix it and run again.", Path("my_model.py")):
        ...                        # Importing my_model.py failed at line 3 of my_model.py: KeyError: 'x'. Fix it and …
    """
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # it may exit, or raise what is no Exception
        if memory_passes and is_out_of_memory(error):
            raise
        end = fix if isinstance(fix, str) else fix(error)
        raise UserError(f"{what} failed{_place(error, file)}: {words_of(error)}. {end}") from error


def _place(error: BaseException, file: Path | None) -> str:
    """Return where in the user's file an error arose, for the message; nothing if it arose elsewhere."""
    if file is None:
        return ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f" at line {lines[-1]} of {file}" if lines else ""
