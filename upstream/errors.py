"""The one exception for errors that the user can fix."""

from __future__ import annotations

from upstream.text import printable, shortened


class UserError(Exception):
    """An error the user can fix: wrong name, missing data, damaged file, impossible setting.

    The message is one or two plain sentences: what was looked for, what was found, what to type.
    Commands print it without a traceback and exit with status 2; any other exception is a bug. Names of files in it
    are made printable, and what is far too long to be read is shortened.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(printable(message)))


def sentence(error: UserError | OSError) -> str:
    """Return the message to print for an error; the user can fix permissions, full disks and missing files too."""
    if isinstance(error, UserError):
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    return f"{printable(place)}{error.strerror or error}. Check the path, its permissions and the space on its disk."
