"""Real recordings through the whole product: rows, bars and ledger against what the files say."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.product.running import Product, json_lines, running

pytestmark = [pytest.mark.embedded, pytest.mark.shared_data, pytest.mark.timeout(600)]
TRADES = {
    ("SPY", "20131007"): 250_601,
    ("IBM", "20131007"): 24_293,
    ("IBM", "20131008"): 33_381,
    ("BAC", "20131007"): 88_172,
}
MIDNIGHT = "toDateTime64('{day} 00:00:00', 9, 'America/New_York')"


@pytest.fixture(scope="module")
def product(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """All four days of trades and one of quotes, played as fast as it goes, and folded to the end."""
    files = [shared_data / "ticks" / f"lean_usa_tick_{symbol.lower()}_{day}_trade.csv.gz" for symbol, day in TRADES]
    files.append(shared_data / "quotes" / "lean_usa_tick_ibm_20131007_quote.csv.gz")
    with running(tmp_path_factory.mktemp("recordings") / "data", "none") as product:
        (played,) = json_lines(product.tickwire("play", *map(str, files), "--speed", "max", "--json", timeout_s=300))
        assert played["events"]["trade"] == sum(TRADES.values())
        product.until("SELECT count() FROM trades", sum(TRADES.values()), within_s=240)
        product.until(
            "SELECT count() + (SELECT countIf(reason = 'crossed_quote') FROM dead_letters) FROM quotes",
            played["events"]["quote"],
        )
        yield product


def test_every_trade_is_stored_once(product: Product) -> None:
    for (symbol, day), expected in TRADES.items():
        midnight = MIDNIGHT.format(day=f"{day[:4]}-{day[4:6]}-{day[6:]}")
        ((rows, unique),) = product.rows(
            f"SELECT count(), uniqExact(src_partition, src_offset) FROM trades WHERE symbol = '{symbol}' "
            f"AND ts_event >= {midnight} AND ts_event < {midnight} + INTERVAL 1 DAY"
        )
        assert (rows, unique) == (expected, expected)


def test_every_folded_event_has_one_prediction_and_one_row_of_features(product: Product) -> None:
    ((folded,),) = product.rows(
        "SELECT count() FROM (SELECT 1 FROM trades WHERE NOT late UNION ALL SELECT 1 FROM quotes WHERE NOT late)"
    )
    for table in ("predictions", "features"):
        product.until(f"SELECT count() FROM {table}", folded)
        assert product.rows(f"SELECT uniqExact(src_partition, src_offset) FROM {table}") == [(folded,)]


def test_the_volume_of_a_minute_is_the_one_that_lean_has(product: Product, shared_data: Path) -> None:
    for symbol, day in TRADES:
        with gzip.open(shared_data / "bars" / f"lean_usa_minute_{symbol.lower()}_{day}_trade.csv.gz", "rt") as file:
            lean = {int(row[0]) // 60_000: float(row[5]) for row in csv.reader(file)}
        midnight = MIDNIGHT.format(day=f"{day[:4]}-{day[4:6]}-{day[6:]}")
        ours = dict(
            product.rows(
                f"SELECT dateDiff('minute', {midnight}, start), volume FROM bars_latest WHERE symbol = '{symbol}' "
                f"AND kind = '1m' AND start >= {midnight} AND start < {midnight} + INTERVAL 1 DAY"
            )
        )
        equal = sum(ours.get(minute) == volume for minute, volume in lean.items())
        assert equal / len(lean) >= 0.99, f"{symbol} {day}: {equal} of {len(lean)} minutes"


def test_crossed_quotes_are_few_and_are_told(product: Product) -> None:
    ((crossed,),) = product.rows("SELECT count() FROM dead_letters WHERE reason = 'crossed_quote'")
    ((quotes,),) = product.rows("SELECT count() FROM quotes")
    assert 0 < crossed < 0.001 * (quotes + crossed)
    assert product.rows("SELECT count() FROM quotes WHERE bid > ask") == [(0,)]


def test_the_ledger_adds_up(product: Product) -> None:
    ((rejected,),) = product.rows("SELECT count() FROM dead_letters")
    score = json_lines(product.tickwire("doctor", "--json"))[0]
    told = next(finding["found"] for finding in score if finding["what"] == "scoring")
    words = told.split(": ")[1].replace(",", "").split()
    counts = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    topics = json_lines(product.tickwire("topics", "--json"))[0]
    (records,) = [topic["records"] for topic in topics if topic["topic"] == "market.events.v1"]
    assert sum(counts.values()) == records
    assert counts["rejected"] == rejected


def test_the_same_recording_again_adds_nothing(product: Product, shared_data: Path) -> None:
    before = product.rows("SELECT count() FROM trades")
    file = shared_data / "ticks" / "lean_usa_tick_ibm_20131008_trade.csv.gz"
    product.tickwire("play", str(file), "--json")
    product.until("SELECT count() >= 1 FROM ledger", 1)
    ((late,),) = product.rows("SELECT count() FROM trades WHERE late")
    ((all_,),) = product.rows("SELECT count() FROM trades")
    assert all_ - late <= before[0][0]
