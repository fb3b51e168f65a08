"""The wall clock, for the edge."""

import time


class WallClock:
    """`streams.ports.Clock`."""

    def now_ns(self) -> int:
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
