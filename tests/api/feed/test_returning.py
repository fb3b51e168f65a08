"""A client that comes and goes at random, over a hub that holds little: every number is heard, or told to be missing."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from api.client import _FRAME, Message, Missed, Positions, Want
from api.feed.client import Client
from api.feed.hub import FeedHub
from api.feed.limits import FeedLimits
from infra.telemetry import Telemetry
from tests.api.fakes import NOW_NS
from tests.api.feed.said import EPOCH, SaidLog

CHANNELS = ("trades", "bars", "predictions")
SYMBOLS = ("A", "B")
SMALL = {"frame_chars": 600, "behind_chars": 600, "queue_chars": 5_000}
LITTLE, MUCH = 40_000, 10**9
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 60)),
        st.tuples(st.just("take"), st.integers(1, 8)),
        st.tuples(st.just("leave"), st.just(0)),
        st.tuples(st.just("return"), st.just(0)),
    ),
    max_size=60,
)


@dataclass
class Returning:
    """What one client has heard, over all its connections."""

    hub: FeedHub
    client: Client | None = None
    positions: Positions = field(default_factory=Positions)
    heard: dict[tuple[str, str], list[Message | Missed]] = field(default_factory=dict)

    def come(self) -> None:
        """Connect, with the numbers that we have."""
        want = Want(CHANNELS, SYMBOLS)
        self.positions.hear(_FRAME.decode(b'[{"type":"welcome","epoch":"%b"}]' % EPOCH.encode())[0])
        resume, _ = self.positions.resume(want)
        self.client = self.hub.join()
        for channel in CHANNELS:
            for symbol in SYMBOLS:
                self.client.subscriptions.add(channel, symbol)
                self.hub.attach(self.client, channel, symbol, snapshot=True, resume=resume.get(channel))

    def leave(self) -> None:
        """What waits for us is lost."""
        assert self.client is not None
        self.hub.leave(self.client, "client_left")
        self.client = None

    def take(self) -> bool:
        """One frame; whether there was one."""
        assert self.client is not None
        frame = self.client.outbox.take(0.0)
        for message in _FRAME.decode(frame or b"[]"):
            for heard in self.positions.hear(message):
                self.heard.setdefault((heard.channel, heard.symbol), []).append(heard)
        assert self.client.outbox.chars <= self.hub.limits.queue_chars
        if self.client.outbox.finished:
            self.leave()
        return frame is not None


@given(STEPS, st.sampled_from([LITTLE, MUCH]))
@settings(deadline=None, max_examples=200)
def test_every_number_is_heard_or_told_to_be_missing(steps: list[tuple[str, int]], held: int) -> None:
    limits = FeedLimits(**SMALL, held_bytes=held)
    log, hub = SaidLog(), FeedHub(Telemetry(), lambda: NOW_NS, limits, epoch=EPOCH)
    reader = Returning(hub)
    reader.come()
    for step, number in [("say", 1), ("take", 1), *steps, ("leave", 0), ("return", 0), ("say", 1), ("take", 10_000)]:
        if step == "say":
            for message in [each for _ in range(number) for each in log.round(CHANNELS, SYMBOLS)]:
                hub.deliver(message)
        elif step == "leave" and reader.client is not None:
            reader.leave()
        elif step == "return" and reader.client is None:
            reader.come()
        elif step == "take":
            for _ in range(number):
                if reader.client is None or not reader.take():
                    break
    for stream, said in log.truth.items():
        heard = reader.heard[stream]
        accounted(list(said), said, heard)
        why = {each.why for each in heard if isinstance(each, Missed)}
        assert held == LITTLE or why <= {"slow_client"}, "what is held comes, and in order"


def accounted(seqs: list[int], said: dict[int, int], heard: list[Message | Missed]) -> None:
    """From the first message heard on, each follows the one before, but for those it stands for or that are told missing."""
    at, missing = seqs.index(next(each.seq for each in heard if isinstance(each, Message))) - 1, False
    for each in heard:
        if isinstance(each, Missed):
            missing = True
            continue
        assert each.data["n"] == said[each.seq]
        now = seqs.index(each.seq)
        assert now > at
        assert missing or now == at + 1 + each.conflated
        at, missing = now, False
    assert missing or at == len(seqs) - 1, "the last message comes to a client that is there"
