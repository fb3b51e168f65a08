"""What the routes of alerts and rules take and answer with."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from api.answers import Time
from api.times import to_rfc3339
from schemas.backtest import Backtest
from schemas.rows import Alert
from schemas.rules import Rule, StandingRule


class BacktestRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule that need not stand, and the stretch to judge it over, by the broker's clock; all there is where left out."""

    rule: Rule
    start: str | None = None
    """RFC 3339, inclusive."""
    end: str | None = None
    """RFC 3339, exclusive."""


class Rules(Struct, frozen=True, kw_only=True):
    """The alert rules that stand."""

    data: Sequence[StandingRule]


class Said(Struct, frozen=True, kw_only=True):
    """A rule fired or cleared; `id` is also that of the webhook that tells of it."""

    id: str
    rule: str
    rev: int
    symbol: str
    state: str
    severity: str
    owner: str
    ts_event: Time
    field: str
    value: float
    threshold: float
    log_id: str
    src_partition: int
    src_offset: int


class SaidPage(Struct, frozen=True, kw_only=True):
    """A page of what rules have said, the newest first."""

    data: Sequence[Said]
    next_cursor: str | None


class Tried(Struct, frozen=True, kw_only=True):
    """How a rule would have done."""

    sentence: Annotated[str, Meta(examples=["fired 41 times, 7 with this hysteresis"])]
    fired: int
    cleared: int
    plain_fired: Annotated[int, Meta(description="Without hysteresis, dwell and cool-down")]
    by_symbol: Mapping[str, int]
    alerts: Annotated[Sequence[Said], Meta(description="The first thousand")]
    records: Annotated[int, Meta(description="Records of the log that were folded for it")]
    ranges: Annotated[Mapping[str, tuple[int, int]], Meta(description="Partition to the offsets that were judged")]
    seconds: float
    complete: Annotated[bool, Meta(description="False where the time was over: `ranges` says how far it came")]
    notes: Sequence[str]


def told(alert: Alert) -> Said:
    """With a readable time."""
    fields = {name: getattr(alert, name) for name in Said.__struct_fields__ if name != "ts_event"}
    return Said(ts_event=to_rfc3339(alert.ts_event), **fields)


def tried(found: Backtest) -> Tried:
    """A back-test for a client."""
    names = ("fired", "cleared", "plain_fired", "by_symbol", "records", "ranges", "seconds", "complete", "notes")
    return Tried(
        sentence=found.sentence, alerts=list(map(told, found.alerts)), **{name: getattr(found, name) for name in names}
    )
