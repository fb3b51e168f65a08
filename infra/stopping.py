"""The end of a process: told by a signal or by one of its parts, and soon, whatever it is waiting for."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

GRACE_S: Final = 2.0
"""Between being told and ending: what a healthy process needs to stop by itself is a tenth of it."""
LAST_RESORT_S: Final = 2.0
"""After that, before the kernel ends a process that cannot even end itself (SIGALRM): the interpreter may hang as it ends."""
log: Final = logging.getLogger(__name__)


class Stop(threading.Event):
    """Asked by everything that loops; a process that does not come to its end within `grace_s` is ended where it stands.

    That is safe by design: what it was doing belongs to an epoch that was not committed, and is done again. Parts that wait
    for a service that hangs (a flush in librdkafka, an insert) cannot be made to return, hence this.
    """

    def __init__(self, grace_s: float = GRACE_S) -> None:
        super().__init__()
        self._grace_s = grace_s
        self._over = threading.Event()
        self._code = 0

    def set(self) -> None:
        """It is time to end."""
        self.ask()

    def ask(self, code: int = 0) -> None:
        """The same, from any thread; `code`: the exit status if the end has to be forced."""
        if not self.is_set():
            self._code = code
            signal.setitimer(signal.ITIMER_REAL, self._grace_s + LAST_RESORT_S)
            super().set()
            threading.Thread(target=self._force, name="stop", daemon=True).start()

    def over(self) -> None:
        """What the process was started for has ended by itself; where that was asked for, the rest may not hang either."""
        self._over.set()
        super().set()

    def on_signals(self) -> None:
        """SIGTERM and SIGINT ask, also while the main thread is inside of a library that does not return."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: None)
        signal.set_wakeup_fd(
            write, warn_on_full_buffer=False
        )  # written to by the kernel's side of the handler, at once
        threading.Thread(target=self._listen, args=(read,), name="signals", daemon=True).start()

    def _listen(self, read: int) -> None:
        while os.read(read, 1):
            self.ask()

    def _force(self) -> None:
        if not self._over.wait(self._grace_s):
            log.warning("still waiting for a service %g s after being told to stop: ending without it", self._grace_s)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(self._code)


@contextmanager
def ending(stop: Stop) -> Iterator[None]:
    """A process that leaves the block has come to its end by itself."""
    try:
        yield
    finally:
        stop.over()
