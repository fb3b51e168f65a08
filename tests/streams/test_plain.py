"""Blocks that are decoded straight into columns give what the schema's decoder gives of every record alone, bit for bit."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.columns import EventColumns, LogStretch, Names, columns
from processors.shard import Shard
from schemas.errors import SchemaError
from schemas.events import MAX_NS, MAX_PRICE, MAX_SEQ, Quote, Trade
from schemas.rows import DeadLetter
from schemas.topics import EVENTS
from streams.collectors.sim import SimExchange
from streams.decode import FEW, LARGEST, Poll, decode
from streams.nightly import Unlearnt
from streams.plain import LEFT, LONGEST, MOST_NAMES, plain
from streams.recordings.detect import open_recording
from tests.logs import NS, START, market

TRADE = (
    b'{"type":"trade","symbol":"SIM","venue":"V","seq":7,"ts_event":1700000000000000000,"ts_ingest":1700000000000000001,'
    b'"price":49.92,"size":100.0,"side":"sell"}'
)
QUOTE = (
    b'{"type":"quote","symbol":"SIM","venue":"V","seq":7,"ts_event":1700000000000000000,"ts_ingest":1700000000000000001,'
    b'"bid":381.49,"bid_size":0.0,"ask":381.54,"ask_size":900.0}'
)


def poll_of(values: Sequence[bytes | None]) -> Poll:
    return Poll(3, values, list(range(50, 50 + len(values))), [1_700_000_000_000 + i for i in range(len(values))])


def said(stretch: LogStretch) -> dict[str, list[Any]]:
    """Everything about the events, as bits: floats as integers, names as words."""
    found: EventColumns = stretch.columns
    told: dict[str, list[Any]] = {"events": list(stretch.events), "raw": list(stretch.raw)}
    for field in fields(found):
        column = getattr(found, field.name)
        if isinstance(column, Names):
            told[field.name] = [column.word(i) for i in range(len(column.code))]
        else:
            told[field.name] = (column.view(np.int64) if column.dtype == np.float64 else column).tolist()
            told[f"{field.name} is"] = [column.dtype.str] * len(column)
    return told | {"offsets": stretch.offsets.tolist(), "ts_broker": stretch.ts_broker.tolist()}


def by_schema(values: Sequence[bytes | None]) -> LogStretch:
    """The oracle: every record alone through the schema's decoder, then objects into columns."""
    whole, events, at, letters = poll_of(values), [], [], []
    for i, value in enumerate(values):
        try:
            if value is None or len(value) > LARGEST:
                raise SchemaError("no event")
            events.append(EVENTS.decode(value))
            at.append(i)
        except SchemaError:
            letters += decode(Poll(3, [value], whole.offsets[i : i + 1], whole.ts_broker[i : i + 1])).rejected
    offsets, broker = np.array(whole.offsets, np.int64), np.array(whole.ts_broker, np.int64)
    assert offsets[~np.isin(np.arange(len(values)), at)].tolist() == [letter.offset for letter in letters]
    return LogStretch(
        events, [values[i] for i in at], offsets[at], broker[at], letters,  # type: ignore[misc]
        broker[~np.isin(np.arange(len(values)), at)], columns(events),
    )  # fmt: skip


def agrees(values: Sequence[bytes | None]) -> None:
    """Among enough plain records to be looked at together, a block says what the oracle says."""
    values = [TRADE] * FEW + list(values) + [QUOTE]
    together, alone = decode(poll_of(values)), by_schema(values)
    assert said(together) == said(alone)
    assert together.rejected == alone.rejected
    assert together.rejected_broker.tolist() == alone.rejected_broker.tolist()


def digits(most: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=1, max_size=most)


