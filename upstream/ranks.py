"""Ranks of a distributed extraction, as torchrun starts them, and their barrier."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from upstream.errors import UserError

if TYPE_CHECKING:
    import torch

# How long a rank waits for the slowest. torch's default of ten minutes is too short for ranks on unequal GPUs.
# If a rank dies, torchrun notices and ends the others.
BARRIER_TIMEOUT = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """One of the processes that share an extraction.

    rank: 0 to world - 1. world: number of processes. local: rank on this machine, and index of its GPU.
    """

    rank: int
    world: int
    local: int

    @property
    def main(self) -> bool:
        """True for rank 0, which shows progress and continues alone after extraction."""
        return self.rank == 0

    def claim_gpu(self, device: str = "cuda") -> None:
        """Make "cuda" mean this rank's GPU. Call it before the upstream is loaded.

        device: as the user typed it. Does nothing for a single process, for the CPU, or without GPUs.

        Raises UserError for fewer GPUs than ranks, or a device that puts all ranks on one GPU.
        """
        if self.world == 1 or device == "cpu":
            return
        if device.startswith("cuda:"):
            raise UserError(
                f"--device {device} would put all {self.world} processes on one GPU; type --device cuda to give each "
                "process its own."
            )
        import torch

        if not torch.cuda.is_available():
            return
        if self.local >= torch.cuda.device_count():
            raise UserError(
                f"There is no GPU for rank {self.local} of this machine, which has {torch.cuda.device_count()}; "
                f"start torchrun with --nproc-per-node {torch.cuda.device_count()} or less."
            )
        torch.cuda.set_device(self.local)

    def barrier(self, device: torch.device) -> None:
        """Wait until every rank has called this.

        device: where the ranks compute; it chooses the backend, NCCL for GPUs and Gloo for CPUs.
        """
        if self.world == 1:
            return
        import torch
        import torch.distributed as group

        gpu = torch.device("cuda", self.local) if device.type == "cuda" else None
        if gpu:
            self.claim_gpu()
        if not group.is_initialized():
            group.init_process_group("nccl" if gpu else "gloo", timeout=BARRIER_TIMEOUT, device_id=gpu)
            atexit.register(group.destroy_process_group)
        group.barrier(device_ids=[self.local] if gpu else None)


ALONE = Ranks(0, 1, 0)  # a single process


def current() -> Ranks:
    """Return this process's rank from the environment that torchrun sets; ALONE where it is not set."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return ALONE
    return Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
