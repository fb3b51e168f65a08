"""The queue of one client, without a network: what it holds, in which order it gives, what it says it skipped."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.feed.channels import CHANNELS
from api.feed.client import Client
from api.feed.limits import FeedLimits
from api.feed.messages import BAD_MESSAGES, KEY_ENDED, SERVICE_RESTART, SLOW_CLIENT
from api.feed.outbox import Outbox
from api.feed.stream import Given, Held, Stream, Update
from api.feed.views import JSON

SMALL = FeedLimits(frame_chars=1_000, behind_chars=1_000, queue_chars=2_000)


def messages(outbox: Outbox, now: float = 0.0) -> list[Any]:
    """One frame, decoded."""
    frame = outbox.take(now)
    return [] if frame is None else msgspec.json.decode(frame)


def everything(outbox: Outbox, now: float = 0.0) -> list[Any]:
    """Frames until there is nothing more."""
    found: list[Any] = []
    while frame := messages(outbox, now):
        found += frame
    return found


def say(stream: Stream, outbox: Outbox, text: str = "1") -> None:
    """A message of the stream comes in."""
    outbox.offer(stream, stream.advance(text))


def stream(channel: str = "predictions", symbol: str = "SIMA") -> Stream:
    """A stream that nothing has come of."""
    return Stream(CHANNELS[channel], symbol)


def test_a_client_that_keeps_up_gets_every_message_in_one_frame() -> None:
    outbox, sima = Outbox(FeedLimits()), stream()
    for n in range(3):
        say(sima, outbox, str(n))
    assert [(one["seq"], one["data"]) for one in messages(outbox)] == [(1, 0), (2, 1), (3, 2)]
    assert outbox.take(0.0) is None
    assert outbox.conflated == 0


def held(stream: Stream, held: Held, chars: int) -> int:
    """Messages of at least so many characters together, kept for clients that come back; their number."""
    said = 0
    while said < chars:
        update = stream.advance('"missed"')
        held.keep(update)
        said += len(update.piece(JSON))
    return stream.count


def test_a_client_that_comes_back_gets_all_that_is_held_while_little_waits() -> None:
    outbox, trades, ring = Outbox(SMALL), stream("trades"), Held(10**9)
    missed = held(trades, ring, 50 * SMALL.queue_chars)
    outbox.recover(trades, Given(0, 0))
    found: list[int] = []
    while outbox.catching_up:
        assert outbox.given(trades) == len(found)
        found += [one["seq"] for one in messages(outbox)]
        ring.keep(trades.advance('"live"'))
        outbox.offer(trades, trades.held[-1])
        assert outbox.chars < SMALL.frame_chars
    found += [one["seq"] for one in everything(outbox)]
    assert found == [*range(1, trades.seq + 1)]
    assert trades.seq > missed
    assert outbox.closing is None


def test_what_others_say_goes_first_and_does_not_keep_what_was_missed_waiting_for_ever() -> None:
    outbox, trades, bars, ring = Outbox(SMALL), stream("trades"), stream("bars"), Held(10**9)
    held(trades, ring, 5 * SMALL.frame_chars)
    outbox.recover(trades, Given(0, 0))
    rounds = 0
    while outbox.catching_up:
        say(bars, outbox)
        first, *rest = messages(outbox)
        assert first["channel"] == "bars"
        assert {one["channel"] for one in rest} == {"trades"}
        rounds += 1
    assert rounds > 5


def test_a_client_that_takes_it_more_slowly_than_it_is_forgotten_is_told_and_goes_on() -> None:
    outbox, trades, ring = Outbox(SMALL), stream("trades"), Held(100_000)
    held(trades, ring, 10 * SMALL.frame_chars)
    outbox.recover(trades, Given(0, 0))
    found = messages(outbox)
    taken = len(found)
    forgotten = held(trades, ring, 100_000)
    assert trades.held[0].seq > taken + 1
    (gap,) = messages(outbox)
    assert gap == {
        "type": "gap", "channel": "trades", "symbol": "SIMA", "from": taken + 1, "to": forgotten,
        "reason": "slow_client",
    }  # fmt: skip
    assert not outbox.catching_up
    say(trades, outbox)
    assert [one["seq"] for one in messages(outbox)] == [forgotten + 1]
    assert outbox.closing is None


def test_a_symbol_with_quotes_in_its_name_stays_json() -> None:
    outbox, odd = Outbox(FeedLimits()), stream(symbol='A"\\\n')
    say(odd, outbox)
    assert messages(outbox)[0]["symbol"] == 'A"\\\n'


def test_a_client_that_is_behind_gets_the_newest_and_how_many_it_skipped() -> None:
    outbox, sima = Outbox(SMALL), stream()
    while outbox.chars <= SMALL.behind_chars:
        say(sima, outbox, '"queued"')
    queued = sima.seq
    for n in range(50):
        say(sima, outbox, str(n))
    found = everything(outbox)
    assert [one["seq"] for one in found] == [*range(1, queued + 1), queued + 50]
    assert (found[-1]["conflated"], found[-1]["data"]) == (49, 49)
    assert outbox.conflated == 49


def test_what_waits_for_a_client_that_is_behind_does_not_grow_with_what_comes() -> None:
    outbox = Outbox(SMALL)
    streams = [stream(symbol=f"S{n}") for n in range(10)]
    for n in range(10_000):
        say(streams[n % 10], outbox, '"%s"' % ("x" * 100))
    assert outbox.chars <= SMALL.queue_chars
    assert outbox.closing is None


def test_once_it_has_caught_up_it_gets_every_message_again() -> None:
    outbox, sima = Outbox(SMALL), stream()
    for _ in range(200):
        say(sima, outbox)
    everything(outbox)
    say(sima, outbox)
    say(sima, outbox)
    assert [one.get("conflated") for one in messages(outbox)] == [None, None]


def test_bars_that_do_not_fit_are_a_gap_and_the_end() -> None:
    outbox, bars = Outbox(SMALL), stream("bars")
    for _ in range(500):
        say(bars, outbox)
    assert outbox.closing == SLOW_CLIENT
    assert not outbox.finished
    *updates, gap, slow = everything(outbox)
    assert [one["seq"] for one in updates] == list(range(1, len(updates) + 1))
    assert gap == {
        "type": "gap", "channel": "bars", "symbol": "SIMA", "from": len(updates) + 1, "to": 500, "reason": "slow_client"
    }  # fmt: skip
    assert slow["type"] == "slow"
    assert SMALL.queue_chars - 200 < slow["queued"] <= slow["limit"] == SMALL.queue_chars
    assert outbox.finished


def test_a_snapshot_comes_before_the_updates_that_follow_it() -> None:
    outbox, sima = Outbox(FeedLimits()), stream()
    sima.seed('"from the store"', 0)
    outbox.begin(sima)
    assert [(one["type"], one["seq"], one["data"]) for one in messages(outbox)] == [("snapshot", 0, "from the store")]
    say(sima, outbox)
    assert [(one["type"], one["seq"]) for one in messages(outbox)] == [("update", 1)]


def test_a_snapshot_that_waits_becomes_the_newest() -> None:
    outbox, sima = Outbox(FeedLimits()), stream()
    sima.seed('"old"', 0)
    outbox.begin(sima)
    say(sima, outbox, '"new"')
    assert [(one["type"], one["seq"], one["data"]) for one in everything(outbox)] == [("snapshot", 1, "new")]
    assert outbox.conflated == 0


def test_a_snapshot_that_is_asked_for_again_takes_the_place_of_nothing_that_waits() -> None:
    outbox, sima = Outbox(FeedLimits()), stream()
    say(sima, outbox)
    everything(outbox)
    outbox.begin(sima, attached=True)
    assert [(one["type"], one["seq"]) for one in everything(outbox)] == [("snapshot", 1)]
    outbox.begin(sima, attached=True)
    say(sima, outbox)
    say(sima, outbox)
    assert [(one["type"], one["seq"], one["conflated"]) for one in everything(outbox)] == [("update", 3, 1)]
    outbox.pace(1.0)
    for _ in range(3):
        say(sima, outbox)
    outbox.begin(sima, attached=True)
    assert [(one["type"], one["seq"], one["conflated"]) for one in everything(outbox, 1.0)] == [("update", 6, 2)]


def test_a_client_that_is_behind_is_offered_no_more_than_it_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[Update] = []
    offer = Outbox.offer
    monkeypatch.setattr(Outbox, "offer", lambda *to: offered.append(to[2]) or offer(*to))  # type: ignore[func-returns-value]
    outbox, sima, ring = Outbox(SMALL), stream(), Held(10**9)
    missed = held(sima, ring, 50 * SMALL.queue_chars)
    outbox.recover(sima, Given(0, 0))
    assert len(offered) < missed / 50
    *_, newest = everything(outbox)
    assert (newest["seq"], newest["conflated"]) == (missed, missed - len(offered))
    offered.clear()
    outbox.pace(1.0)
    outbox.recover(sima, Given(0, 0))
    assert len(offered) == 1


def test_a_paced_client_gets_bars_at_once_and_predictions_at_its_pace() -> None:
    outbox, sima, bars = Outbox(FeedLimits()), stream(), stream("bars")
    outbox.pace(0.25)
    say(sima, outbox)
    assert [one["channel"] for one in messages(outbox, 10.0)] == ["predictions"]
    say(sima, outbox)
    say(bars, outbox)
    say(sima, outbox)
    assert [one["channel"] for one in messages(outbox, 10.1)] == ["bars"]
    assert messages(outbox, 10.2) == []
    assert [(one["seq"], one["conflated"]) for one in messages(outbox, 10.25)] == [(3, 1)]


def test_heartbeats_do_not_put_the_pace_off() -> None:
    outbox, sima = Outbox(FeedLimits()), stream()
    outbox.pace(1.0)
    say(sima, outbox)
    everything(outbox, 10.0)
    say(sima, outbox)
    outbox.put('"heartbeat"')
    assert messages(outbox, 10.9) == ["heartbeat"]
    assert [one["seq"] for one in messages(outbox, 11.0)] == [2]


def test_what_has_been_given_never_names_a_message_that_still_waits_unsent() -> None:
    outbox, sima = Outbox(FeedLimits()), stream()
    sima.seed("0", 0)
    outbox.begin(sima)
    assert outbox.given(sima) is None
    everything(outbox)
    say(sima, outbox)
    assert outbox.given(sima) == 1
    outbox.pace(10.0)
    everything(outbox)
    say(sima, outbox)
    say(sima, outbox)
    assert outbox.given(sima) == 1


def test_a_stream_that_is_not_wanted_any_more_is_not_sent() -> None:
    outbox, sima = Outbox(FeedLimits()), stream()
    outbox.pace(1.0)
    say(sima, outbox)
    outbox.forget(sima)
    assert everything(outbox) == []


def test_closing_sends_what_waits_and_keeps_the_first_reason() -> None:
    outbox = Outbox(FeedLimits())
    outbox.put('"last words"')
    outbox.close(BAD_MESSAGES)
    outbox.close(SLOW_CLIENT)
    assert not outbox.finished
    assert everything(outbox) == ["last words"]
    assert outbox.finished
    assert outbox.closing == BAD_MESSAGES


@pytest.mark.parametrize("code", [SERVICE_RESTART, KEY_ENDED, BAD_MESSAGES])
def test_behind_a_goodbye_nothing_comes_and_nothing_is_called_missing(code: int) -> None:
    client = Client("one", FeedLimits())
    outbox, bars, sima = client.outbox, stream("bars"), stream()
    say(bars, outbox)
    outbox.close(code)
    for _ in range(3):
        say(bars, outbox)
        say(sima, outbox)
    client.beat({"bars": [bars], "predictions": [sima]}, 0)
    assert [(one["channel"], one["seq"]) for one in everything(outbox)] == [("bars", 1)]
    assert (outbox.finished, outbox.closing, outbox.gaps) == (True, code, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(0, 4), st.integers(1, 40)),
        st.tuples(st.just("take"), st.just(0), st.just(0)),
        st.tuples(st.just("beat"), st.just(0), st.just(0)),
        st.tuples(st.just("pace"), st.just(0), st.sampled_from([0, 1, 5])),
        st.tuples(st.just("begin"), st.integers(0, 2), st.just(0)),
    ),
    max_size=120,
)


@given(STEPS)
@settings(deadline=None, max_examples=200)
def test_whatever_happens_a_client_can_account_for_every_number(steps: list[tuple[str, int, int]]) -> None:
    """Three symbols of predictions and two of bars; a client that checks as the protocol tells it to."""
    outbox = Outbox(FeedLimits(frame_chars=600, behind_chars=600, queue_chars=20_000))
    streams = [stream(symbol=name) for name in "ABC"] + [stream("bars", name) for name in "AB"]
    last: dict[tuple[str, str], int] = {}
    now = 0.0

    def check(frame: list[Any]) -> None:
        for one in frame:
            if one["type"] == "beat":
                for channel, symbol, seq in one["seqs"]:
                    assert seq <= last.get((channel, symbol), 0)
                continue
            pair = (one["channel"], one["symbol"])
            if one["type"] == "snapshot":
                assert one["seq"] >= last.get(pair, 0)
            else:
                assert one["seq"] == last.get(pair, 0) + 1 + one.get("conflated", 0)
                assert one["data"] == one["seq"]
            last[pair] = one["seq"]

    for step, which, number in steps:
        now += 1.0
        if step == "say":
            for _ in range(number):
                say(streams[which], outbox, str(streams[which].seq + 1))
        elif step == "take":
            check(messages(outbox, now))
        elif step == "beat":
            seqs = [(one.channel.name, one.symbol, seq) for one in streams if (seq := outbox.given(one)) is not None]
            outbox.put(msgspec.json.encode({"type": "beat", "seqs": seqs}).decode())
        elif step == "pace":
            outbox.pace(float(number))
        else:
            outbox.begin(streams[which])
    if outbox.closing is None:
        outbox.pace(0.0)
        check(everything(outbox, now + 10.0))
        for one in streams:
            assert last.get((one.channel.name, one.symbol), 0) == one.seq
