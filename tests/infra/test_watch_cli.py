"""`tickwire watch` beside an API that says no, nothing, or nonsense; and in a pipe that nobody reads."""

import errno
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import httpx2
import pytest
from pydantic import SecretStr
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from infra.cli import main
from infra.cli.watch import Screen, _follow, run
from infra.settings import Api, ClickHouse, Kafka, Redis, Settings
from schemas.errors import BackendError, InputError

WELCOME = {"type": "welcome", "session": "s"}


def ack(*taken: str, rejected: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    subscriptions = {"predictions": list(taken)} if taken else {}
    return {"type": "ack", "id": 1, "op": "subscribe", "subscriptions": subscriptions, "rejected": list(rejected)}


def update(symbol: str, **more: int) -> dict[str, Any]:
    row = {"symbol": symbol, "price": 1.0, "online": 0.5, "onnx": None, "p_up": 0.5, "ts_ingest": time.time_ns()}
    return {"type": "update", "channel": "predictions", "symbol": symbol, "seq": 1, "data": row, **more}


@contextmanager
def api(*messages: dict[str, Any]) -> Iterator[Settings]:
    """Settings of an API whose feed answers the subscription with these, a frame each, and stays."""
    over = threading.Event()

    def speak(feed: ServerConnection) -> None:
        feed.send(json.dumps([WELCOME]))
        feed.recv(timeout=10)
        for message in messages:
            feed.send(json.dumps([message]))
        over.wait(30)

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/v1/stream":
            return None
        return connection.respond(200, '{"lag": 7, "features": {"spread": 0.5}}')

    with serve(speak, "127.0.0.1", 0, process_request=answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield at(server.socket.getsockname()[1])
        finally:
            over.set()
            server.shutdown()
            thread.join()


def at(port: int) -> Settings:
    return Settings(
        kafka=Kafka(bootstrap="k:1"), clickhouse=ClickHouse(url=SecretStr("http://c/")),
        redis=Redis(url=SecretStr("redis://r/0")), api=Api(port=port, key=SecretStr("k")),
    )  # fmt: skip


def test_what_is_heard_and_asked_is_a_line_each_second(capsys: pytest.CaptureFixture[str]) -> None:
    with api(ack("A"), update("A")) as settings:
        run(settings, "A", seconds=1.6, as_json=True)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["lag"] == 7
    assert last["symbols"]["A"]["features"] == {"spread": 0.5}


def test_a_symbol_that_there_is_not_is_told_and_the_others_are_watched(capsys: pytest.CaptureFixture[str]) -> None:
    with api(ack("A", rejected=[{"code": "unknown_symbol", "symbol": "AAPPL"}]), update("A")) as settings:
        run(settings, "A,AAPPL", seconds=0.3, as_json=True)
    said = capsys.readouterr()
    assert "not watched: AAPPL (unknown_symbol)" in said.err
    assert set(json.loads(said.out.splitlines()[-1])["symbols"]) == {"A"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ack(rejected=[{"code": "unknown_symbol", "symbol": "AAPPL"}]), r"AAPPL \(unknown_symbol\)"),
        (ack(rejected=[{"code": "forbidden_channel", "channel": "predictions"}]), r"predictions \(forbidden_channel\)"),
        ({"type": "error", "code": "bad_message", "message": "too long"}, "too long"),
    ],
    ids=["symbol", "channel", "message"],
)
def test_where_nothing_is_taken_the_command_ends_with_the_reason(answer: dict[str, Any], why: str) -> None:
    with api(answer) as settings, pytest.raises(InputError, match=why):
        run(settings, "AAPPL", seconds=3, as_json=True)


class Pipe:
    """Where nobody reads any more."""

    encoding = "utf-8"

    def write(self, _: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_pipe_that_nobody_reads_ends_it_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with api(ack("A"), update("A")) as settings:
        monkeypatch.setattr("infra.cli.main._settings", lambda: settings)
        monkeypatch.setattr(sys, "argv", ["tickwire", "watch", "--json", "--seconds", "10"])
        monkeypatch.setattr(sys, "stdout", Pipe())
        with pytest.raises(SystemExit) as ended:
            main.main()
    assert ended.value.code == 1
    assert "Broken pipe" not in capsys.readouterr().err


def test_a_port_of_something_else_is_told_in_a_line() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def speak() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(BackendError, match="expected the API at"):
            run(at(server.getsockname()[1]), "*", seconds=3, as_json=True)
        thread.join()


class HeldFeed:
    """One frame after the other; `heard` once three were taken."""

    def __init__(self) -> None:
        self.heard, self._taken = threading.Event(), 0

    def recv(self, timeout: float) -> bytes:
        self._taken += 1
        if self._taken > 3:
            self.heard.set()
        return json.dumps([update("A")]).encode()


class HeldRest:
    """Answers when the feed was heard meanwhile."""

    def __init__(self, feed: HeldFeed) -> None:
        self._feed = feed
        self.heard: list[bool] = []

    def get(self, path: str) -> httpx2.Response:
        self.heard.append(self._feed.heard.wait(3))
        return httpx2.Response(200, json={"lag": 0, "features": {}})


def test_the_feed_is_heard_while_rest_is_slow() -> None:
    feed = HeldFeed()
    rest, screen = HeldRest(feed), Screen()
    _follow(cast(Any, feed), cast(Any, rest), screen, until=time.time() + 0.3, as_json=True)
    assert rest.heard
    assert all(rest.heard)
    assert screen.lag == 0


def test_what_asking_by_rest_has_met_ends_it() -> None:
    class Gone:
        def get(self, path: str) -> httpx2.Response:
            raise httpx2.ConnectError("refused")

    with pytest.raises(httpx2.ConnectError):
        _follow(cast(Any, HeldFeed()), cast(Any, Gone()), Screen(), until=time.time() + 5, as_json=True)


def test_updates_that_were_skipped_for_a_newer_one_count_in_the_rate() -> None:
    screen = Screen()
    screen.hear([update("A"), update("A", conflated=8)])
    assert screen.rate() == 2.0
