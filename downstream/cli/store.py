"""`wavprobe store`: list, estimate, verify and prune the stored hidden states."""

from upstream.store.command import add_arguments, run

__all__ = ["add_arguments", "run"]
