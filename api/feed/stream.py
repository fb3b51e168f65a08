"""One channel of one symbol: its count, its newest message, what it still holds, and who wants it."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from api.feed.channels import Channel
from api.feed.messages import UNSAYABLE, Gap
from api.feed.views import JSON, Piece, View

if TYPE_CHECKING:
    from api.feed.outbox import Outbox

OVERHEAD: Final = 500
"""Bytes of an update beside its payload and its text."""
_CANNOT: Final = (msgspec.MsgspecError, OverflowError, RecursionError)
"""What making a view of a payload raises that JSON can say, and the view cannot."""


class Given(NamedTuple):
    """Up to where a client has a stream: the number of its last message, and how many had passed here by then."""

    seq: int
    passed: int


class Update(msgspec.Struct, gc=False, eq=False):
    """One message of a stream. It is encoded once for each view in use, and not before somebody wants it; in views other
    than JSON again for who comes back later, since what is held of it is counted without them.

    The collector does not look at it: tens of thousands are held, and die when they are forgotten.
    """

    stream: Any
    """Its `Stream`, which lives longer."""
    seq: int
    prev: int
    payload: str
    revises: bool
    count: int
    """Messages that had passed in its stream, itself included."""
    unsayable: bool = False
    """Some view could not be made of it: clients of that view were given a gap in its place."""
    _text: str | None = None
    _viewed: dict[View, Piece] | None = msgspec.field(default_factory=dict)
    """None once it has gone out."""

    @property
    def size(self) -> int:
        """Bytes, about, with its text."""
        return 2 * len(self.payload) + OVERHEAD

    def piece(self, view: View) -> Piece:
        """The message for a client that has everything before it."""
        if view is JSON:
            if self._text is None:
                self._text = str(self._encoded(self._type, self._link, view))
            return self._text
        if self._viewed is None:
            return self._encoded(self._type, self._link, view)
        if view not in self._viewed:
            self._viewed[view] = self._encoded(self._type, self._link, view)
        return self._viewed[view]

    def gone_out(self) -> None:
        """Everybody who is there has it: views other than JSON are kept no longer."""
        self._viewed = None

    def after(self, given: Given, view: View) -> Piece:
        """The message for a client whose last one is `given`; says how many it skips."""
        skipped = self.count - given.passed - 1
        link: dict[str, int] = {"prev": given.seq} if self.stream.channel.linked else {}
        return self._encoded(self._type, link | ({"conflated": skipped} if skipped else {}), view)

    def snapshot(self, view: View) -> Piece:
        """The message for a client that begins here."""
        return self._encoded("snapshot", {}, view)

    @property
    def _type(self) -> str:
        return "revise" if self.revises else "update"

    @property
    def _link(self) -> dict[str, int]:
        return {"prev": self.prev} if self.stream.channel.linked else {}

    def _encoded(self, type_: str, notes: dict[str, int], view: View) -> Piece:
        if view.packed or view.columns:
            stream = self.stream
            message: dict[str, Any] = {"type": type_, "channel": stream.channel.name, "symbol": stream.symbol}
            try:
                return view.encode({**message, "seq": self.seq, **notes, "data": view.chosen(self.payload)})
            except _CANNOT:
                self.unsayable = True
                where = {"channel": stream.channel.name, "symbol": stream.symbol}
                return view.encode(Gap(**where, first=self.seq, last=self.seq, reason=UNSAYABLE))
        told = "".join(f',"{name}":{value}' for name, value in notes.items())
        return f'{{"type":"{type_}{self.stream.head}{self.seq}{told},"data":{self.payload}}}'


class Stream:
    """A numbered sequence of messages; the same numbers for every client."""

    __slots__ = ("channel", "count", "counted", "head", "held", "newest", "outboxes", "seq", "symbol")

    def __init__(self, channel: Channel, symbol: str) -> None:
        self.channel = channel
        self.symbol = symbol
        self.seq = 0
        """Of the newest message; 0 before the first."""
        self.count = 0
        """Messages that have passed here."""
        self.counted = False
        """Its numbers are ours: messages bear none."""
        self.newest: Update | None = None
        """Kept where the channel conflates."""
        self.held: deque[Update] = deque()
        """The last messages; `Held` bounds what all streams keep."""
        self.outboxes: dict[Outbox, None] = {}
        name, quoted = msgspec.json.encode(channel.name).decode(), msgspec.json.encode(symbol).decode()
        self.head = f'","channel":{name},"symbol":{quoted},"seq":'

    def advance(self, payload: str, seq: int | None = None, *, revises: bool = False) -> Update:
        """Take the next message; one that has no number of its own is counted here."""
        self.counted = seq is None
        prev, self.seq = self.seq, self.seq + 1 if seq is None else seq
        self.count += 1
        update = Update(self, self.seq, prev, payload, revises, self.count)
        if self.channel.conflates:
            self.newest = update
        return update

    def replace(self, forgotten: "Stream") -> None:
        """Begin for those who had that one. Numbers of our own go on behind one that nobody gets, which is the gap: a client
        would ignore those that it has had.
        """
        self.outboxes.update(forgotten.outboxes)
        if forgotten.counted:
            self.counted, self.seq = True, forgotten.seq + 1

    def seed(self, payload: str, seq: int) -> None:
        """What was newest before anything passed here; where numbers are our own, nobody knows which would be its."""
        if self.counted:
            seq = 0
        else:
            self.seq = seq
        self.newest = Update(self, seq, 0, payload, False, self.count)

    def place(self, seq: int) -> Given | None:
        """Where a client is whose last message was `seq`; None where not everything after it is held."""
        if 0 < self.seq <= seq:
            return Given(seq, self.count)
        if not self.held or seq < self._reach(self.held[0]):
            return None
        return Given(seq, self.held[0].count - 1 + bisect_right(self.held, seq, key=attrgetter("seq")))

    def after(self, given: Given) -> Iterator[Update] | None:
        """What came after it, oldest first; None where some of that is held no more."""
        oldest = self.held[0].count if self.held else self.count + 1
        first = given.passed + 1 - oldest
        return None if first < 0 else islice(self.held, first, None)

    def _reach(self, oldest: Update) -> int:
        """The lowest number after which nothing is missing; nobody knows what came before the first that passed here."""
        if self.channel.linked:
            return oldest.prev or oldest.seq
        return oldest.seq - 1


class Held:
    """The last messages of all streams together, oldest forgotten first."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._order: deque[Stream] = deque()
        self.size = 0
        """Bytes, about."""

    def keep(self, update: Update) -> None:
        """Hold one more; forget as many as are too many."""
        update.stream.held.append(update)
        self._order.append(update.stream)
        self.size += update.size
        while self.size > self._at_most:
            self.size -= self._order.popleft().held.popleft().size
