"""What a client of the feed received, against the fold."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from schemas.errors import InputError
from streams.verdict import Verdict
from tests.streams.verify.history import History, log_of

PER_FRAME = 7


@pytest.fixture(scope="module")
def history() -> History:
    return History(log_of()).serve()


def messages(history: History) -> list[dict[str, Any]]:
    """Every prediction as the feed sends it."""
    seqs: dict[str, int] = {}
    out: list[dict[str, Any]] = []
    for raw in history.predictions:
        row = msgspec.json.decode(raw)
        seqs[row["symbol"]] = seqs.get(row["symbol"], 0) + 1
        out.append(
            {
                "type": "update",
                "channel": "predictions",
                "symbol": row["symbol"],
                "seq": seqs[row["symbol"]],
                "data": row,
            }
        )
    return out


def verified(history: History, sent: Sequence[dict[str, Any]]) -> Verdict:
    welcome = {"type": "welcome", "session": "s", "epoch": "e"}
    frames = [[welcome], *(list(sent[at : at + PER_FRAME]) for at in range(0, len(sent), PER_FRAME))]
    return history.verify(feed=[msgspec.json.encode(frame) for frame in frames])


def test_a_feed_that_sent_everything_once_is_clean(history: History) -> None:
    verdict = verified(history, messages(history))
    assert (verdict.clean, verdict.rows["feed"]) == (True, len(history.predictions))


@pytest.mark.parametrize(
    ("field", "value"), [("p_up", 0.25), ("online", None), ("price", 1.0), ("ts_event", 5), ("symbol", "S9")]
)
def test_one_altered_field_is_found(history: History, field: str, value: Any) -> None:
    sent = messages(history)
    at = len(sent) // 2
    sent[at] = {**sent[at], "data": {**sent[at]["data"], field: value}}
    verdict = verified(history, sent)
    (finding,) = verdict.findings
    assert (verdict.wrong, finding.table, finding.column) == (1, "feed", field)
    assert finding.offset == sent[at]["data"]["src_offset"]


def test_a_message_that_is_missing_without_a_word_is_a_gap(history: History) -> None:
    sent = messages(history)
    del sent[len(sent) // 2]
    verdict = verified(history, sent)
    assert (verdict.gaps, verdict.wrong, verdict.lost) == (1, 0, 0)


def test_what_was_said_to_be_left_out_is_excused(history: History) -> None:
    sent = messages(history)
    gone = sent.pop(len(sent) // 2)
    follower = next(m for m in sent if m["symbol"] == gone["symbol"] and m["seq"] == gone["seq"] + 1)
    follower["conflated"] = 1
    assert verified(history, sent).clean
    del follower["conflated"]
    gap = {
        "type": "gap",
        "channel": "predictions",
        "symbol": gone["symbol"],
        "from": gone["seq"],
        "to": gone["seq"],
        "reason": "x",
    }
    sent.insert(sent.index(follower), gap)
    assert verified(history, sent).clean


def test_a_message_that_came_twice_is_a_duplicate(history: History) -> None:
    sent = messages(history)
    again = sent[10]
    later = [m for m in sent if m["symbol"] == again["symbol"]]
    sent.append({**again, "seq": later[-1]["seq"] + 1})
    verdict = verified(history, sent)
    assert (verdict.duplicate, verdict.gaps, verdict.wrong) == (1, 0, 0)


def test_a_prediction_of_no_record_is_wrong(history: History) -> None:
    sent = messages(history)
    rows = {m["data"]["src_offset"] for m in sent}
    free = next(offset for offset in range(history.records) if offset not in rows)
    sent[5] = {**sent[5], "data": {**sent[5]["data"], "src_offset": free}}
    assert verified(history, sent).wrong == 1


def test_another_connection_counts_anew(history: History) -> None:
    sent = messages(history)
    half = len(sent) // 2
    welcome = {"type": "welcome", "session": "s2", "epoch": "e2"}
    frames = [sent[:half], [welcome, *sent[half + 50 :]]]
    assert history.verify(feed=[msgspec.json.encode(frame) for frame in frames]).clean


def test_a_line_that_is_no_frame_is_refused_by_number(history: History) -> None:
    with pytest.raises(InputError, match="line 2 of the capture: expected a frame of the feed"):
        history.verify(feed=[b"[]", b"{nonsense"])
