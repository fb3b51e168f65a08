"""One recorded session of a client, over lost networks, a killed API and a killed flow, against what REST says was stored."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import httpx2
import pytest

from api.client import LONGEST_WAIT_S, Feed, Heard, Message, Missed, Want
from api.times import to_rfc3339
from infra.embedded.instance import read_run_state
from tests.faults.proxy import ChaosProxy, Fault
from tests.product.running import Product, running
from tests.services.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]
CHANNELS = ("predictions", "trades", "outcomes", "bars")
SILENCE_S = LONGEST_WAIT_S + 5.0
SETTINGS = {"TICKWIRE_MODELS__HISTORY": "300", "TICKWIRE_SOURCE__SIM_RATE": "150"}


@dataclass
class Session:
    """A client on a thread of its own; everything it heard, in order, and every frame as it came."""

    feed: Feed
    heard: list[Heard] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    began: str = field(default_factory=lambda: to_rfc3339(time.time_ns()))

    @contextmanager
    def listening(self) -> Iterator[None]:
        self.feed.record = self.frames.append
        loop = asyncio.new_event_loop()
        with ThreadPoolExecutor(1) as executor:
            running = executor.submit(loop.run_until_complete, self._listen())
            try:
                yield
            finally:
                asyncio.run_coroutine_threadsafe(self.feed.close(), loop)
                running.result(30)
                loop.close()

    async def _listen(self) -> None:
        async for one in self.feed:
            self.heard.append(one)
        await asyncio.sleep(0.05)

    def goes_on(self) -> None:
        """Until it hears something new in every channel."""
        since = len(self.heard)
        until(
            "every channel again",
            lambda: {one.channel for one in self.heard[since:] if isinstance(one, Message)} >= {*CHANNELS},
            within_s=90,
        )

    def of(self, channel: str, symbol: str) -> list[Heard]:
        return [one for one in self.heard if (one.channel, one.symbol) == (channel, symbol)]


def service(product: Product, name: str) -> int:
    state = read_run_state(product.data)
    assert state is not None
    (pid,) = [each.pid for each in state.services if each.name == name]
    return pid


def stored(client: httpx2.Client, path: str, **asked: str) -> list[dict[str, Any]]:
    """Every row, page by page, in the order of the log."""
    answer = client.get(path, params={"start": "1970-01-01", "limit": "5000", **asked})
    rows = answer.json()["data"]
    while "next" in answer.links:
        answer = client.get(answer.links["next"]["url"])
        rows += answer.json()["data"]
    return sorted(rows, key=_said_at)


@dataclass
class Judged:
    """Of one stream: what was heard against every row that was stored, in the order in which the flow said them."""

    began: str
    """When the client came, RFC 3339: what nobody had said since then, it did not have to hear."""
    undetected: int = 0
    wrong: int = 0
    told: int = 0
    messages: int = 0

    def judge(
        self, heard: list[Heard], rows: list[dict[str, Any]], key: Callable[[Any], Any], same: tuple[str, ...]
    ) -> None:
        place = {key(row): number for number, row in enumerate(rows)}
        assert len(place) == len(rows)
        at, excused, seen = None, False, set[int]()
        for one in heard:
            if isinstance(one, Missed):
                self.told, excused = self.told + 1, True
                continue
            self.messages += 1
            here = place[key(one.data)]
            if here in seen:  # what a venue sends twice is on the log twice, and in the history once
                continue
            seen.add(here)
            self.wrong += any(one.data[name] != rows[here][name] for name in same)
            if at is not None and here != at + 1 + one.conflated and not excused:
                self.undetected += 1
            at, excused = here, False
        silent = not heard and (not rows or rows[-1]["ts_ingest"] < self.began)
        self.undetected += at != len(rows) - 1 and not excused and not silent

    def judge_sets(self, heard: list[Heard], rows: list[dict[str, Any]], same: tuple[str, ...]) -> None:
        """The same of outcomes: those of one record are said at once, in an order that means nothing."""
        stored = {_said_at(row): row for row in rows}
        runs = [[*run] for is_told, run in groupby(heard, lambda one: isinstance(one, Message)) if is_told]
        self.told += len(heard) - sum(map(len, runs))
        for run in runs:
            said = {_said_at(one.data): one.data for one in run if isinstance(one, Message)}
            self.messages += len(said)
            self.wrong += sum(any(data[name] != stored[key][name] for name in same) for key, data in said.items())
            first, last = min(said)[0], max(said)[0]
            if run is runs[-1] and isinstance(heard[-1], Message):
                last = rows[-1]["src_offset"] + 1
            inside = [{key for key in keys if first < key[0] < last} for keys in (stored, said)]
            self.undetected += len(inside[0] ^ inside[1])


def disturbances(product: Product, proxy: ChaosProxy) -> Iterator[tuple[str, Callable[[], None]]]:
    """A dropped network in three ways, the API killed and told to end, the flow killed and told to end, both at once."""

    def network(fault: Fault, seconds: float) -> None:
        proxy.set(fault)
        time.sleep(seconds)
        proxy.heal()

    yield "reset", lambda: network(Fault.reset(), 0.5)
    yield "blackhole", lambda: network(Fault.blackhole(), 7.0)
    yield "refused", lambda: network(Fault.refuse(), 2.0)
    for name in ("api", "score"):
        for number in (signal.SIGKILL, signal.SIGTERM):
            yield f"{name} {number.name}", lambda name=name, number=number: os.kill(service(product, name), number)

    def both() -> None:
        for name in ("score", "api"):
            os.kill(service(product, name), signal.SIGKILL)

    yield "both", both


def test_a_session_over_restarts_and_lost_networks_has_no_gap_that_is_not_told_and_ends_equal_to_rest(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running(tmp_path_factory.mktemp("session") / "data", "sim", **SETTINGS) as product:
        port = int(product.addresses["api_port"])
        with ChaosProxy(port) as proxy:
            session = Session(Feed(f"ws://127.0.0.1:{proxy.port}/v1/stream", [Want(CHANNELS)], headers=product.key))
            with session.listening():
                session.goes_on()
                for name, disturb in disturbances(product, proxy):
                    before = session.feed.connects
                    disturb()
                    if not name.startswith("score"):
                        until(f"connecting again after {name}", lambda: session.feed.connects > before, within_s=60)  # noqa: B023
                    session.goes_on()
                os.kill(service(product, "collect"), signal.SIGSTOP)  # no more events; what is on its way comes
                try:
                    _settle(session, product)
                    _judge(session, product, port)
                finally:
                    os.kill(service(product, "collect"), signal.SIGCONT)
        recorded = product.data / "session.jsonl"
        recorded.write_text("\n".join(session.frames))
        told = json.loads(product.tickwire("verify", "--capture", str(recorded), "--json"))
        assert {
            name: told[name] for name in ("lost", "duplicate", "wrong", "mismatched_feature_bits", "gaps")
        } == dict.fromkeys(("lost", "duplicate", "wrong", "mismatched_feature_bits", "gaps"), 0)


def _settle(session: Session, product: Product) -> None:
    """Until the log has been folded to its end, and nothing has come for longer than the client takes to come back."""
    counted, since = -1, time.monotonic()

    def settled() -> bool:
        nonlocal counted, since
        ready = httpx2.get(f"http://127.0.0.1:{product.addresses['api_port']}/readyz")
        if len(session.heard) != counted or ready.status_code != 200 or ready.json()["lag"]:
            counted, since = len(session.heard), time.monotonic()
        return time.monotonic() - since > SILENCE_S

    until("silence", settled, within_s=180, every_s=0.2)
    assert product.process.poll() is None


def _judge(session: Session, product: Product, port: int) -> None:
    judged = Judged(session.began)
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=product.key, timeout=30) as client:
        for symbol in client.get("/v1/symbols").json()["data"]:
            newest = client.get(f"/v1/predictions/{symbol}").json()
            last = [one for one in session.of("predictions", symbol) if isinstance(one, Message)][-1]
            for name in ("src_offset", "p_up", "online", "onnx", "price"):
                assert last.data[name] == newest[name], (symbol, name, session.of("predictions", symbol)[-3:])
            judged.judge(
                session.of("predictions", symbol), stored(client, f"/v1/predictions/{symbol}/history"),
                lambda row: row["src_offset"], ("p_up", "online", "onnx", "price", "champion"),
            )  # fmt: skip
            trades = [
                one for one in session.of("trades", symbol) if isinstance(one, Missed) or one.data["type"] == "trade"
            ]
            judged.judge(
                trades, stored(client, f"/v1/trades/{symbol}"), lambda row: row["seq"], ("price", "size", "venue")
            )
            judged.judge_sets(
                session.of("outcomes", symbol), stored(client, f"/v1/outcomes/{symbol}"),
                ("label", "price", "price_matured", "online", "onnx"),
            )  # fmt: skip
    print(judged, f"{session.feed.connects} connections, {len(session.frames)} frames")
    assert (judged.undetected, judged.wrong) == (0, 0)
    assert judged.messages > 2_000


def _said_at(row: Any) -> tuple[int, int, int]:
    return row["src_offset"], row.get("predicted_offset", 0), row.get("horizon_ns", 0)
