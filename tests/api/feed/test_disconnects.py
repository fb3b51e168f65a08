"""A client through everything that ends a connection: nothing is missing without a word, and nothing is wrong."""

import asyncio
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx2
import msgspec
import pytest

import api.client
from api.client import Feed, Heard, Message, Missed, Want
from api.feed.hub import FeedHub
from api.feed.inbox import Topical
from tests.api.fakes import NOW_NS, World, latest, serving, world
from tests.api.feed.said import EPOCH, SaidLog
from tests.faults.proxy import ChaosProxy, Fault

CHANNELS = ("predictions", "bars", "outcomes", "trades")
SYMBOLS = ("A", "B", "C")
EVERY_S = 0.015
ROUND = len(CHANNELS) * len(SYMBOLS)


@dataclass
class Backend:
    """A flow that says one message of every stream each few milliseconds, and one API that shows them, behind a proxy."""

    proxy: ChaosProxy = field(default_factory=lambda: ChaosProxy(0))
    log: SaidLog = field(default_factory=SaidLog)
    of: World = field(default_factory=world)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _serving: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Backend":
        self.proxy.__enter__()
        self.restart(0)
        self._saying = threading.Thread(target=self._say)
        self._saying.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_saying()
        self._serving.close()
        self.proxy.__exit__()

    def stop_saying(self) -> None:
        """The flow has nothing more to say."""
        self._stopped.set()
        self._saying.join()

    def restart(self, reads_again: int) -> None:
        """A new API process in place of the one before; it reads so many messages of the log again."""
        before, self._serving = self._serving, ExitStack()
        of = world(heartbeat_s=0.05)
        of.hub = FeedHub(of.telemetry, lambda: NOW_NS, of.limits, epoch=EPOCH)
        of.hub.filling |= set(CHANNELS)
        address, _ = self._serving.enter_context(serving(of))
        self.url = f"http://{address}"
        self.proxy.target = int(address.split(":")[1])
        with self._lock:
            of.hub.publish_many(list(self.log.tail(reads_again)) if reads_again else [])
            of.hub.between(lambda: of.hub.filled(CHANNELS))
            self.of = of
        before.close()

    def _say(self) -> None:
        while not self._stopped.wait(EVERY_S):
            with self._lock:
                self.of.hub.publish_many(self.log.round(CHANNELS, SYMBOLS))


@dataclass
class Judged:
    """What a client heard against what was said."""

    wrong: int = 0
    undetected: int = 0
    told: int = 0
    messages: int = 0


def judge(log: SaidLog, heard: Sequence[Heard]) -> Judged:
    """Independent of the client's own reckoning: by the places of the messages in what was said."""
    judged, streams = Judged(), defaultdict[tuple[str, str], list[Heard]](list)
    for one in heard:
        streams[one.channel, one.symbol].append(one)
    for stream, of_stream in streams.items():
        truth = log.truth[stream]
        place = {seq: n for n, seq in enumerate(truth)}
        at, excused = None, False
        for one in of_stream:
            if isinstance(one, Missed):
                judged.told += 1
                excused = True
                continue
            judged.messages += 1
            judged.wrong += truth.get(one.seq) != one.data["n"]
            if at is not None and place[one.seq] != at + 1 + one.conflated and not excused:
                judged.undetected += 1
            at, excused = place[one.seq], False
        judged.undetected += at != len(truth) - 1 and not excused
    judged.undetected += len(log.truth.keys() - streams.keys())
    return judged


@contextmanager
def listening(feed: Feed, heard: list[Heard]) -> Iterator[None]:
    """The client reads on a thread of its own, as a program of its own would."""

    async def listen() -> None:
        async for one in feed:
            heard.append(one)
        await feed.close()
        await asyncio.sleep(0.05)  # the loop closes what was aborted

    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as executor:
        listened = executor.submit(loop.run_until_complete, listen())
        try:
            yield
        finally:
            if not listened.done():
                asyncio.run_coroutine_threadsafe(feed.close(), loop)
            listened.result(30)
            loop.close()


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for it, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def disconnect(backend: Backend, feed: Feed, rng: random.Random, n: int) -> None:
    """End the connection somehow, and return once the client has another one."""
    connects, proxy = feed.connects, backend.proxy
    if n % 40 == 20:
        backend.restart(rng.choice([0, 2 * ROUND, 1_000, 100_000]))
    elif n % 40 == 10:
        silences = feed.silences  # a machine that is full makes silences, too
        proxy.set(Fault.blackhole())  # a dropped network: nobody says that it is gone
        until(lambda: feed.silences > silences)
    else:
        kind = rng.choice(["reset", "cut", "cut", "refuse"])
        fault = {"reset": Fault.reset(), "refuse": Fault.refuse(), "cut": Fault.cut(rng.randrange(1, 6_000))}[kind]
        proxy.set(fault)
        until(lambda: kind == "refuse" or proxy.hits > 0)
        time.sleep(rng.uniform(0.0, 0.02))
    proxy.heal()
    until(lambda: feed.connects > connects)
    time.sleep(rng.uniform(0.0, 0.05))


