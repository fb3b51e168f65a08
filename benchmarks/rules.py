"""What do alert rules cost the fold?

    python -m benchmarks.rules [--json] [--events N]

20 symbols, 70 % quotes and 30 % trades, 5,000 events a second of the log, stretches of 4,096: indicators, online model,
labels, bars, and 0, 10 or 100 rules that all watch every symbol (levels with a band, changes within a minute, z-scores, two
conditions joined; each with dwell and cool-down). The shards take turns on every stretch, so that noise falls on all of
them; CPU seconds of one core. Last numbers, 45,056 events, one core of a busy 2-core Intel Xeon, µs an event (the fold
alone, without decoding, ONNX and sinks):

    no rule     1.7
    10 rules    4.2    2.5 times as much
    100 rules  25.1   14.8 times as much: 0.23 a rule and row that it watches

A rule that names symbols costs on their rows only.
"""

import argparse
import json
import sys
import time

import numpy as np

from models.online import OnlineModel
from processors.batch import NS
from processors.columns import LogStretch
from processors.features import FEATURE_NAMES
from processors.rules import Standing
from processors.shard import Shard
from schemas.events import Event, Quote, Trade
from schemas.rules import Condition, Rule

STRETCH = 4_096
SYMBOLS = 20
START_NS = 1_700_000_000 * NS
COUNTS = (0, 10, 100)


def market(events: int, seed: int = 7) -> list[Event]:
    """Prices walk by ticks of 0.01."""
    rng = np.random.default_rng(seed)
    at = START_NS + np.cumsum(rng.exponential(NS / 5_000, events)).astype(np.int64)
    symbol, quoted = rng.integers(0, SYMBOLS, events), rng.random(events) < 0.7
    price = np.round(100 + symbol + np.cumsum(rng.integers(-1, 2, events)) * 0.01, 2)
    out: list[Event] = []
    for n, (now, s, p) in enumerate(zip(at.tolist(), symbol.tolist(), price.tolist(), strict=True)):
        same = {"symbol": f"S{s}", "venue": "V", "seq": n, "ts_event": now, "ts_ingest": now}
        if quoted[n]:
            out.append(Quote(**same, bid=round(p - 0.01, 2), bid_size=100, ask=round(p + 0.01, 2), ask_size=200))
        else:
            out.append(Trade(**same, price=p, size=50))
    return out


def rules(count: int) -> list[Standing]:
    """Of four sorts, each a little different."""
    made = []
    for n in range(count):
        conditions = (
            (Condition(field="mid", op=">", threshold=100.0 + n, hysteresis=0.05),),
            (Condition(field="mid", op="changes_by", threshold=1e-4 * (1 + n), window_s=60, relative=True),),
            (Condition(field="spread", op="z_score", threshold=2.0 + n, window_s=60),),
            (
                Condition(field="volatility_60s", op=">", threshold=1e-6 * n),
                Condition(field="score.p_up", op=">", threshold=0.5 + 0.001 * n),
            ),
        )[n % 4]
        made.append(Standing(Rule(id=f"r{n}", conditions=conditions, dwell_s=1, cool_down_s=10)))
    return made


def measure(events: int) -> dict[str, float]:
    """CPU microseconds an event by number of rules, and how many alerts there were."""
    log, spent, alerts = market(events), dict.fromkeys(COUNTS, 0.0), dict.fromkeys(COUNTS, 0)
    shards = {count: Shard(0, OnlineModel(FEATURE_NAMES), None) for count in COUNTS}
    folded = 0
    for first in range(0, events - STRETCH + 1, STRETCH):
        offsets = np.arange(first, first + STRETCH, dtype=np.int64)
        piece = log[first : first + STRETCH]
        nobody = np.empty(0, np.int64)
        stretch = LogStretch(piece, [b""] * STRETCH, offsets, offsets, [], nobody)
        for count, shard in shards.items():
            began = time.process_time()
            output = shard.advance(stretch)
            if first:
                spent[count] += time.process_time() - began
            else:  # everything is compiled by now but the rules
                shard.alerting.stand(rules(count), shard.symbols)
                shard.advance(LogStretch([], [], nobody, nobody, [], nobody))
            alerts[count] += len(output.alerts)
        folded += STRETCH if first else 0
    found = {f"us_per_event_{count}_rules": 1e6 * seconds / folded for count, seconds in spent.items()}
    ratios = {f"ratio_{count}_rules": spent[count] / spent[0] for count in COUNTS[1:]}
    return {**found, **ratios, "alerts_100_rules": alerts[100], "events": folded}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What alert rules cost the fold")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.events)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:24} {value:12,.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
