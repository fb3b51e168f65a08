"""The delivery process on an embedded broker: every alert arrives, by id exactly once, through kills at any moment."""

import random
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

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(580)]
PLACES = (
    "alerts.before_put:kill@7", "alerts.after_put:kill@20", "hooks.before_send:kill@9", "hooks.after_send:kill@6",
    "hooks.after_record:kill@5",
)  # fmt: skip
RANDOM_KILLS = 3
BURST = 30


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with embedded_broker(tmp_path) as running:
        make_topics(running)
        yield running


class Talk:
    """Alerts on their topic, a burst at a time, and the ids that they must arrive under."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.ids = broker, set[str]()

    def burst(self) -> None:
        some = [alert(len(self.ids) + number) for number in range(BURST)]
        say(self.broker, some)
        self.ids |= {message_id(each) for each in some}


def test_every_alert_arrives_by_id_exactly_once_through_kills_at_any_moment(broker: Broker, tmp_path: Path) -> None:
    data, rng, talk = tmp_path / "data", random.Random(5), Talk(broker)
    with Inbox(fail_every=11).open() as inbox:
        add_endpoint(data, inbox, concurrency=4)
        for number, place in enumerate(PLACES):
            talk.burst()
            process = program(data, broker, tmp_path / f"{number}.log", FP=place)
            process.start()
            child = process.child
            assert child is not None
            until(f"{place}\n{process.tail()}", lambda child=child: child.poll() is not None, within_s=240)  # type: ignore[misc]
            assert child.returncode == -9, process.tail()
        for _ in range(RANDOM_KILLS):
            talk.burst()
            process = program(data, broker, tmp_path / "random.log")
            process.start()
            before = inbox.posts
            until("an attempt", lambda before=before: inbox.posts > before, within_s=240)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
        talk.burst()
        process = program(data, broker, tmp_path / "last.log")
        process.start()
        try:
            until(f"{len(talk.ids)} alerts arriving", lambda: inbox.ids.keys() >= talk.ids, within_s=240)
        finally:
            process.stop()
    kills = len(PLACES) + RANDOM_KILLS
    print(
        f"{kills} kills, {len(talk.ids)} alerts, {inbox.posts} posts, {len(inbox.ids)} ids, {inbox.bad} bad signatures"
    )
    assert set(inbox.ids) == talk.ids, "nothing lost, nothing invented"
    assert inbox.bad == 0, "every signature verifies"


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
