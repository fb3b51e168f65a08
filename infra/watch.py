"""A thread that looks, again and again, whether what is under way may go on, and ends it where it may not."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import structlog

from schemas.errors import BackendError, TickwireError


class Watch(ABC):
    """Looks every `every_s` seconds while its block runs; calls `stop` once there is a reason to end, and keeps the reason."""

    def __init__(self, name: str, every_s: float, stop: Callable[[], None]) -> None:
        self._every_s, self._stop = every_s, stop
        self._found: TickwireError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=5)
        if kind is not None and issubclass(kind, SystemExit):  # what was under way was told to end: by us?
            self.complain()

    @abstractmethod
    def reason_to_end(self) -> TickwireError | None:
        """None where all is well; raises BackendError where it could not be looked, which ends nothing."""

    def look(self) -> bool:
        """Whether what is under way may go on."""
        try:
            found = self.reason_to_end()
        except BackendError as error:
            structlog.get_logger().warning("could not be looked at", watch=self._thread.name, reason=str(error))
            return True
        if found is None:
            return True
        self._found = found
        structlog.get_logger().error("told to end", watch=self._thread.name, reason=str(found))
        self._stop()
        return False

    def complain(self) -> None:
        """Raises the reason to end where there was one."""
        if self._found is not None:
            raise self._found

    def _watch(self) -> None:
        while not self._over.wait(self._every_s) and self.look():
            pass
