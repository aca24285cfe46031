"""The transformers library, an optional extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from upstream.errors import UserError


def transformers_library() -> Any:
    """Import transformers, an optional extra; raises UserError if it is not installed."""
    try:
        return import_module("transformers")
    except ImportError as error:
        raise UserError(
            "Encoders of the Hugging Face hub need the transformers library, which is not installed here; "
            "type: pip install 'wavprobe[hf]'"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' report of missing and unexpected tensors, which is checked here."""
    logging = transformers_library().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
