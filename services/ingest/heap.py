"""Keeps the memory of one flush for the next.

A flush makes arrays of megabytes and drops them. By itself glibc gives such blocks back to the kernel each
time, and to get them again, page by page, costs as much as the whole of a flush's computing.
"""

import contextlib
import ctypes
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
KEEP_BYTES: Final = 256 * 1024 * 1024
LARGEST_BLOCK: Final = 32 * 1024 * 1024
"""glibc takes no more."""


def keep_heap() -> None:
    """For this process; does nothing where the C library is another."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
        library.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
