"""Hidden states in files of their own, to be used without this harness: `wavprobe extract`."""

from downstream.states.taken.contents import FORMATS, NUMBERS, Contents, layers_of
from downstream.states.taken.extraction import Taken, take_states
from downstream.states.taken.face import extract, take_named

__all__ = ["FORMATS", "NUMBERS", "Contents", "Taken", "extract", "layers_of", "take_named", "take_states"]
