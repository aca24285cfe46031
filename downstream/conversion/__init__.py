"""Heads between programs: s3prl's checkpoints, heads of this harness, task models of transformers."""

from downstream.conversion.converting import Converted, convert

__all__ = ["Converted", "convert"]
