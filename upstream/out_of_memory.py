"""How running out of memory is told from other errors."""

from __future__ import annotations

import errno
import sys

from upstream.errors import UserError, message_of

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
    torch = sys.modules.get("torch")  # where it was not imported, nothing of it was raised
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    if isinstance(error, UserError):
        return False  # a sentence, which may quote such a message, or the name of a file
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = message_of(error)
    return any(message in said for message in OUT_OF_MEMORY)
