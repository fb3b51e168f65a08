"""Hysteresis, dwell and cool-down on real ticks: what the fold says of IBM, BAC and SPY is what the rules' words say of them."""

import math
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processors.sessions import Calendar, Sessions
from processors.shard import FoldRules, Shard
from schemas.events import Control, Event
from schemas.rules import Condition, Rule, RuleChange, body_of_rule
from streams.play import PlayOptions, play
from tests.conftest import recordings
from tests.fakes import ConstantModel, CountingLearner
from tests.logs import stretch
from tests.processors.rule_oracle import expected, said, same
from tests.streams.sessions import OPEN_NS
from tests.streams.writers import ListWriter, WallClock

FILES = (
    "ticks/lean_usa_tick_ibm_20131007_trade.csv.gz", "quotes/lean_usa_tick_ibm_20131007_quote.csv.gz",
    "ticks/lean_usa_tick_bac_20131007_trade.csv.gz", "quotes/lean_usa_tick_bac_20131007_quote.csv.gz",
    "ticks/lean_usa_tick_spy_20131007_trade.csv.gz",
)  # fmt: skip
TICKS = 40_000
HOUR_NS = 3_600 * 10**9
NEW_YORK = Sessions(
    {"XNYS": Calendar(*(np.array([OPEN_NS + round(hours * HOUR_NS)]) for hours in (-9.5, 0, 6.5)))}, {"USA": "XNYS"}
)
KINDS = [kind.name for kind in FoldRules().bars]


def rule(name: str, *conditions: tuple[str, str, float, dict[str, Any]], **more: Any) -> Rule:
    made = tuple(Condition(field=f, op=op, threshold=t, **rest) for f, op, t, rest in conditions)  # type: ignore[arg-type]
    return Rule(id=name, conditions=made, **more)


STILL = ("mid", "changes_by", 2e-4, {"window_s": 20.0, "relative": True})
RULES = (
    rule("plain", STILL), rule("banded", (*STILL[:3], {**STILL[3], "hysteresis": 1.5e-4})),
    rule("held", STILL, dwell_s=3), rule("rare", STILL, cool_down_s=60),
    rule("all-three", (*STILL[:3], {**STILL[3], "hysteresis": 1.5e-4}), dwell_s=3, cool_down_s=60, session="regular"),
    rule("book", ("book_imbalance", ">", 0.8, {"hysteresis": 0.7}), dwell_s=1, symbols=("IBM", "BAC")),
    rule("wide", ("spread", "crosses_above", 5e-4, {"hysteresis": 2e-4}), session="regular"),
    rule("odd", ("trade_size", "z_score", 3.3, {"window_s": 30.0}), symbols=("IBM",)),
    rule("bars", ("bar.1m.volume", ">", 20_000, {}), ("bar.1m.close", "crosses_below", 167.5, {}), match="any"),
    rule("hits", ("outcome.hit_rate", "<", 0.4, {"last": 20, "hysteresis": 0.1}), cool_down_s=30),
    rule("score", ("score.p_up", ">", 0.55, {}), ("spread", "<", 3e-4, {"hysteresis": 1e-4}), symbols=("BAC", "SPY")),
)  # fmt: skip


@cache
def ticks() -> tuple[Event, ...]:
    writer = ListWriter()
    files = [recordings() / each for each in FILES]
    play(files, writer, WallClock(), PlayOptions(speed=math.inf, limit=TICKS))
    return tuple(writer.events)


def log() -> list[Event]:
    at = ticks()[0].ts_event
    bodies = [RuleChange(action="add", id=each.id, rule=each) for each in RULES]
    controls = [Control(topic="rules", id=c.id, ts_event=at, ts_ingest=at, body=body_of_rule(c)) for c in bodies]
    return [*controls, *ticks()]


@pytest.mark.shared_data
def test_rules_on_real_ticks_say_what_their_words_say(shared_data: Path) -> None:
    assert all((shared_data / each).exists() for each in FILES)
    output = Shard(0, CountingLearner(), ConstantModel(0.57), sessions=NEW_YORK).advance(stretch(log()))
    assert set(output.names) == {"IBM", "BAC", "SPY"}
    found = said([output])
    assert same(found, expected(dict(enumerate(RULES)), output, KINDS))
    fired = Counter(each[1] for each in found if each[3])
    assert fired["plain"] > fired["banded"] > fired["all-three"] > 0, fired
    assert fired["plain"] > fired["held"] > 0, fired
    assert fired["plain"] > fired["rare"] > 0, fired
    assert min(fired[each.id] for each in RULES) > 0, fired
