"""Ranks of a distributed extraction, as torchrun starts them, their meeting and their barrier.

Schedulers and notebooks set RANK and WORLD_SIZE too. So every variable is checked before it is used, and the ranks
meet before anything is computed: whoever is alone learns it then.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from upstream.errors import UserError, words_of
from upstream.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("wavprobe")

# How long a rank waits for the others at the beginning, when all of them have just been started.
MEETING_TIMEOUT = timedelta(minutes=10)
MEETING_NOTICE = 10.0  # seconds, after which a rank says whom it waits for
# How long a rank waits for the slowest. torch's default of ten minutes is too short for ranks on unequal GPUs.
# If a rank dies, torchrun notices and ends the others.
BARRIER_TIMEOUT = timedelta(days=1)

NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
FIX = "Start several processes with torchrun, or type `unset RANK WORLD_SIZE` before the command for one process alone."


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

    def meet(self) -> None:
        """Wait until every rank has come, with their notice board at MASTER_ADDR:MASTER_PORT; only the first call does.

        Raises UserError where one stays away.
        """
        if self.world > 1:
            notice_board(self)

    def barrier(self, device: torch.device) -> None:
        """Wait until every rank has called this.

        device: where the ranks compute; it chooses the backend, NCCL for GPUs and Gloo for CPUs.

        Raises UserError where a rank has ended in the meantime.
        """
        if self.world == 1:
            return
        import torch.distributed as group

        logger.info("rank %d waits for the other %d processes", self.rank, self.world - 1)
        with self.none_lost("What was extracted is kept; run the same command again."):
            self.join(device)
            group.barrier(device_ids=[self.local] if device.type == "cuda" else None)

    def join(self, device: torch.device) -> None:
        """Make the group of all processes, which share numbers through torch.distributed; only the first call does.

        device: as of `barrier`.
        """
        import torch
        import torch.distributed as group

        if self.world == 1 or group.is_initialized():
            return
        gpu = torch.device("cuda", self.local) if device.type == "cuda" else None
        if gpu:
            self.claim_gpu()
        group.init_process_group(
            "nccl" if gpu else "gloo",
            store=group.PrefixStore("group", notice_board(self)),  # type: ignore[attr-defined]
            rank=self.rank,
            world_size=self.world,
            timeout=BARRIER_TIMEOUT,
            device_id=gpu,
        )
        atexit.register(group.destroy_process_group)

    @contextmanager
    def none_lost(self, kept: str) -> Iterator[None]:
        """Raise UserError where another process ends while this one shares numbers with it.

        kept: a sentence on what is left, and what to do.
        """
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or is_out_of_memory(error):
                raise
            raise UserError(
                f"Rank {self.rank} has lost the other processes, of which one has probably ended with an error of its "
                f"own ({words_of(error)}). {kept}"
            ) from error


ALONE = Ranks(0, 1, 0)  # a single process


def current() -> Ranks:
    """Return this process's rank from the environment that torchrun sets; ALONE where it is not set.

    Raises UserError for ranks that cannot be, or that could not meet.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return ALONE
    rank, world = number("RANK", 0), number("WORLD_SIZE", 1)
    if rank >= world:
        raise UserError(f"RANK is {rank} and WORLD_SIZE {world}; ranks count from 0. {FIX}")
    if world == 1:
        return ALONE
    if missing := [name for name in NEEDED if not os.environ.get(name)]:
        raise UserError(
            f"RANK is {rank} and WORLD_SIZE {world}, so {world} processes are to share the work, but they cannot meet: "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set. {FIX}"
        )
    if number("MASTER_PORT", 1) > 65_535:
        raise UserError(f"MASTER_PORT is {os.environ['MASTER_PORT']}; ports end at 65535. {FIX}")
    return Ranks(rank, world, number("LOCAL_RANK", 0))


def number(name: str, least: int) -> int:
    """Return the whole number in a variable of the environment.

    Raises UserError for anything else.
    """
    text = os.environ[name]
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise UserError(f"{name} is {text[:60]!r} in the environment; expected a whole number from {least} on. {FIX}")
    return int(text)


@cache
def notice_board(ranks: Ranks) -> Any:
    """Return where the ranks leave messages for each other, a torch.distributed.Store, when all have been there.

    torchrun has opened it; where the processes were started otherwise, the first of them opens it.

    Raises UserError where they cannot meet.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    outcome: SimpleQueue[Any] = SimpleQueue()

    def meet() -> None:
        try:
            outcome.put(board_of_all(ranks, host, port))
        except (RuntimeError, OSError, UnicodeError) as error:
            outcome.put(error)

    # In a thread that nobody waits for: what answers at that port may be another program, which never says anything.
    threading.Thread(target=meet, daemon=True).start()
    try:
        found = outcome.get(timeout=MEETING_TIMEOUT.total_seconds() + MEETING_NOTICE)
    except Empty:
        found = TimeoutError("what answers there is no process of these")
    if isinstance(found, Exception):
        raise UserError(
            f"The {ranks.world} processes of WORLD_SIZE cannot meet at {host}:{port} (MASTER_ADDR, MASTER_PORT): "
            f"{words_of(found)}. {FIX}"
        ) from found
    return found


def board_of_all(ranks: Ranks, host: str, port: int) -> Any:
    """Return the ranks' notice board, when all of them have come to it.

    Raises TimeoutError where some stay away, and what torch and the system raise.
    """
    import torch.distributed as group

    socket.getaddrinfo(host, port)
    opens = ranks.main and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    store = group.TCPStore(host, port, ranks.world, opens, timeout=MEETING_TIMEOUT, wait_for_workers=False)  # type: ignore[attr-defined]
    board = group.PrefixStore(f"wavprobe/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)  # type: ignore[attr-defined]
    board.add("come", 1)
    began, notice = time.monotonic(), MEETING_NOTICE
    while (come := board.add("come", 0)) < ranks.world:
        waited = time.monotonic() - began
        if waited > MEETING_TIMEOUT.total_seconds():
            raise TimeoutError(f"only {come} came within {waited / 60:.0f} minutes")
        if waited > notice:
            notice = math.inf
            logger.warning("rank %d waits for the others: %d of %d processes came", ranks.rank, come, ranks.world)
        time.sleep(0.05)
    return board
