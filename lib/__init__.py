"""Transformer against a Mamba + convolution hybrid, as the core of a text-to-speech model."""
from . import command

command.leave_when_told()       # before anything else is imported

# isort: split
import atexit
import ctypes
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from .config import workspace

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


def cache_folder() -> Path:
    """data/cache of the workspace; where that cannot be written, a temporary folder that goes with the process."""
    folder = workspace() / "data" / "cache"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="tts-cache-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def place_caches() -> None:
    """Tell others, before they are imported, where to keep what they compile. numba refuses to compile without a folder
    that can be written, and finds what it compiled by the file of a kernel alone, whatever another has become that it inlines:
    so each state of the kernels' sources has a folder. matplotlib, IPython and Triton want the home, which in many containers
    nobody can write."""
    places = {"NUMBA_CACHE_DIR": "numba"}
    if not os.access(os.path.expanduser("~"), os.W_OK):
        places |= {"MPLCONFIGDIR": "matplotlib", "IPYTHONDIR": "ipython", "TRITON_CACHE_DIR": "triton"}
    if missing := places.keys() - os.environ.keys():
        folder = cache_folder()
        os.environ |= {name: str(folder / places[name]) for name in missing}
        if "NUMBA_CACHE_DIR" in missing:
            sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*/*.py"))]
            os.environ["NUMBA_CACHE_DIR"] += f"/{crc32(b''.join(source for source in sources if b'njit' in source)):08x}"


keep_freed_memory(True)
place_caches()
