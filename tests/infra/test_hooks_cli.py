"""`tickwire hooks` as users run it, on an outbox, with a worker and a listener beside."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli.main import app
from infra.clock import WallClock
from infra.hooks.listen import Listener
from infra.hooks.messages import message_of
from infra.hooks.opened import channels, open_store
from infra.hooks.outbox import Put
from infra.hooks.worker import DeliveryWorker, Policy
from infra.hooks.writes import Writes
from infra.settings import Hooks
from infra.telemetry import Telemetry
from schemas.errors import TickwireError
from tests.infra.hooks.alerts import alert

CLOCK = WallClock()
DEV = Hooks(loopback=True)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKWIRE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TICKWIRE_HOOKS__LOOPBACK", "true")
    return tmp_path / "data"


def hooks(*arguments: str, code: int = 0) -> Any:
    """What the command printed as JSON."""
    done = CliRunner().invoke(app, ["hooks", *arguments, "--json"])
    assert done.exit_code == code, (done.output, done.exception)
    return json.loads(done.stdout.splitlines()[-1])


def refused(*arguments: str) -> str:
    """Why the command did not do it."""
    done = CliRunner().invoke(app, ["hooks", *arguments])
    assert isinstance(done.exception, TickwireError), done.output
    return str(done.exception)


@contextmanager
def delivering(data: Path) -> Iterator[None]:
    """A worker of the real channels, in a thread."""
    over = threading.Event()

    async def work() -> None:
        store = open_store(data)
        writes = Writes(store.database)
        worker = DeliveryWorker(
            store.outbox, store.endpoints, writes, channels(DEV), CLOCK, Telemetry(), Policy((), timedelta(days=5))
        )
        running = asyncio.create_task(worker.run())
        while not over.is_set():
            await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.database.close()

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def listening() -> Iterator[tuple[str, list[str], list[dict[str, Any]]]]:
    """Its address, the secrets that it knows, and what it told."""
    told: list[dict[str, Any]] = []
    keys: list[str] = []
    listener = Listener(keys, told.append)
    thread = threading.Thread(target=listener.serve)
    thread.start()
    try:
        yield listener.url, keys, told
    finally:
        listener.close()
        thread.join()


def test_endpoints_are_added_listed_rotated_and_removed_and_the_secret_is_shown_once(data: Path) -> None:
    added = hooks("add", "https://example.com/in", "--rule", "rsi", "--rule", "vwap", "--description", "desk")
    endpoint = added["endpoint"]["id"]
    assert added["endpoint"]["rules"] == ["rsi", "vwap"]
    assert added["secret"].startswith("whsec_")
    assert hooks("list") == [added["endpoint"]]
    rotated = hooks("rotate", endpoint, "--overlap-hours", "1")
    assert rotated["secret"] != added["secret"]
    for words in (["list"], ["deliveries"]):
        shown = CliRunner().invoke(app, ["hooks", *words])
        assert shown.exit_code == 0
        assert "whsec_" not in shown.output
    assert hooks("remove", endpoint) == {"removed": endpoint}
    assert hooks("list") == []
    assert "no endpoint has the id" in refused("remove", endpoint)


def test_what_a_url_keeps_secret_is_not_shown(data: Path) -> None:
    hooks("add", "https://hooks.slack.com/services/T0/B0/s3cret", "--channel", "slack")
    hooks("add", "https://example.com/in?token=s3cret")
    assert [each["target"] for each in hooks("list")] == ["https://hooks.slack.com/…cret", "https://example.com/in?…"]
    store = open_store(data)
    assert [each.target[-6:] for each in store.endpoints.all()] == ["s3cret", "s3cret"]
    store.database.close()


def test_whatever_is_changed_is_recorded_first_without_what_a_url_keeps_secret(data: Path) -> None:
    endpoint = hooks("add", "https://example.com/in?token=s3cret", "--description", "desk")["endpoint"]["id"]
    hooks("rotate", endpoint)
    hooks("enable", endpoint)
    hooks("list")
    hooks("remove", endpoint)
    text = (data / "access" / "audit.jsonl").read_text()
    assert "s3cret" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["what"] for line in lines] == ["hooks add", "hooks rotate", "hooks enable", "hooks remove"]
    assert lines[0]["detail"] == {"channel": "webhook", "host": "example.com", "description": "desk"}
    assert all(line["detail"] == {"endpoint": endpoint} for line in lines[1:])


def test_what_makes_no_sense_is_refused_with_what_was_expected(data: Path) -> None:
    assert "expected https://" in refused("add", "ftp://example.com/")
    assert "no user or password" in refused("add", "https://a:b@example.com/")
    assert "Invalid enum value 'fax'" in refused("add", "https://example.com/", "--channel", "fax")
    assert "TICKWIRE_HOOKS__SMTP_URL" in refused("add", "a@example.com", "--channel", "mail")
    assert "--state" in refused("deliveries", "--state", "lost")
    assert "--endpoint" in refused("replay")
    assert "--since" in refused("replay", "--endpoint", "ep", "--since", "yesterday")
    assert "--secret-file" in refused("listen")


def test_a_ping_goes_through_the_outbox_and_says_how_it_went(data: Path) -> None:
    with listening() as (url, keys, told):
        added = hooks("add", url)
        endpoint = added["endpoint"]["id"]
        assert hooks("ping", endpoint, "--wait", "0", code=1)["attempts"] == []
        keys.append(added["secret"])
        with delivering(data):
            answer = hooks("ping", endpoint, "--wait", "20")
            assert (answer["delivery"]["state"], answer["attempts"][0]["status"]) == ("sent", 204)
            keys[:] = ["whsec_" + "A" * 44]
            wrong = hooks("ping", endpoint, "--wait", "20", code=1)
            assert wrong["attempts"][0]["status"] == 401
    assert {each["type"] for each in told} == {"ping"}


def test_dead_letters_are_replayed_and_the_listener_prints_each_id_once(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with listening() as (url, keys, told):
        added = hooks("add", url)
        endpoint, secret = added["endpoint"]["id"], added["secret"]
        store = open_store(data)
        now = CLOCK.now_ns()
        with store.database.transaction():
            store.outbox.put([Put(message_of(alert(number)), "r", now) for number in range(3)], now)
        with delivering(data):
            until_dead = time.monotonic() + 20
            while len(hooks("deliveries", "--state", "dead")) < 3:
                assert time.monotonic() < until_dead
            keys.append(secret)
            assert hooks("replay", "--endpoint", endpoint) == {"replayed": 3}
            while len(hooks("deliveries", "--state", "sent")) < 3:
                assert time.monotonic() < until_dead + 20
            one = hooks("deliveries")[0]["id"]
            assert hooks("replay", str(one)) == {"replayed": 1}
            while len(hooks("deliveries", str(one))["attempts"]) < 3:
                assert time.monotonic() < until_dead + 40
        store.database.close()
        details = hooks("deliveries", str(one))
    assert [each["outcome"] for each in details["attempts"]] == ["failed", "sent", "sent"]
    assert [each["id"] for each in told] == [message_of(alert(number)).id for number in range(3)]
    assert told[0]["line"].startswith("SIM0: vwap-dev fired")
    assert secret not in caplog.text
