"""The one exception for errors that the user can fix, and the words of all others."""

from __future__ import annotations

from upstream.text import printable, shortened

LONGEST_WORDS = 300  # characters of a foreign message; some list every model that a library knows
STACK = "Exception raised from "  # how PyTorch begins the lines on its own source, which say nothing to a user


class UserError(Exception):
    """An error the user can fix: wrong name, missing data, damaged file, impossible setting.

    The message is one or two plain sentences: what was looked for, what was found, what to type.
    Commands print it without a traceback and exit with status 2; any other exception is a bug. Names of files in it
    are made printable, and what is far too long to be read is shortened.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(printable(message)))


def message_of(error: BaseException) -> str:
    """Return the text of any error; nothing where its class fails to say it, as those of foreign code may."""
    try:
        return str(error)
    except Exception:
        return ""


def sentence(error: UserError | OSError) -> str:
    """Return the message to print for an error; the user can fix permissions, full disks and missing files too."""
    if isinstance(error, UserError):
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    return f"{printable(place)}{error.strerror or error}. Check the path, its permissions and the space on its disk."


def words_of(error: BaseException) -> str:
    """Return the kind and the words of any error in one line, without a final period: "KeyError: 'x'"."""
    words = " ".join(message_of(error).partition(STACK)[0].split())
    shown = words if len(words) <= LONGEST_WORDS else f"{words[:LONGEST_WORDS]}…"
    return printable(f"{type(error).__name__}: {shown}".rstrip(". :"))