def test_two_hundred_disconnects_leave_no_gap_undetected_and_no_value_wrong() -> None:
    rng, heard = random.Random(20), list[Heard]()
    with Backend() as backend:
        feed = Feed(
            f"ws://127.0.0.1:{backend.proxy.port}/v1/stream", [Want(CHANNELS)], silence_s=2.0, first_wait_s=0.005
        )
        with listening(feed, heard):
            until(lambda: len(heard) > 100)
            for n in range(200):
                disconnect(backend, feed, rng, n)
            backend.stop_saying()
            until(lambda: ends_are_here(backend.log, heard))
    judged = judge(backend.log, heard)
    print(f"{feed.connects} connections, {judged}, {len(backend.log.messages)} said")
    assert (judged.wrong, judged.undetected) == (0, 0)
    assert feed.connects > 200
    assert judged.told < feed.connects  # most of what was missed came again
    assert judged.messages > 0.9 * len(backend.log.messages) - judged.told * 100


def test_a_server_that_answers_no_handshake_is_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.client, "OPEN_S", 0.2)
    with Backend() as backend:
        backend.proxy.set(Fault.blackhole())
        feed = Feed(f"ws://127.0.0.1:{backend.proxy.port}/v1/stream", [Want(CHANNELS)], first_wait_s=0.005)
        with listening(feed, heard := list[Heard]()):
            until(lambda: feed.silences > 1)
            assert feed.connects == 0
            backend.proxy.heal()
            until(lambda: len(heard) > 0)


def ends_are_here(log: SaidLog, heard: Sequence[Heard]) -> bool:
    """Whether the last message of every stream has come."""
    newest = {(one.channel, one.symbol): one.seq for one in heard[-5_000:] if isinstance(one, Message)}
    return all(newest.get(stream) == max(truth) for stream, truth in log.truth.items())


def test_the_judge_notices_what_is_missing_and_what_is_wrong() -> None:
    log = SaidLog()
    for _ in range(5):
        log.say("bars", "A")
    said = [Message("update", "bars", "A", seq, {"n": n}) for seq, n in log.truth["bars", "A"].items()]
    assert judge(log, said) == Judged(messages=5)
    assert judge(log, [*said[:2], *said[3:]]).undetected == 1
    assert judge(log, said[:-1]).undetected == 1
    assert judge(log, [*said[:2], Missed("bars", "A", 2, "gap"), *said[3:]]) == Judged(told=1, messages=4)
    assert judge(log, [msgspec.structs.replace(said[0], data={"n": 7}), *said[1:]]).wrong == 1


def test_a_session_across_an_api_restart_and_a_dropped_network_ends_equal_to_rest() -> None:
    heard = list[Heard]()
    with Backend() as backend:
        feed = Feed(f"ws://127.0.0.1:{backend.proxy.port}/v1/stream", [Want(CHANNELS)], silence_s=2.0, strict=True)
        with listening(feed, heard):
            until(lambda: len(heard) > 200)
            backend.restart(100_000)
            until(lambda: feed.connects == 2)
            backend.proxy.set(Fault.blackhole())
            until(lambda: feed.silences > 0)
            backend.proxy.heal()
            until(lambda: feed.connects >= 3)
            backend.stop_saying()
            row = latest("A", p_up=0.75, seq=len(backend.log.truth["predictions", "A"]) + 1)
            backend.of.latest.rows.append(row)
            last = msgspec.json.encode({"n": 0, "p_up": row.p_up, "src_offset": row.src_offset})
            backend.log.truth["predictions", "A"][row.seq] = 0
            backend.of.hub.publish_many([Topical("predictions", "A", last, row.seq)])
            until(lambda: ends_are_here(backend.log, heard))
            rest = httpx2.get(f"{backend.url}/v1/predictions/A").json()
    judged = judge(backend.log, heard)
    print(f"{feed.connects} connections, {judged}")
    assert judged == Judged(messages=judged.messages)
    newest = [one for one in heard if isinstance(one, Message) and (one.channel, one.symbol) == ("predictions", "A")][
        -1
    ]
    assert newest.data["p_up"] == rest["p_up"]