LETTERS = 'aZ09 .-_/"\\\x7f\x1f\n\u00e9\u20ac\U0001f600'
NUMBERS = st.one_of(
    st.sampled_from([
        "0", "0.0", "-0.0", "-0", "1", "1.0", "01.0", "1.", ".5", "1.5e3", "1.5E-3", "1e999", "-1.0", "NaN", "Infinity",
        "9007199254740992.0", "9007199254740993.0", "0.30000000000000004", "4.35", "123456789012.1234567",
        "0.000000000000000001", "0.0000000000000000001", "1000000000000.0", "1000000000000.1", "1000000000000000.0",
        "1000000000000001.0", "9223372036854775807", "9223372036854775808", "18446744073709551616",
        "99999999999999999999", str(MAX_NS), str(MAX_NS + 1), "1.0.0", "+1.0", "1_000.0", "١.٠", "1e-30", "5e-324",
        "null", "true", '"1.0"', "[1.0]", "{}", "0x10", "1.0 ", " 1.0", "",
    ]),
    st.builds("{}.{}".format, digits(22), digits(22)),
    st.builds("{}{}".format, st.sampled_from(["", "-"]), digits(21)),
    st.floats().map(repr),
    st.floats(1e-3, 1e6).map(lambda x: repr(round(x, 4))),
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(["", "A", "A" * 16, "A" * 17, "A" * 32, "A" * 33, "A" * 64, "A" * 65,
        "\\u0041", '\\"', "\\n", "\x7f", "\x1f", "é" * 9, "\ud800"]),
    st.text(LETTERS, max_size=70),
)  # fmt: skip
WORDS = st.sampled_from(["buy", "sell", "unknown", "BUY", "trade", "quote", "news", "cancel", "heartbeat", "other"])
VALUES = st.one_of(
    NUMBERS, TEXTS.map('"{}"'.format), WORDS.map('"{}"'.format), st.sampled_from(["true", "false", "null"])
)
NAMES = (
    "type", "symbol", "venue", "seq", "ts_event", "ts_ingest", "price", "size", "side", "trade_id", "conditions", "in_bars",
    "bid", "bid_size", "ask", "ask_size", "refers_seq", "sentiment", "item_id", "state", "what",
)  # fmt: skip


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    """A trade or quote of which fields are changed, doubled, moved, left out or added, as JSON text."""
    raw = draw(st.sampled_from([TRADE, QUOTE, TRADE[:-1] + b',"trade_id":"t","conditions":"@ F","in_bars":false}']))
    pairs = [(key, msgspec.json.encode(value).decode()) for key, value in msgspec.json.decode(raw).items()]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(pairs) - 1))
        what = draw(st.sampled_from(["value", "value", "value", "drop", "double", "move", "add"]))
        if what == "value":
            pairs[at] = (pairs[at][0], draw(VALUES))
        elif what == "drop" and len(pairs) > 1:
            pairs.pop(at)
        elif what == "double":
            pairs.append((pairs[at][0], draw(VALUES)))
        elif what == "move":
            pairs.insert(draw(st.integers(0, len(pairs))), pairs.pop(at))
        else:
            pairs.insert(at, (draw(st.sampled_from(NAMES)), draw(VALUES)))
    text = "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A record with some bytes changed, put in, taken out or cut off."""
    raw = bytearray(draw(st.one_of(st.sampled_from([TRADE, QUOTE]), altered())))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        what = draw(st.sampled_from(["change", "put", "take", "cut", "behind"]))
        piece = draw(
            st.one_of(
                st.binary(min_size=1, max_size=3),
                st.sampled_from([b"\n", b" ", b"}", b'"', b",", b"\x00", b"\xff", b"0"]),
            )
        )
        if what in ("change", "put"):
            raw[at : at + (len(piece) if what == "change" else 0)] = piece
        elif what == "take":
            del raw[at : at + 1]
        elif what == "cut":
            del raw[at:]
        else:
            raw += piece
    return bytes(raw)


