"""The worker delivers at each endpoint's pace, tries again by the schedule, and gives up where it is told to."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from infra.hooks.channel import Answer, failed
from infra.hooks.messages import message_id
from infra.hooks.opened import open_store
from infra.hooks.worker import DeliveryWorker, Policy
from infra.hooks.writes import Writes
from infra.telemetry import Telemetry
from schemas.errors import OutboxError
from schemas.hooks import Delivery, Endpoint
from tests.infra.hooks.alerts import alert
from tests.infra.hooks.bench import CLOCK, SENT, Receivers, bench


def ids(*numbers: int) -> list[str]:
    return [message_id(alert(number)) for number in numbers]


def test_with_one_attempt_at_once_alerts_arrive_in_order(tmp_path: Path) -> None:
    async def run() -> Receivers:
        async with bench(tmp_path, Receivers(slow_s={"a": 0.002})) as at_work:
            at_work.add("a")
            await at_work.put(*range(20))
            await at_work.put(*range(20, 40))
            await at_work.settled()
            return at_work.receivers

    receivers = asyncio.run(run())
    assert receivers.got["a"] == ids(*range(40))
    assert receivers.most_at_once["a"] == 1


def test_an_endpoint_may_have_several_attempts_at_once_but_no_more(tmp_path: Path) -> None:
    async def run() -> Receivers:
        async with bench(tmp_path, Receivers(slow_s={"a": 0.05})) as at_work:
            at_work.add("a", concurrency=3)
            await at_work.put(*range(12))
            await at_work.settled()
            return at_work.receivers

    receivers = asyncio.run(run())
    assert receivers.most_at_once["a"] == 3
    assert sorted(receivers.got["a"]) == ids(*range(12))


def test_an_endpoint_that_hangs_delays_no_other(tmp_path: Path) -> None:
    async def run() -> Receivers:
        async with bench(tmp_path, Receivers(slow_s={"slow": 3_600})) as at_work:
            at_work.add("slow")
            fast = at_work.add("fast")
            await at_work.put(*range(50))
            await at_work.until(
                lambda found: sum(each.endpoint == fast.id and each.state == "sent" for each in found) == 50
            )
            return at_work.receivers

    receivers = asyncio.run(run())
    assert receivers.got["fast"] == ids(*range(50))
    assert receivers.got["slow"] == ids(0)


def test_a_failure_is_tried_again_by_the_schedule_and_others_pass_it(tmp_path: Path) -> None:
    async def run() -> tuple[Receivers, Sequence[Delivery]]:
        receivers = Receivers(answers={"a": lambda number: failed("down", 503) if number == 1 else SENT})
        async with bench(tmp_path, receivers, schedule_s=(0.3,)) as at_work:
            at_work.add("a")
            await at_work.put(0, 1, 2)
            return at_work.receivers, await at_work.settled()

    receivers, deliveries = asyncio.run(run())
    assert receivers.got["a"] == ids(0, 1, 2, 0)
    assert [(each.state, each.tries) for each in deliveries] == [("sent", 1), ("sent", 1), ("sent", 2)]


def test_when_the_schedule_is_over_it_is_a_dead_letter_with_all_attempts(tmp_path: Path) -> None:
    async def run() -> tuple[list[str], Telemetry]:
        async with bench(tmp_path, Receivers(answers={"a": lambda number: failed(f"no {number}", 500)})) as at_work:
            at_work.add("a")
            await at_work.put(0)
            (delivery,) = await at_work.settled()
            assert (delivery.state, delivery.tries) == ("dead", 3)
            return [each.detail for each in at_work.store.log.details(delivery.id).attempts], at_work.telemetry

    details, telemetry = asyncio.run(run())
    metrics = telemetry.exposition()
    assert details == ["no 1", "no 2", "no 3"]
    assert b'tickwire_hooks_dead_total{channel="webhook"} 1.0' in metrics
    assert b'tickwire_hooks_attempts_total{channel="webhook",outcome="failed"} 3.0' in metrics


def test_retry_after_is_waited_for(tmp_path: Path) -> None:
    async def run() -> Sequence[Delivery]:
        busy = Answer("failed", 429, "later", retry_after_s=60.0)
        async with bench(tmp_path, Receivers(answers={"a": lambda _: busy})) as at_work:
            at_work.add("a")
            await at_work.put(0)
            return await at_work.until(lambda found: found[0].tries == 1)

    (delivery,) = asyncio.run(run())
    assert delivery.state == "pending"
    assert delivery.due > CLOCK.now_ns() + 50 * 10**9


def test_an_endpoint_that_is_gone_is_disabled_and_others_are_not(tmp_path: Path) -> None:
    async def run() -> tuple[Endpoint, Endpoint, Receivers]:
        async with bench(tmp_path, Receivers(answers={"gone": lambda _: Answer("gone", 410, "")})) as at_work:
            gone, other = at_work.add("gone"), at_work.add("other")
            await at_work.put(0, 1, 2)
            await at_work.settled()
            return at_work.store.endpoints.get(gone.id), at_work.store.endpoints.get(other.id), at_work.receivers

    gone, other, receivers = asyncio.run(run())
    assert (gone.disabled, other.disabled) == ("it answered 410 Gone", "")
    assert receivers.got["gone"] == ids(0)
    assert receivers.got["other"] == ids(0, 1, 2)


def test_an_endpoint_that_fails_for_too_long_is_disabled(tmp_path: Path) -> None:
    async def run() -> Endpoint:
        receivers = Receivers(answers={"a": lambda _: failed("down")})
        async with bench(tmp_path, receivers, schedule_s=[0.05] * 50, disable_after=timedelta(seconds=0.1)) as at_work:
            endpoint = at_work.add("a")
            await at_work.put(0)
            (delivery,) = await at_work.settled()
            assert (delivery.state, delivery.tries < 50) == ("dead", True)
            return at_work.store.endpoints.get(endpoint.id)

    assert asyncio.run(run()).disabled.startswith("nothing arrived for 0:00:00.1")


def test_an_endpoint_that_fails_again_and_again_is_left_alone_and_nothing_is_used_up(tmp_path: Path) -> None:
    async def run() -> tuple[Receivers, Sequence[Delivery]]:
        async with bench(tmp_path, Receivers(answers={"a": lambda _: failed("down")}), schedule_s=(60,) * 9) as at_work:
            at_work.add("a")
            await at_work.put(*range(20))
            await at_work.until(lambda found: sum(each.tries for each in found) >= 5)
            await asyncio.sleep(0.6)  # two looks of the worker
            return at_work.receivers, await at_work.until(bool)

    receivers, deliveries = asyncio.run(run())
    assert len(receivers.got["a"]) == 5
    assert [each.tries for each in deliveries] == [0] * 15 + [1] * 5


def test_what_another_process_writes_is_noticed(tmp_path: Path) -> None:
    async def run() -> Receivers:
        async with bench(tmp_path, Receivers()) as at_work:
            endpoint = at_work.add("a")
            await at_work.put(0)
            await at_work.settled()
            other = open_store(tmp_path)
            other.log.replay_all(endpoint.id, CLOCK.now_ns(), every=True)
            other.database.close()
            await at_work.until(lambda _: len(at_work.receivers.got["a"]) == 2)
            return at_work.receivers

    assert asyncio.run(run()).got["a"] == ids(0, 0)


def test_a_channel_that_is_not_set_up_is_a_failed_attempt_that_says_so(tmp_path: Path) -> None:
    async def run() -> str:
        async with bench(tmp_path, Receivers(), schedule_s=()) as at_work:
            at_work.add("desk@example.com", channel="mail")
            await at_work.put(0)
            (delivery,) = await at_work.settled()
            return at_work.store.log.details(delivery.id).attempts[0].detail

    assert "the channel mail is not set up here" in asyncio.run(run())


def raises(_: int) -> Answer:
    raise AttributeError("no attribute all_defects, \udce9")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (raises, "AttributeError: no attribute all_defects, ?"),
        (lambda _: failed("550 refus\udce9", 550), "550 refus?"),
        (lambda _: Answer("sent", 250, "gard\udce9"), "gard?"),
    ],
    ids=["a channel that raises", "a refusal in Latin-1", "a yes in Latin-1"],
)
def test_whatever_a_channel_does_the_attempt_is_recorded_and_others_are_served(
    tmp_path: Path, answer: Callable[[int], Answer], told: str
) -> None:
    async def run() -> tuple[str, Receivers]:
        async with bench(tmp_path, Receivers(answers={"odd": answer}), schedule_s=()) as at_work:
            odd, _ = at_work.add("odd"), at_work.add("other")
            await at_work.put(0)
            await at_work.settled()
            await at_work.put(1)
            deliveries = await at_work.settled()
            first = min(each.id for each in deliveries if each.endpoint == odd.id)
            assert [each.state for each in deliveries if each.endpoint != odd.id] == ["sent", "sent"]
            return at_work.store.log.details(first).attempts[0].detail, at_work.receivers

    detail, receivers = asyncio.run(run())
    assert detail == told
    assert receivers.got["other"] == ids(0, 1)


def test_what_is_under_way_at_the_end_is_finished_and_recorded(tmp_path: Path) -> None:
    async def run() -> None:
        async with bench(tmp_path, Receivers(slow_s={"a": 0.3, "hangs": 3_600})) as at_work:
            at_work.add("a")
            at_work.add("hangs")
            await at_work.put(0)
            await at_work.until(lambda _: len(at_work.receivers.got) == 2)

    asyncio.run(run())
    store = open_store(tmp_path)
    assert sorted(each.state for each in store.log.page()) == ["pending", "sent"]
    store.database.close()


def test_being_told_to_stop_at_the_moment_of_a_wake_up_ends_the_worker(tmp_path: Path) -> None:
    async def run() -> None:
        async with asyncio.timeout(10):
            async with bench(tmp_path, Receivers()) as at_work:
                await asyncio.sleep(0.1)  # it waits for something that is due
                at_work.worker.wake()  # and is cancelled before it runs again

    asyncio.run(run())


def test_an_outbox_that_breaks_ends_the_worker(tmp_path: Path) -> None:
    async def run() -> None:
        store = open_store(tmp_path)
        worker = DeliveryWorker(
            store.outbox, store.endpoints, Writes(store.database), {}, CLOCK, Telemetry(), Policy((), timedelta(days=5))
        )
        store.database.changed("DROP TABLE attempts")
        store.database.changed("DROP TABLE deliveries")
        async with asyncio.timeout(10):
            await worker.run()

    with pytest.raises(OutboxError, match="no such table"):
        asyncio.run(run())
