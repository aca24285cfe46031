"""Several processes at one extraction, as torchrun starts them: who is who, and waiting for each other."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from upstream.errors import MendableError

if TYPE_CHECKING:
    import torch

# How long a rank waits for the slowest. torch's own ten minutes are less than ranks of unequal GPUs may lie apart;
# a rank that died is torchrun's to notice, which ends the others.
PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """One process among those that share an extraction.

    rank: its number, 0 to world - 1; world: how many there are; local: its number on this machine, and its GPU's.
    """

    rank: int
    world: int
    local: int

    @property
    def main(self) -> bool:
        """Whether this is the one that shows progress and goes on alone afterwards."""
        return self.rank == 0

    def claim_gpu(self, device: str = "cuda") -> None:
        """Make this rank's own GPU the one that "cuda" means; to be called before the upstream is loaded.

        device: as the user typed it. Does nothing for a single process, for the CPU, or without GPUs. Raises
        MendableError where there are fewer GPUs than ranks, and where all ranks are told to use the same one.
        """
        if self.world == 1 or device == "cpu":
            return
        if device.startswith("cuda:"):
            raise MendableError(
                f"--device {device} would put all {self.world} processes on one GPU; type --device cuda, and each "
                "takes its own."
            )
        import torch

        if not torch.cuda.is_available():
            return
        if self.local >= torch.cuda.device_count():
            raise MendableError(
                f"There is no GPU for rank {self.local} of this machine, which has {torch.cuda.device_count()}; "
                f"start torchrun with --nproc-per-node {torch.cuda.device_count()} or less."
            )
        torch.cuda.set_device(self.local)

    def barrier(self, device: torch.device) -> None:
        """Wait until every rank is here. device: where the ranks compute, which decides how they talk."""
        if self.world == 1:
            return
        import torch
        import torch.distributed as group

        gpu = torch.device("cuda", self.local) if device.type == "cuda" else None
        if gpu:
            self.claim_gpu()
        if not group.is_initialized():
            group.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE, device_id=gpu)
            atexit.register(group.destroy_process_group)
        group.barrier(device_ids=[self.local] if gpu else None)


ALONE = Ranks(0, 1, 0)  # a process that nobody shares with


def current() -> Ranks:
    """This process's place, from the environment that torchrun sets; ALONE where it is not set."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return ALONE
    return Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
