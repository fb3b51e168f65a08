"""What a news item says about each symbol it names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from models.sentiment import LexiconSentiment
from schemas.errors import SchemaError
from schemas.events import NewsItem, NewsSignal
from schemas.topics import DEAD_LETTERS, EVENTS, NEWS
from streams.agents.news import cashtags, identity, signals
from streams.agents.worker import dead_letter

LEXICON = LexiconSentiment()
NOW = 1_700_000_100_000_000_000
ITEM = NewsItem(
    item_id="a1",
    source="WIRE",
    ts_event=1_700_000_000_000_000_000,
    ts_ingest=1_700_000_001_000_000_000,
    title="Acme beats estimates and raises guidance",
    symbols=("ACME", "BETA"),
)


class WordCount:
    """A sentiment that is easy to foretell."""

    def score(self, text: str) -> float:
        return min(len(text.split()), 10) / 10


def test_an_item_makes_one_signal_for_each_symbol() -> None:
    acme = NewsSignal(
        symbol="ACME", venue="WIRE", seq=identity(ITEM), ts_event=ITEM.ts_event, ts_ingest=NOW, sentiment=0.6,
        item_id="a1", words=6,
    )  # fmt: skip
    assert signals(ITEM, WordCount(), NOW) == [acme, replace(acme, symbol="BETA")]


def test_a_symbol_that_is_named_twice_has_one_signal() -> None:
    twice = replace(ITEM, symbols=("ACME", "BETA", "ACME"))
    assert [signal.symbol for signal in signals(twice, WordCount(), NOW)] == ["ACME", "BETA"]


def test_without_a_list_the_cashtags_of_the_title_name_the_symbols() -> None:
    tagged = replace(ITEM, symbols=(), title="$acme and $BRK.B beat, says $ACME")
    assert [signal.symbol for signal in signals(tagged, WordCount(), NOW)] == ["ACME", "BRK.B"]
    listed = replace(ITEM, title="$OTHER is named, too")
    assert [signal.symbol for signal in signals(listed, WordCount(), NOW)] == ["ACME", "BETA"]


def test_an_item_that_names_nobody_makes_no_signal() -> None:
    assert signals(replace(ITEM, symbols=()), WordCount(), NOW) == []


def test_an_item_without_a_title_is_judged_by_its_body() -> None:
    (signal,) = signals(replace(ITEM, title="", body="Acme profit plunged", symbols=("ACME",)), LEXICON, NOW)
    assert signal.sentiment < -0.2
    assert signal.words == 3


@pytest.mark.parametrize(
    ("title", "symbols"),
    [
        ("", ()), ("$AAPL", ("AAPL",)), ("($AAPL, $MSFT).", ("AAPL", "MSFT")), ("buy $AAPL!", ("AAPL",)),
        ("$100 and $5bn", ()), ("US$AAPL", ()), ("$$AAPL", ()), ("$AAPL$MSFT", ()), ("$BTC-USD up", ("BTC-USD",)),
        ("costs $", ()), ("$AAPL's", ("AAPL",)), ("$AVERYLONGNAMETHATISNONE", ()), ("$A_B", ()), ("$ES_F and $es_f", ("ES_F",)),
        ("$JPM-net interest, $AAPL-led", ("JPM", "AAPL")),
        ("$TSLA.The end. $GOOG.Up", ("TSLA", "GOOG")), ("$C.O.D$ pays", ()),
        ("$NEE-PJ $brk.b $btc-usd", ("NEE-PJ", "BRK.B", "BTC-USD")),
        ("RT: $CMG and $G…", ("CMG",)), ("$CMG… and on", ("CMG",)), ("$GOOG.", ("GOOG",)),
    ],
)  # fmt: skip
def test_cashtags_are_found_and_sums_of_money_are_not(title: str, symbols: tuple[str, ...]) -> None:
    assert cashtags(title) == symbols


def test_the_number_of_an_item_depends_on_its_source_and_id_alone() -> None:
    assert identity(ITEM) == identity(replace(ITEM, title="corrected", ts_event=5, ts_ingest=6, symbols=()))
    assert identity(ITEM) != identity(replace(ITEM, source="OTHER"))
    assert identity(replace(ITEM, source="A", item_id="BC")) != identity(replace(ITEM, source="AB", item_id="C"))


def test_the_number_is_the_same_in_every_process_and_release() -> None:
    # From `printf 'WIRE\0a1' | b2sum -l 64`, halved: numbers that are on the log must never change.
    assert identity(ITEM) == 9_135_180_397_592_376_747


ITEMS = st.builds(
    NewsItem,
    item_id=st.text(min_size=1, max_size=128),
    source=st.text(min_size=1, max_size=16),
    ts_event=st.integers(0, 4 * 10**18),
    ts_ingest=st.integers(0, 4 * 10**18),
    title=st.text(max_size=200),
    symbols=st.lists(st.text(min_size=1, max_size=32), max_size=5).map(tuple),
    body=st.text(max_size=200),
)


@given(ITEMS)
@settings(max_examples=200, deadline=None)
def test_whatever_the_item_its_signals_are_what_the_topic_declares(item: NewsItem) -> None:
    made = signals(NEWS.decode(NEWS.encode(item)), LEXICON, NOW)
    assert [EVENTS.decode(EVENTS.encode(signal)) for signal in made] == made
    assert len({signal.symbol for signal in made}) == len(made)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"junk", "undecodable"),
        (b"", "undecodable"),
        (b'{"item_id":""}', "invalid_value"),
        (b"\xff" * 99_999, "undecodable"),
    ],
)
def test_a_record_that_is_no_item_is_a_dead_letter_with_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(SchemaError) as caught:
        NEWS.decode(raw)
    letter = dead_letter(NEWS.name, raw, caught.value, 3, 17, NOW)
    assert (letter.source, letter.partition, letter.offset, letter.reason) == ("news.items.v1", 3, 17, reason)
    assert letter.raw == raw[:65_536]
    assert DEAD_LETTERS.decode(DEAD_LETTERS.encode(letter)) == letter