@st.composite
def true_ones(draw: st.DrawFn) -> bytes:
    """Any trade or quote that keeps to the schema, as we write it."""
    priced, sized = st.floats(0, MAX_PRICE, exclude_min=True), st.floats(0, 1e15, exclude_min=True)
    told: dict[str, Any] = {
        "symbol": draw(st.text(LETTERS, min_size=1, max_size=32)), "venue": draw(st.text(LETTERS, min_size=1, max_size=16)),
        "seq": draw(st.integers(0, MAX_SEQ)), "ts_event": draw(st.integers(0, MAX_NS)), "ts_ingest": draw(st.integers(0, MAX_NS)),
    }  # fmt: skip
    note = st.text(LETTERS, max_size=64)
    if draw(st.booleans()):
        return EVENTS.encode(
            Quote(**told, bid=draw(priced), bid_size=draw(st.floats(0, 1e15)), ask=draw(priced), ask_size=draw(sized))
        )
    return EVENTS.encode(
        Trade(
            **told, price=draw(priced), size=draw(sized), side=draw(st.sampled_from(["buy", "sell", "unknown"])),
            trade_id=draw(note), conditions=draw(note), in_bars=draw(st.booleans()),
        )
    )  # fmt: skip


OTHERS = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from([b"", b"{}", b"null", b"[]", b"\n", b"\x00\x00\x00\x00\x01abc",
        b'{"type":"trade"', b"[" * 5_000, b" " * (LARGEST + 1)]),
    st.sampled_from([EVENTS.encode(event) for event in market(400)]),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(altered(), damaged(), true_ones(), OTHERS), max_size=12))
@example(
    [
        TRADE + b"\n" + TRADE,
        TRADE + b"\n",
        b"\n" + TRADE,
        TRADE + QUOTE,
        TRADE[:-1] + b"\n",
        TRADE.replace(b",", b",\n"),
    ]
)
@example([TRADE.replace(b"SIM", "SÏM".encode()), TRADE.replace(b"SIM", b"S\xffM"), TRADE.replace(b"SIM", b"S\\u0049M")])
@example(
    [TRADE.replace(b'"V"', b'"V","venue":"W"'), TRADE.replace(b'"type":"trade",', b""), TRADE.replace(b"7", b"7.0")]
)
@example([TRADE[:-1] + b" " * LONGEST + b"}", QUOTE[:-1] + b" }", TRADE[:1] + b" " * LARGEST + TRADE[1:]])
def test_a_block_of_anything_says_what_its_records_say_alone(values: list[bytes | None]) -> None:
    agrees(values)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.builds("{}.{}".format, digits(13), digits(20)), NUMBERS), min_size=1, max_size=30))
@example(
    [("9007199254740.992", "1.0"), ("0.9007199254740993", "1.0"), ("4.9", "0.000000000000000001"), ("00.5", "0.5")]
)
def test_every_decimal_is_the_nearest_float(numbers: list[tuple[str, str]]) -> None:
    agrees([TRADE.replace(b"49.92", price.encode()).replace(b"100.0", size.encode()) for price, size in numbers])


@settings(deadline=None)
@given(st.integers(0, 2**53), st.integers(1, 15))
def test_decimals_of_53_bits_are_read_without_the_schema_and_exactly(digits: int, places: int) -> None:
    text = f"{digits:0{places + 1}d}"
    text = f"{text[:-places]}.{text[-places:]}"
    found = plain([TRADE.replace(b"100.0", text.encode())])
    if 0 < float(text) <= 1e15:
        assert found.kind[0] != LEFT
        assert found.size[0].hex() == float(text).hex()
    else:
        assert found.kind[0] == LEFT


@pytest.mark.parametrize(("field", "most"), [("seq", MAX_SEQ), ("ts_event", MAX_NS), ("ts_ingest", MAX_NS)])
def test_whole_numbers_are_taken_up_to_the_bound_of_the_schema_and_no_further(field: str, most: int) -> None:
    told = msgspec.json.decode(TRADE)
    written = [msgspec.json.encode(told | {field: value}) for value in (0, most - 1, most, most + 1)]
    assert (plain(written).kind != LEFT).tolist() == [True, True, True, False]
    assert getattr(plain(written), field)[:3].tolist() == [0, most - 1, most]


