"""Transformer against a Mamba + convolution hybrid, as the core of a text-to-speech model."""
import ctypes
import os
from contextlib import suppress

# Read once, when torch loads its OpenMP. By default a thread of it that has nothing to do keeps its processor for some
# milliseconds, and a kernel of ours that comes next shares it: half of the time of a scan of 8 × 300 frames.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4       # of malloc.h


def keep_freed_memory(keep: bool) -> None:
    """Whether what is freed stays with the process. By default glibc gives large blocks back to the system, which hands
    them out again zeroed, page by page: more than half of a training step of Mamba on 8 × 4,800 frames."""
    with suppress(OSError, AttributeError):     # another C library has its own ways
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0 if keep else 65_536)
        libc.mallopt(M_TRIM_THRESHOLD, -1 if keep else 131_072)
        if not keep:
            libc.malloc_trim(0)


keep_freed_memory(True)
