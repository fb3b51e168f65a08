"""How fast is the catalogue of features folded, and how much does it remember?

    python -m benchmarks.indicators [--json] [--rows N]

20 symbols, 70 % quotes and 30 % trades; seconds of one core (not of the clock on the wall: others may be using it).
Last numbers, 32 features, one core of a 2-core Intel Xeon (2 MiB of L2 a core), Numba 0.68.1:

    blocks of 65,536 rows, 500 events a second each   5,400,000 rows a second
    blocks of 65,536 rows, 1 event a second each        770,000 rows a second (nearly every row opens tiles)
    a call with one row, median                              39 µs (45 µs on the wall, nobody else at work)
    remembered a symbol                                  24,952 bytes, of which RSI, MACD, Bollinger and ATR 9,880

Before tiles were kept in order of age, tile_ended was asked in the kernel itself, and stretches fitted the cache, the
first was 650,000.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from infra.warm_up import compile_all
from processors.batch import NS, QUOTE, TRADE, EventBatch
from processors.features import FEATURES, FeatureEngine
from processors.market import MarketState, as_of

SYMBOLS = 20
BLOCK = 65_536
OPEN_NS = 1_700_000_000 * NS


def stream(rows: int, *, rate: float, seed: int = 7) -> EventBatch:
    """70 % quotes, 30 % trades of 20 symbols, `rate` rows a second in all; prices walk by ticks of 0.01."""
    rng = np.random.default_rng(seed)
    kind = np.where(rng.random(rows) < 0.7, QUOTE, TRADE).astype(np.int8)
    symbol = rng.integers(0, SYMBOLS, rows).astype(np.int32)
    now = OPEN_NS + np.cumsum(rng.exponential(NS / rate, rows)).astype(np.int64)
    price = 100 + np.cumsum(rng.integers(-1, 2, rows)) * 0.01 + symbol
    quoted, traded = kind == QUOTE, kind == TRADE
    half = rng.integers(1, 4, rows) * 0.01
    columns = {
        "price": np.where(traded, price, np.nan),
        "size": np.where(traded, rng.integers(1, 50, rows) * 10.0, np.nan),
        "bid": np.where(quoted, price - half, np.nan),
        "bid_size": np.where(quoted, rng.integers(1, 50, rows) * 10.0, np.nan),
        "ask": np.where(quoted, price + half, np.nan),
        "ask_size": np.where(quoted, rng.integers(1, 50, rows) * 10.0, np.nan),
    }
    sign, last, mid = np.zeros(rows, np.int8), np.empty(rows), np.empty(rows)
    as_of(
        kind, symbol, np.zeros(rows, np.bool_), columns["price"], np.zeros(rows, np.int8), columns["bid"],
        columns["bid_size"], columns["ask"], columns["ask_size"], MarketState.start(SYMBOLS).known, sign, last, mid,
    )  # fmt: skip
    opened = np.full(rows, OPEN_NS)
    return EventBatch(
        kind=kind, symbol=symbol, now=now, sign=sign, last=last, mid=mid, sentiment=np.full(rows, np.nan),
        session_open=opened, session_close=opened + 86_400 * NS, **columns,
    )  # fmt: skip


def fold_rate(batch: EventBatch) -> float:
    """Rows a second through the whole catalogue, in blocks; the first block is not counted."""
    engine, fresh = FeatureEngine(FEATURES, capacity=SYMBOLS), np.zeros(BLOCK, np.bool_)
    blocks = [batch.rows(start, start + BLOCK) for start in range(0, len(batch) - BLOCK + 1, BLOCK)]
    engine.fold(blocks[0], fresh)
    took = sum(timed(partial(engine.fold, block, fresh)) for block in blocks[1:])
    return (len(blocks) - 1) * BLOCK / took


def one_row_us(batch: EventBatch, rows: int = 2_000) -> tuple[float, float]:
    """Median and 99th percentile of a call with one row, in microseconds."""
    engine, fresh = FeatureEngine(FEATURES, capacity=SYMBOLS), np.zeros(1, np.bool_)
    took = [timed(partial(engine.fold, batch.rows(i, i + 1), fresh)) for i in range(rows)]
    return float(np.median(took)) * 1e6, float(np.quantile(took, 0.99)) * 1e6


def ns_each(batch: EventBatch) -> dict[str, float]:
    """Nanoseconds a row of every feature alone."""
    out, costs = np.empty(BLOCK), {}
    for name, indicator in FEATURES.items():
        state = indicator.start(SYMBOLS)
        state.fold(batch.rows(0, BLOCK), out)
        costs[name] = timed(partial(state.fold, batch.rows(BLOCK, 2 * BLOCK), out)) / BLOCK * 1e9
    return costs


def bytes_each() -> dict[str, int]:
    """Bytes a symbol that every feature remembers."""
    return {name: sum(array.nbytes for array in indicator.start(1).arrays) for name, indicator in FEATURES.items()}


def timed(work: Callable[[], object]) -> float:
    """Seconds of this thread on the processor."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def main(argv: list[str]) -> None:
    """Print the numbers, as JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=16 * BLOCK)
    asked = parser.parse_args(argv)
    compile_all()
    dense, sparse = stream(asked.rows, rate=10_000), stream(asked.rows, rate=SYMBOLS)
    median, p99 = one_row_us(dense)
    costs, kept = ns_each(dense), bytes_each()
    found = {
        "features": len(FEATURES),
        "rows_per_s_500_a_second_each": fold_rate(dense),
        "rows_per_s_1_a_second_each": fold_rate(sparse),
        "one_row_us_median": median,
        "one_row_us_p99": p99,
        "bytes_per_symbol": sum(kept.values()),
    }
    if asked.json:
        print(json.dumps({**found, "ns_per_row": costs, "bytes": kept}))
        return
    print("\n".join(f"{name:32}{value:14,.1f}" for name, value in found.items()))
    print(f"\n{'feature':32}{'ns a row':>14}{'bytes':>10}")
    print("\n".join(f"{name:32}{costs[name]:14.2f}{kept[name]:10,}" for name in FEATURES))


if __name__ == "__main__":
    main(sys.argv[1:])
