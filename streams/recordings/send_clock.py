"""Event times for messages that carry none, from the stamped messages received around them."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from msgspec.structs import replace

from schemas.events import Quote

MAX_WAITING: Final = 10_000


class Stamp(NamedTuple):
    """One message that says when it was sent."""

    received: int
    """ns, the recorder's clock."""
    sent: int
    """ns, the venue's clock."""


class SendClock:
    """Reads the venue's clock off the recorder's.

    A quote without a stamp was sent between the stamped messages received before and after it. Its time is that of the
    message before plus what the recorder's clock says has passed since, and never after the message behind; before the
    first stamped message it is counted back from that one. So times never run backwards in order of receipt, whatever
    the offset between both clocks. A capture without any stamp keeps the recorder's time.
    """

    def __init__(self) -> None:
        self._before: Stamp | None = None
        self._newest = 0
        self._waiting: list[tuple[int, Quote]] = []

    def unstamped(self, received: int, quote: Quote) -> Iterator[Quote]:
        """Keep a quote until the next stamped message; gives quotes only where too many wait."""
        self._waiting.append((received, quote))
        if len(self._waiting) >= MAX_WAITING:
            yield from self.rest()

    def stamped(self, stamp: Stamp) -> Iterator[Quote]:
        """A stamped message has come: the quotes that waited, with their times."""
        yield from self._release(stamp)
        self._newest = max(self._newest, stamp.sent)
        self._before = Stamp(stamp.received, self._newest)

    def rest(self) -> Iterator[Quote]:
        """The quotes that wait where no stamped message follows."""
        yield from self._release(None)

    def _release(self, behind: Stamp | None) -> Iterator[Quote]:
        waiting, self._waiting = self._waiting, []
        for received, quote in waiting:
            at = received
            if self._before is not None:
                at += self._before.sent - self._before.received
            elif behind is not None:
                at += behind.sent - behind.received
            if behind is not None:
                at = min(at, behind.sent)
            self._newest = max(self._newest, at)
            yield replace(quote, ts_event=self._newest)
