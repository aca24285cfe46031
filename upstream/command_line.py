"""How every command begins and ends: streams that take any text, and a sentence and an exit status for any error."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from upstream.errors import UserError, sentence, words_of
from upstream.out_of_memory import is_out_of_memory
from upstream.text import printable

USER_ERROR, BUG = 2, 1
INTERRUPTED, BROKEN_PIPE = 130, 141  # as a shell reports a program that SIGINT or SIGPIPE ended

BARS = dict(zip("▁▂▃▄▅▆▇█", ".:-=+*#@", strict=True))  # of plots, for a terminal that has none
CHECKOUT = Path(__file__).resolve().parents[1]


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add -v, which every command has."""
    parser.add_argument("-v", "--verbose", action="store_true", help="print more, with tracebacks of errors")


def carry_out(action: Callable[[], int], program: str, verbose: bool, more: str = "") -> int:
    """Carry out a command and return its exit status; whatever it raises becomes a sentence on standard error.

    Call `take_any_text` before its arguments are read.

    verbose: print tracebacks too. more: what is left of an interrupted or failed command, for the sentence.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(name)s: %(message)s")

    def end(status: int, said: str) -> int:
        with contextlib.suppress(OSError):  # nobody can be told
            if verbose:
                traceback.print_exc()
            print(f"{program}: {said}", file=sys.stderr, flush=True)
        return status

    try:
        status = action()
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `wavprobe list | head` has read enough
        leave_output()
        return BROKEN_PIPE
    except (UserError, OSError) as error:
        leave_output()
        return end(USER_ERROR, sentence(error))
    except KeyboardInterrupt:
        print(f"\nInterrupted{more}.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return end(*explained(error, more))


def explained(error: Exception, more: str = "") -> tuple[int, str]:
    """Return exit status and sentence for an error that nothing has foreseen where it arose."""
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding():
        return USER_ERROR, (
            f"The name {printable(error.object)!r} cannot be written in the encoding of this terminal's language, "
            f"{error.encoding}. Set LC_ALL=C.UTF-8 (or PYTHONUTF8=1) and run the same command again."
        )
    if is_out_of_memory(error):
        return USER_ERROR, (
            f"There is not enough memory ({words_of(error)}){more}. Lower what is held at once (training.batch, "
            "training.batch_seconds, the sizes of the head), or use a machine with more."
        )
    return BUG, (
        f"A bug, or something that nobody has foreseen: {words_of(error)}{place(error)}{more}. Please report it with "
        "this line, the command, and what the command prints with -v."
    )


def place(error: Exception) -> str:
    """Return the last line of this project that an error came through, as " (file, line 5)"."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_ours(Path(frame.filename))]
    return f" ({Path(frames[-1].filename).relative_to(CHECKOUT)}, line {frames[-1].lineno})" if frames else ""


def is_ours(file: Path) -> bool:
    """Return True for a file of this project."""
    return file.is_relative_to(CHECKOUT / "upstream") or file.is_relative_to(CHECKOUT / "downstream")


# ---------------------------------------------------------------- streams


def take_any_text() -> None:
    """Let both streams print any text: what their encoding lacks is written in ASCII.

    A program that was started without one of them (`>&-`) gets one that nobody reads.
    """
    codecs.register_error("in_ascii", in_ascii)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the program ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="in_ascii")


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Handler of codecs: bars as ASCII's, other letters as their escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = printable(error.object[error.start : error.end])
    return "".join(BARS.get(letter, letter) for letter in text).encode("ascii", "backslashreplace").decode(), error.end


def leave_output() -> None:
    """Give up what standard output could not write, or Python tries again at its end and complains."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
