"""History over REST: complete, ascending, and honest about what is not to be had."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from schemas.errors import InputError
from streams.collectors.backfill import CoinbaseRest, backfill, newest_of, reachable
from tests.services.processes import free_ports
from tests.streams.collectors.exchange import LocalExchange, running
from tests.streams.writers import StepClock, WallClock


@contextmanager
def rest(script: LocalExchange) -> Iterator[tuple[CoinbaseRest, StepClock]]:
    clock = StepClock(0)
    with running(script) as exchange:
        client = CoinbaseRest(exchange.rest_url, clock)
        yield client, clock
        client.close()


def ids(script: LocalExchange, after: int, before: int | None) -> list[int]:
    with rest(script) as (client, _):
        return [match.trade_id for match in client.between("BTC-USD", after, before, within_s=10)]


@pytest.mark.parametrize(("after", "before"), [(10, 60), (10, None), (0, 2), (99, None), (99, 101), (3, 4), (100, 100)])
@pytest.mark.parametrize("page", [1, 7, 1_000])
def test_what_lies_between_two_numbers_comes_whole_and_ascending(after: int, before: int | None, page: int) -> None:
    known = list(range(1, 101))
    script = LocalExchange([], history={"BTC-USD": known}, page=page)
    assert ids(script, after, before) == [each for each in known if after < each < (before or 101)]


def test_trades_that_the_exchange_has_forgotten_are_left_out() -> None:
    assert ids(LocalExchange([], history={"BTC-USD": [1, 2, 5, 9]}), 1, 9) == [2, 5]
    assert ids(LocalExchange([], history={"BTC-USD": []}), 1, 9) == []


def test_a_request_that_fails_twice_is_made_a_third_time() -> None:
    assert ids(LocalExchange([], history={"BTC-USD": [1, 2, 3]}, failures=2), 0, 4) == [1, 2, 3]
    assert ids(LocalExchange([], history={"BTC-USD": [1, 2, 3]}, failures=3), 0, 4) == []


def test_requests_are_spaced_as_the_exchange_asks() -> None:
    with rest(LocalExchange([], history={"BTC-USD": list(range(1, 51))}, page=10)) as (client, clock):
        client.between("BTC-USD", 0, None, within_s=10)
    assert len(clock.slept) == 5
    assert min(clock.slept) >= 0.1


class Forgetful(LocalExchange):
    """Answers its first page, then with errors."""

    def trades(self, path: str) -> tuple[int, bytes]:
        status, body = super().trades(path)
        self.failures = 99
        return status, body


def test_where_pages_fail_the_newest_trades_alone_are_not_given_for_all_up_to_the_newest() -> None:
    known = list(range(1, 51))
    assert ids(Forgetful([], history={"BTC-USD": known}, page=10), 0, None) == []
    assert ids(Forgetful([], history={"BTC-USD": known}, page=10), 0, 51) == list(range(41, 51))


@contextmanager
def dripping(body: bytes, every_s: float) -> Iterator[str]:
    """A server whose answers begin with `body` and go on by a byte now and then."""
    over = threading.Event()

    class Drip(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(body)
            while not over.wait(every_s):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Drip) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            over.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("body", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n["], ids=["mute", "drops"])
@pytest.mark.parametrize("before", [9, None])
def test_an_exchange_that_is_too_slow_is_given_up_in_time(body: bytes, before: int | None) -> None:
    with dripping(body, 0.05 if body else 60.0) as url:
        client, begin = CoinbaseRest(url, WallClock()), time.monotonic()
        assert client.between("BTC-USD", 1, before, within_s=0.4) == []
        assert time.monotonic() - begin < 2.0
        client.close()


def test_a_long_outage_has_time_for_all_its_pages() -> None:
    with running(LocalExchange([], history={"BTC-USD": list(range(1, 9))}, page=1)) as exchange:
        client, begin = CoinbaseRest(exchange.rest_url, WallClock()), time.monotonic()
        found = client.between("BTC-USD", 0, 9, within_s=0.5)
        client.close()
    assert [match.trade_id for match in found] == list(range(1, 9))
    assert time.monotonic() - begin > 0.5


def test_a_product_that_does_not_exist_is_refused() -> None:
    with rest(LocalExchange([])) as (client, _), pytest.raises(InputError, match="no product 'NO-SUCH'"):
        client.between("NO-SUCH", 0, None, within_s=10)


def test_a_backfill_is_the_newest_trades_of_every_product_by_time() -> None:
    script = LocalExchange([], history={"A-USD": list(range(1, 120)), "B-USD": list(range(40, 60))}, page=50)
    with rest(script) as (client, clock):
        client_pages = backfill(client, ["A-USD", "B-USD"], 1, clock.now_ns)
    times = [trade.ts_event for trade in client_pages]
    assert times == sorted(times)
    assert [trade.seq for trade in client_pages if trade.symbol == "A-USD"] == list(range(70, 120))
    assert [trade.seq for trade in client_pages if trade.symbol == "B-USD"] == list(range(40, 60))
    assert {symbol: trade.seq for symbol, trade in newest_of(client_pages).items()} == {"A-USD": 119, "B-USD": 59}
    assert {trade.ts_ingest for trade in client_pages} == {clock.ns}, "the clock is asked when the pages are there"
    assert clock.ns > 0


def test_an_exchange_that_answers_is_reachable_and_a_closed_port_is_not() -> None:
    with running(LocalExchange([])) as exchange:
        assert reachable(exchange.rest_url)
    (port,) = free_ports(1)
    assert not reachable(f"http://127.0.0.1:{port}")


def test_an_exchange_that_accepts_and_says_nothing_is_not_reachable_after_the_timeout() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        begin = time.monotonic()
        assert not reachable(f"http://127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.3)
        assert time.monotonic() - begin < 2.0
