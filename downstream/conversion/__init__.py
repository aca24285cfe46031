"""Heads between programs: s3prl's checkpoints, heads of this harness, task models of transformers."""

from downstream.conversion.from_s3prl import HeadOfRun, head_of_run
from downstream.conversion.head_files import write_head
from downstream.conversion.s3prl_run import S3prlRun, is_s3prl_run, read_run

__all__ = ["HeadOfRun", "S3prlRun", "head_of_run", "is_s3prl_run", "read_run", "write_head"]
