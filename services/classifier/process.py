"""Settings of this process that have to be made before torch is loaded. Knows glibc and OpenMP, nothing of models.

Measured on 2 cores shared with other work (mini, bfloat16, batch 32; docs/reference/performance.md): CPU time an image
52 ms as it comes, 17 ms when waiting threads sleep, 11 ms when freed memory is kept as well.
"""

from __future__ import annotations

import ctypes
import os

# mallopt(3): parameter numbers of <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_KEEP_ALL = 2**31 - 1
_GROW_BY_BYTES = 64 * 2**20


def tune() -> bool:
    """Before torch is loaded: let OpenMP threads sleep when they wait, and threads share a heap; say whether glibc did.

    Spinning threads take the cores that decoding, and the other services of a machine, could use. A user's own
    OMP_WAIT_POLICY or GOMP_SPINCOUNT stays. One heap lets the model's thread use the pages that keep_memory() keeps.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return _mallopt((_M_ARENA_MAX, 1))


def keep_memory() -> bool:
    """Once the model is loaded: give back what loading took, then keep what forwards free; return whether glibc did.

    A forward allocates and frees the same hundreds of MB again and again. glibc hands blocks of that size back to the
    kernel each time, and half of the time goes into page faults.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # macOS, musl
        return False
    return _mallopt((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEEP_ALL), (_M_TOP_PAD, _GROW_BY_BYTES))


def _mallopt(*wanted: tuple[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # macOS, musl
        return False
    taken = [bool(mallopt(parameter, value)) for parameter, value in wanted]
    return all(taken)
