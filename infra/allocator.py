"""Memory: glibc's allocator, told to give back what a backlog took; and Python's collector, told what stays.

Left alone it learns from what is freed that large blocks come and go, and then keeps them: a scoring process that has read a
backlog holds the room for it for ever, once for each of the Kafka client's threads.
"""

import ctypes
import gc
import time
from collections.abc import Callable
from threading import Thread
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
"""As in `malloc.h`."""
LARGE: Final = 512 << 10
"""Bytes. Larger than any block of the fold, smaller than a full answer of the broker: that one has pages of its own."""
KEPT: Final = 4 << 20
ARENAS: Final = 2
TIDY_EVERY_S: Final = 10.0


def settled() -> None:
    """What has been made by now lives as long as the process: the collector need not look at it again, and again.

    A million objects of imported libraries cost it 100 to 270 ms each time, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()


def give_back() -> bool:
    """Set it up, before threads are started; False on a system whose allocator is another one, and needs or takes no advice."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    wanted = ((M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, KEPT))
    taken = [mallopt(what, value) for what, value in wanted]
    return all(taken)


def tidy(every_s: float = TIDY_EVERY_S) -> None:
    """Give back, again and again, what lies free between blocks in use: a thread does it, a few milliseconds each time.

    What a process holds is then what it uses, and the next backlog does not begin on top of the last one.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        Thread(target=_tidy, args=(trim, every_s), name="memory", daemon=True).start()


def _tidy(trim: Callable[[int], int], every_s: float) -> None:
    while True:
        time.sleep(every_s)
        trim(0)
