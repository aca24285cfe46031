"""Any speech encoder of the transformers library: its settings, its weights, and the encoder as an upstream."""

from upstream.huggingface.upstream import HuggingFaceUpstream, load

__all__ = ["HuggingFaceUpstream", "load"]
