"""How running out of memory is told from other errors."""

from __future__ import annotations

import errno

import torch

# Messages of allocators that raise a plain RuntimeError when out of memory: the CPU's on Linux and Windows, the
# driver, the C++ library and oneDNN; and Python's where a thread has no room for its stack.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "could not create a memory object",
    "can't start new thread",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if the error means that a CPU or GPU is out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return any(message in str(error) for message in OUT_OF_MEMORY)
