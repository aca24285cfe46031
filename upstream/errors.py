"""The one exception that stands for "you can mend this"."""


class MendableError(Exception):
    """A fault the user can mend: wrong name, missing data, damaged file, impossible setting.

    The message is one or two plain sentences: what was looked for, what was found, what to type.
    Commands print it without a traceback and exit with status 2; everything else is a fault of ours.
    """


def sentence(error: MendableError | OSError) -> str:
    """What to say of an error; permissions, full disks and files that went away are the user's to mend too."""
    if isinstance(error, MendableError):
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}. Check the path, its permissions and the space on its disk."
