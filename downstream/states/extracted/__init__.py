"""Hidden states in files of their own, to be used without this harness: `wavprobe extract`."""

from downstream.states.extracted.contents import Contents
from downstream.states.extracted.extraction import Extracted
from downstream.states.extracted.named import extract, extract_named

__all__ = ["Contents", "Extracted", "extract", "extract_named"]
