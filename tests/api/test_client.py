"""What the client makes of the server's words, without a network."""

from typing import Any

import msgspec
import pytest

from api.client import _FRAME, Heard, Message, Missed, Positions, Want

EVERYTHING = Want(["bars", "trades"])


def hear(positions: Positions, *messages: dict[str, Any]) -> list[Heard]:
    """Through the very decoder that reads the socket."""
    heard: list[Heard] = []
    for message in _FRAME.decode(msgspec.json.encode(messages)):
        heard += positions.hear(message)
    return heard


def bar(seq: int, **more: Any) -> dict[str, Any]:
    return {"type": "update", "channel": "bars", "symbol": "A", "seq": seq, "data": seq, **more}


def seqs(heard: list[Heard]) -> list[Any]:
    return [one.seq if isinstance(one, Message) else (one.after, one.why) for one in heard]


def test_numbers_that_follow_are_no_gap_and_others_are() -> None:
    heard = hear(Positions(), bar(7), bar(8), bar(11, conflated=2), bar(13), bar(13), bar(12), bar(14, type="revise"))
    assert seqs(heard) == [7, 8, 11, (11, "gap"), 13, 14]


def test_messages_that_name_the_one_before_them_have_holes_without_a_gap() -> None:
    heard = hear(Positions(), bar(7, prev=0), bar(20, prev=7), bar(31, prev=22), bar(40, prev=20))
    assert seqs(heard) == [7, 20, (20, "gap"), 31, (31, "gap"), 40]


def test_what_the_server_tells_is_told_once() -> None:
    gap = {"type": "gap", "channel": "bars", "symbol": "A", "from": 8, "to": 9, "reason": "slow_client"}
    assert seqs(hear(Positions(), bar(7), gap, gap, bar(10))) == [7, (7, "slow_client"), 10]


def test_a_heartbeat_shows_what_should_have_come_and_where_quiet_streams_are() -> None:
    positions = Positions()
    beat = {"type": "heartbeat", "n": 1, "server_time": 0, "seqs": {"bars": {"A": 9, "B": 4}}}
    assert seqs(hear(positions, bar(7), beat, beat, bar(10))) == [7, (7, "heartbeat"), 10]
    assert positions.resume(EVERYTHING)[0] == {"bars": {"A": 10, "B": 4}}


def test_after_coming_back_a_stream_that_a_heartbeat_is_the_first_to_name_began_while_we_were_away() -> None:
    positions = Positions()
    welcome = {"type": "welcome", "epoch": "log-1"}
    beat = {"type": "heartbeat", "n": 1, "server_time": 0, "seqs": {"bars": {"A": 7, "B": 4, "C": 0}}}
    assert seqs(hear(positions, welcome, bar(7), welcome, beat, beat)) == [7, (0, "heartbeat")]
    assert positions.resume(EVERYTHING)[0] == {"bars": {"A": 7, "B": 4}}


def test_after_coming_back_only_numbers_decide_what_was_missed() -> None:
    positions = Positions()
    welcome = {"type": "welcome", "epoch": "log-1"}
    snapshot = bar(12, type="snapshot", symbol="S")
    hear(positions, welcome, bar(7), bar(10, type="snapshot", symbol="S"))
    assert seqs(hear(positions, welcome, bar(8), snapshot)) == [8, (10, "snapshot"), 12]
    assert seqs(hear(positions, welcome, bar(10), bar(13, type="snapshot", symbol="S"))) == [(8, "gap"), 10, 13]


def test_a_stream_that_began_while_we_were_away_is_missed_where_we_do_not_have_its_beginning() -> None:
    positions = Positions()
    welcome = {"type": "welcome", "epoch": "log-1"}
    assert seqs(hear(positions, welcome, bar(7), welcome, bar(1, symbol="N"), bar(3, symbol="M"))) == [
        7, 1, (0, "gap"), 3,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("recovered", "told"),
    [({}, True), ({"bars": {"A": False}}, True), ({"bars": {"A": True}}, False), ({"news": {"A": True}}, True)],
)
def test_a_stream_that_the_server_has_no_beginning_of_may_have_begun_before_it_listened(
    recovered: dict[str, Any], told: bool
) -> None:
    positions = Positions()
    welcome, ack = {"type": "welcome", "epoch": "log-1"}, {"type": "ack", "id": 0, "recovered": recovered}
    first = [bar(7, prev=0), bar(9, symbol="M", prev=0)]
    back = [welcome, ack, bar(8, prev=7), bar(500, symbol="N", prev=0), bar(1, symbol="O", prev=0)]
    heard = hear(positions, welcome, {"type": "ack", "id": 0}, *first, *back)
    assert seqs(heard) == [7, 9, 8, *([(0, "gap")] if told else []), 500, 1]
    assert seqs(hear(positions, welcome, {"type": "ack", "id": 0}, bar(600, symbol="P", prev=0)))[0] == (0, "gap")


def test_another_log_begins_anew_and_says_so_of_every_stream() -> None:
    positions = Positions()
    heard = hear(
        positions, {"type": "welcome", "epoch": "log-1"}, bar(7), {"type": "welcome", "epoch": "log-2"}, bar(2)
    )
    assert seqs(heard) == [7, (7, "new_log"), 2]
    assert positions.resume(EVERYTHING)[0] == {"bars": {"A": 2}}


def test_what_types_it_does_not_know_say_is_ignored() -> None:
    assert hear(Positions(), {"type": "weather", "channel": "bars", "more": {"x": 1}}) == []


@pytest.mark.parametrize(
    ("want", "told"), [(EVERYTHING, {"bars": {"A": 7}}), (Want(["bars"], ["B"]), {}), (Want(["news"]), {})]
)
def test_only_what_is_wanted_is_resumed(want: Want, told: dict[str, Any]) -> None:
    positions = Positions()
    hear(positions, bar(7))
    assert positions.resume(want) == (told, [])


def test_what_does_not_fit_into_one_message_is_missed_and_not_forgotten_in_silence() -> None:
    positions = Positions()
    hear(positions, *[bar(7, symbol=f"SYMBOL{n:05}") for n in range(4_000)])
    told, missed = positions.resume(EVERYTHING)
    assert len(told["bars"]) + len(missed) == 4_000
    assert len(msgspec.json.encode(told)) < 60_000
    assert isinstance(missed[0], Missed)
    assert missed[0].why == "too_many"
