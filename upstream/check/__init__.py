"""What an upstream is like, found by trying it: the contract, its layers, its speed, its precisions.

encoder = examine(Asked("my_model.py:build"), tell=print)     # a Finding a step
"""

from upstream.check.examine import Asked, examine
from upstream.check.finding import NOTE, OK, Finding, Tell

__all__ = ["NOTE", "OK", "Asked", "Finding", "Tell", "examine"]
