"""Memory and disk that fine-tuning takes, estimated before anything is learned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from downstream.finetuning.settings import learned_of, settings_of
from downstream.planned_run import PlannedRun
from downstream.recipes import Recipe
from downstream.states import window_of
from downstream.training import batching_of, smaller_batches
from upstream.base import SAMPLE_RATE
from upstream.errors import UserError
from upstream.ranks import Ranks
from upstream.sizes import free_memory, free_space, readable

BYTES = 4  # of a float32
IN_MEMORY = 4  # times what learns: weights, gradients, and Adam's two moments
IN_SNAPSHOT = 4  # times what learns: weights, two moments, and the weights of the best step


@dataclass(frozen=True)
class Sizes:
    """Numbers of an encoder, and bytes of its training.

    parameters: of the encoder; learned: those of them that learn. activations: bytes of the largest micro-batch.
    """

    parameters: int
    learned: int
    activations: int

    @property
    def weights(self) -> int:
        """Bytes of weights, gradients and moments."""
        return BYTES * (self.parameters + (IN_MEMORY - 1) * self.learned)

    @property
    def copies(self) -> int:
        """Bytes of the weights of the best step, and of a snapshot while it is written; the CPU has them, once."""
        return BYTES * (1 + IN_SNAPSHOT) * self.learned

    def memory(self, device: torch.device, processes: int) -> int:
        """Return the bytes that training takes on a device beside the frozen upstream.

        No snapshot is written between a forward and its backward pass. processes: that share the device.
        """
        beside = processes * self.activations
        return processes * self.weights + (max(beside, self.copies) if device.type == "cpu" else beside)

    def disk(self, encoders: int) -> int:
        """Return the bytes of so many encoders, and of the snapshot of a training."""
        return BYTES * (encoders * self.parameters + IN_SNAPSHOT * self.learned)


def sizes_of(planned: PlannedRun, ranks: Ranks) -> Sizes:
    """Return the sizes of a run; raise UserError for an upstream that cannot learn, or not what is asked for."""
    encoder = planned.upstream.trainable(learned_of(settings_of(planned.recipe)[1]))
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    learned = sum(parameter.numel() for _, parameter in encoder.learned())
    return Sizes(parameters, learned, max(map(encoder.activation_bytes, batches_of(planned, ranks))))


def batches_of(planned: PlannedRun, ranks: Ranks) -> Iterator[list[int]]:
    """Yield the samples of each utterance of a process's micro-batches, those of every fold's first epoch."""
    training, items = settings_of(planned.recipe)[0].training, planned.dataset.items
    window = window_of(training.crop) or float("inf")
    for fold in planned.dataset.split.folds:
        for batch in batching_of(fold.train, planned.dataset, training).epoch(0):
            own = batch[ranks.rank :: ranks.world] if len(batch) > ranks.rank else batch[:1]
            yield [round(min(items[index].seconds, window) * SAMPLE_RATE) for index in own.tolist()]


def refuse_too_large(sizes: Sizes, planned: PlannedRun, folder: Path, ranks: Ranks) -> None:
    """Raise UserError where a training would not fit into the memory that is free, or its encoders on the disk."""
    device = planned.upstream.device
    processes = 1 if device.type == "cuda" else processes_here(ranks)
    free, needed = free_on(device), sizes.memory(device, processes)
    if free is not None and needed > free:
        copies = f", or a snapshot with the best step {readable(sizes.copies)}" if device.type == "cpu" else ""
        raise UserError(
            f"Fine-tuning would take about {readable(needed)}: weights, gradients and moments {readable(sizes.weights)}"
            f", and what the largest micro-batch keeps for its backward pass {readable(sizes.activations)}"
            f"{' a process' if processes > 1 else ''}{copies}; {readable(free)} are free on the {device.type}. Take "
            f"{' or '.join(ways_to_save(planned.recipe))}."
        )
    disk, space = sizes.disk(encoders_of(planned)), free_space(folder)
    if disk > space:
        raise UserError(
            f"The fine-tuned encoders and the snapshot of their training would take {readable(disk)}, and "
            f"{readable(space)} are free where {folder} lies. Choose another place with --results, or fewer folds or "
            "seeds (-o split.folds, -o sweep.seed)."
        )


def ways_to_save(recipe: Recipe) -> list[str]:
    """Return what to type to take less memory, what costs least first."""
    settings = settings_of(recipe)[1]
    ways = smaller_batches(recipe)
    if not settings.checkpointing:
        ways.append("-o finetune.checkpointing=true, which computes blocks twice")
    if settings.precision == "float32":
        ways.append("-o finetune.precision=bfloat16")
    return [*ways, f"fewer blocks with -o finetune.from_layer={settings.from_layer + 1} or more"]


def said_of_disk(sizes: Sizes, planned: PlannedRun, folder: Path) -> str:
    """Return a sentence on the encoders that a run will leave."""
    count = encoders_of(planned)
    each = readable(BYTES * sizes.parameters)
    return (
        f"{sizes.learned:,} of the encoder's {sizes.parameters:,} numbers learn. Each fold and seed leaves an encoder "
        f"of {each}, {count} in all, and the training a snapshot: {readable(sizes.disk(count))} in {folder}."
    )


def encoders_of(planned: PlannedRun) -> int:
    """Return how many encoders a run keeps: one for each fold and seed."""
    return len(planned.dataset.split.folds) * len({config.seed for config in planned.configs})


def processes_here(ranks: Ranks) -> int:
    """Return how many of the processes share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", ranks.world)) if ranks.world > 1 else 1


def free_on(device: torch.device) -> int | None:
    """Return the bytes that are free on a device; None where the system does not tell."""
    if device.type != "cuda":
        return free_memory()
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # held by PyTorch, and free
    return torch.cuda.mem_get_info(device)[0] + unused
