"""Give memory back to the system that is no longer used.

# Note [A hash of a password leaves its memory behind]

glibc gives a large block pages of its own, which go back to the system when it is freed, and takes
that as a sign that such blocks are short-lived: from then on it cuts blocks of that size from its
heaps, of which it makes several for threads, and keeps what is freed. A password's hash wants
19 MiB, so a web process would grow by that for every few log-ins that come at the same time, up to
200 MB. A threshold that is set does not move.

Source: mallopt(3), M_MMAP_THRESHOLD.
"""

import ctypes

# Of glibc's <malloc.h>.
_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 1024 * 1024


def return_large_blocks() -> bool:
    """Have every block of `LARGE_BYTES` and more given back to the system when it is freed.

    Return whether the system's allocator knows such a threshold.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