@pytest.mark.parametrize(
    ("field", "longest"), [("symbol", 32), ("venue", 16), ("trade_id", 64), ("conditions", 64)]
)  # fmt: skip
def test_texts_are_taken_up_to_the_length_of_the_schema_and_no_further(field: str, longest: int) -> None:
    event = EVENTS.decode(TRADE)
    written = [EVENTS.encode(msgspec.structs.replace(event, **{field: "x" * n})) for n in (1, longest, longest + 1)]
    assert (plain(written).kind != LEFT).tolist() == [True, True, False]


def test_all_trades_and_quotes_of_an_exchange_are_plain() -> None:
    exchange = SimExchange(7, 24, START, events_per_second=500)
    events = exchange.events_until(START + 60 * NS)
    found = plain(EVENTS.encode_all(events))
    assert (found.kind != LEFT).tolist() == [isinstance(event, Trade | Quote) for event in events]
    assert len(events) > 20_000


def test_more_names_than_a_block_may_have_are_left_to_the_schema() -> None:
    values = [TRADE.replace(b"SIM", f"S{i}".encode()) for i in range(MOST_NAMES + 50)]
    assert (plain(values).kind == LEFT).sum() == 51  # the venue is a name too
    assert said(decode(poll_of(values))) == said(by_schema(values))


def test_events_are_made_once_and_only_those_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    values = [TRADE] * 100 + [QUOTE] * 100
    stretch = decode(poll_of(values))
    whole = EVENTS.decode
    monkeypatch.setattr(type(EVENTS), "decode", lambda _, raw: asked.append(raw) or whole(raw))
    later = stretch.events[90:110]
    assert [type(later[i]) for i in (9, 10, 9)] == [Trade, Quote, Trade]
    assert asked == [TRADE, QUOTE]
    assert len(stretch.events) == 200


def test_a_shard_says_the_same_of_both_and_remembers_the_same() -> None:
    values: list[bytes | None] = list(EVENTS.encode_all(market(4_000)))
    values[100:100] = [b"garbage", None, TRADE.replace(b"49.92", b"-1.0")]
    (ours, after), (theirs, after_theirs) = (
        (shard.advance(stretch), shard.snapshot())
        for shard, stretch in (
            (Shard(3, Unlearnt(), None), decode(poll_of(values))),
            (Shard(3, Unlearnt(), None), by_schema(values)),
        )
    )
    assert after == after_theirs
    assert ours.features.tobytes() == theirs.features.tobytes()
    assert ours.stretch.rejected == theirs.stretch.rejected
    assert {letter.reason for letter in ours.stretch.rejected} > {"crossed_quote", "future", "undecodable"}
    assert list(ours.stretch.events) == list(theirs.stretch.events)
    assert ours.placed.door.tolist() == theirs.placed.door.tolist()


RECORDED = (
    "ticks/lean_usa_tick_ibm_20131007_trade.csv.gz", "quotes/lean_usa_tick_ibm_20131007_quote.csv.gz",
    "ticks/hftbacktest_binance_spot_btcusdt_20240808.raw.gz", "quotes/lean_oanda_tick_eurusd_20140508_quote.csv.gz",
    "ticks/hftbacktest_binance_coinm_btcusd_perp_20240808.raw.gz", "quotes/lean_usa_tick_bac_20131007_quote.csv.gz",
)  # fmt: skip


@pytest.mark.shared_data
@pytest.mark.parametrize("name", RECORDED)
def test_real_recordings_are_plain_and_say_the_same(shared_data: Path, name: str) -> None:
    events = [
        said for said in islice(open_recording(shared_data / name).items(), 20_000) if not isinstance(said, DeadLetter)
    ]
    values = EVENTS.encode_all(events)
    assert len(values) > 5_000
    assert (plain(values).kind != LEFT).mean() > 0.99
    assert said(decode(poll_of(values))) == said(by_schema(values))
