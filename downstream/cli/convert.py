"""`wavprobe convert`: any WavLM checkpoint to a Hugging Face directory."""

from upstream.wavlm.convert import add_arguments, run

__all__ = ["add_arguments", "run"]
