"""Rules and small logs for tests of them."""

from typing import Any

from hypothesis import strategies as st

from processors.batch import NS
from schemas.events import Control, Event, Heartbeat, NewsSignal, Quote, Trade
from schemas.rules import Condition, Rule, RuleChange, body_of_rule
from tests.logs import START

BASE = START // (60 * NS) * 60 * NS
FIELDS = ("last", "mid", "ask", "bid_size", "spread", "bar.1s.close", "bar.1s.volume", "trade_size")


def when(field: str, op: str, threshold: float, **more: Any) -> Condition:
    return Condition(field=field, op=op, threshold=threshold, **more)  # type: ignore[arg-type]


def rule(name: str, *conditions: Condition, **more: Any) -> Rule:
    return Rule(id=name, conditions=conditions, **more)


def control(change: RuleChange, at: int = START) -> Control:
    return Control(topic="rules", id=change.id, ts_event=at, ts_ingest=at, body=body_of_rule(change))


def added(*rules: Rule) -> list[Event]:
    return [control(RuleChange(action="add", id=each.id, rule=each)) for each in rules]


def trades(*prices: tuple[float, float]) -> list[Event]:
    """(seconds, price) of one symbol of a venue that never closes."""
    return [
        Trade(symbol="A", venue="V", seq=n, ts_event=(at := BASE + round(s * NS)), ts_ingest=at, price=p, size=1)
        for n, (s, p) in enumerate(prices)
    ]


def beat(seconds: float, state: Any = "up") -> Event:
    at = BASE + round(seconds * NS)
    return Heartbeat(venue="V", seq=0, ts_event=at, ts_ingest=at, state=state)


@st.composite
def small_logs(draw: st.DrawFn) -> list[Event]:
    """Two symbols of two venues with whole-second gaps, so that every edge coincides with something."""
    out: list[Event] = []
    now = BASE
    for n in range(draw(st.integers(5, 60))):
        now += draw(st.sampled_from([0, 0, 1, 1, 2, 3, 7])) * NS // 2
        venue = draw(st.sampled_from("VX"))
        what = draw(st.sampled_from(["trade", "trade", "quote", "beat", "beat", "news", "down"]))
        ids: dict[str, Any] = {"symbol": {"V": "A", "X": "B"}[venue], "venue": venue, "seq": n + 1}
        ids |= {"ts_event": now, "ts_ingest": now}
        price = float(draw(st.integers(1, 6)))
        if what == "trade":
            out.append(Trade(**ids, price=price, size=price))
        elif what == "quote":
            out.append(Quote(**ids, bid=price, bid_size=price, ask=price + draw(st.integers(0, 2)), ask_size=2))
        elif what == "news":
            out.append(NewsSignal(**(ids | {"venue": "W"}), sentiment=0.5, item_id=str(n)))
        else:
            out.append(
                Heartbeat(venue=venue, seq=n, ts_event=now, ts_ingest=now, state="down" if what == "down" else "up")
            )
    return out


@st.composite
def small_rules(draw: st.DrawFn) -> Rule:
    conditions = []
    for _ in range(draw(st.integers(1, 3))):
        op = draw(st.sampled_from([">", "<", "crosses_above", "crosses_below", "changes_by"]))
        field = draw(st.sampled_from(FIELDS))
        threshold = float(draw(st.integers(1, 5))) * draw(st.sampled_from([1, -1])) if op == "changes_by" else float(
            draw(st.integers(0, 6))
        )  # fmt: skip
        band = float(draw(st.integers(0, 1 if op == "changes_by" else 3)))
        more = {"window_s": float(draw(st.integers(1, 8)))} if op == "changes_by" else {}
        conditions.append(when(field, op, threshold, hysteresis=band, **more))
    return rule(
        "r", *conditions, match=draw(st.sampled_from(["all", "any"])), dwell_s=float(draw(st.integers(0, 3))),
        cool_down_s=float(draw(st.integers(0, 6))), session=draw(st.sampled_from(["any", "regular"])),
        venue=draw(st.sampled_from(["", "", "V", "X"])),
        expires=draw(st.sampled_from([0, 0, BASE + 15 * NS])),
    )  # fmt: skip
