"""`tickwire up` on a local server that speaks Coinbase Exchange's protocol: history, live, a dropped connection."""

from pathlib import Path

import pytest

from tests.product.running import running
from tests.streams.collectors import exchange as coinbase

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]


def test_up_takes_coinbase_where_it_answers_and_loses_no_trade(tmp_path: Path) -> None:
    first = coinbase.Session(
        [coinbase.subscriptions(), *(coinbase.match(i) for i in range(101, 131)), coinbase.ticker(5_000)], then="drop"
    )
    second = coinbase.Session([coinbase.subscriptions(), *(coinbase.match(i) for i in range(150, 161))])
    script = coinbase.LocalExchange([first, second], history={"BTC-USD": list(range(1, 161))})
    with coinbase.running(script) as server:
        settings = {
            "TICKWIRE_SOURCE__COINBASE_WS": server.ws_url,
            "TICKWIRE_SOURCE__COINBASE_REST": server.rest_url,
            "TICKWIRE_SOURCE__PRODUCTS": '["BTC-USD"]',
        }
        with running(tmp_path / "data", "auto", **settings) as product:
            said = product.said.read_text()
            assert "Coinbase Exchange answers" in said
            assert "no ONNX model yet" in said, "so few labels train no model, and that must be said"
            product.until("SELECT uniqExact(seq) FROM trades", 160)
            rows = product.rows("SELECT seq, price, size, venue, toString(side) FROM trades ORDER BY seq")
            assert [row[0] for row in rows] == list(range(1, 161))
            assert {row[3] for row in rows} == {"COINBASE"}
            assert [row[1] for row in rows] == [100.5 + i % 7 for i in range(1, 161)]
            assert product.rows("SELECT bid, bid_size, ask, ask_size FROM quotes") == [(100.4, 3.5, 100.6, 0.25)]
            product.until("SELECT countIf(onnx IS NULL AND online IS NOT NULL) = count() FROM predictions", 1)
