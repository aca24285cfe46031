"""Records that others made: each is held against its own numbers, its files, and the records beside it.

Digests find what changed since a run wrote it. What is here finds what does not fit together although the digests were
computed anew: scores that the predictions do not give, heads that development would not have chosen, a control that is
called trained. A record whose predictions, heads and scores were all invented to fit each other passes; computing it
again (`wavprobe replay`) is what finds that.
"""

from downstream.results.checking.checked import CheckedRecord, checked
from downstream.results.checking.choice import asked_layer
from downstream.results.checking.merging import Records, Refused, checked_records

__all__ = ["CheckedRecord", "Records", "Refused", "asked_layer", "checked", "checked_records"]
