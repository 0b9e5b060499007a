"""Transformer against a Mamba + convolution hybrid, as the core of a text-to-speech model."""
import ctypes
from contextlib import suppress

# What is freed stays with the process. By default glibc gives large blocks back to the system, which hands them out again
# zeroed, page by page: of a training step of Mamba on 8 × 4,800 frames that is more than half. Every core gains by its size.
with suppress(OSError, AttributeError):     # another C library has its own ways
    _libc = ctypes.CDLL("libc.so.6")
    _libc.mallopt(-4, 0)                    # M_MMAP_MAX: no block has pages of its own
    _libc.mallopt(-1, -1)                   # M_TRIM_THRESHOLD: nor is the end of the heap given back
