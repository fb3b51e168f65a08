"""The delivery process on an embedded broker: every alert arrives, by id exactly once, through kills at any moment."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.hooks.messages import message_id
from schemas.topics import ALERTS, DEAD_LETTERS
from tests.infra.hooks.alerts import alert
from tests.infra.hooks.delivery import Inbox, add_endpoint, make_topics, program, say
from tests.services.processes import until
from tests.streams.agents.broker import Broker, embedded_broker

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]
PLACES = (
    "alerts.before_put:kill@7", "alerts.after_put:kill@40", "hooks.before_send:kill@9", "hooks.after_send:kill@6",
    "hooks.after_record:kill@5",
)  # fmt: skip
RANDOM_KILLS = 3


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with embedded_broker(tmp_path) as running:
        make_topics(running)
        yield running


def test_every_alert_arrives_by_id_exactly_once_through_kills_at_any_moment(broker: Broker, tmp_path: Path) -> None:
    data, rng = tmp_path / "data", random.Random(5)
    said: list[str] = []
    over = threading.Event()

    def talk() -> None:
        number = 0
        while not over.is_set():
            some = [alert(each) for each in range(number, number + 3)]
            say(broker, some)
            said.extend(message_id(each) for each in some)
            number += 3
            time.sleep(0.1)

    with Inbox(fail_every=11).open() as inbox:
        add_endpoint(data, inbox, concurrency=4)
        talking = threading.Thread(target=talk)
        talking.start()
        try:
            for number, place in enumerate(PLACES):
                process = program(data, broker, tmp_path / f"{number}.log", FP=place)
                process.start()
                child = process.child
                assert child is not None
                until(f"{place}\n{process.tail()}", lambda child=child: child.poll() is not None, within_s=60)  # type: ignore[misc]
                assert child.returncode == -9, process.tail()
            for _ in range(RANDOM_KILLS):
                process = program(data, broker, tmp_path / "random.log")
                process.start()
                before, pause_s = inbox.posts, rng.uniform(0, 0.8)
                until("an attempt", lambda before=before: inbox.posts > before, within_s=60)  # type: ignore[misc]
                time.sleep(pause_s)
                process.kill()
        finally:
            over.set()
            talking.join()
        process = program(data, broker, tmp_path / "last.log")
        process.start()
        try:
            until(f"{len(said)} alerts arriving", lambda: inbox.ids.keys() >= set(said), within_s=120)
        finally:
            process.stop()
        assert set(inbox.ids) == set(said), "nothing lost, nothing invented"
        assert inbox.bad == 0, "every signature verifies"
        print(f"{len(PLACES) + RANDOM_KILLS} kills, {len(said)} alerts, {inbox.posts} posts, {len(inbox.ids)} ids")


def test_what_is_no_alert_goes_to_the_dead_letters_and_the_rest_arrives(broker: Broker, tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = program(data, broker, tmp_path / "log")
    with Inbox().open() as inbox:
        add_endpoint(data, inbox)
        say(broker, [alert(0)])
        broker.produce(ALERTS.name, [(b"a", b"junk"), (b"b", b'{"id":"x"}')])
        say(broker, [alert(1)])
        process.start()
        try:
            until("two alerts", lambda: len(inbox.ids) == 2, within_s=60)
            until("two dead letters", lambda: broker.count(DEAD_LETTERS.name) == 2, within_s=60)
            second = program(data, broker, tmp_path / "second.log")
            second.start()
            child = second.child
            assert child is not None
            until("the second process refusing", lambda: child.poll() is not None, within_s=60)
            assert child.returncode == 75
        finally:
            child = process.child
            process.stop()
        assert child is not None
        assert child.returncode == 0, process.tail()
    letters = [DEAD_LETTERS.decode(record.value) for record in broker.records(DEAD_LETTERS.name)]
    assert sorted((each.source, each.reason) for each in letters) == [
        (ALERTS.name, "invalid_value"),
        (ALERTS.name, "undecodable"),
    ]
    assert "whsec_" not in process.log.read_text()
