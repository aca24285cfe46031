"""What an upstream is like, found by trying it: the contract, its layers, its speed, its precisions.

encoder = examine(Candidate("my_model.py:build"), tell=print)     # a Finding a step
"""

from upstream.check.candidate import Candidate
from upstream.check.examine import examine
from upstream.check.finding import NOTE, OK, Finding, Tell

__all__ = ["NOTE", "OK", "Candidate", "Finding", "Tell", "examine"]
