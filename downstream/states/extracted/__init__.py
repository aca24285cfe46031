"""Hidden states in files of their own, to be used without this harness: `wavprobe extract`."""

from downstream.states.extracted.contents import FORMATS, NUMBERS, Contents, layers_of
from downstream.states.extracted.extraction import Extracted, write_states
from downstream.states.extracted.named import extract, extract_named

__all__ = ["FORMATS", "NUMBERS", "Contents", "Extracted", "extract", "layers_of", "extract_named", "write_states"]
