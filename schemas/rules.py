"""Alert rules: what a rule says, and how it changes on the log (the body of a `Control` of the topic `rules`).

A rule watches every symbol that it names, each for itself, by the time of the events. What its words mean:

update      a row of the symbol (trade, quote, news), a bar of it that closes, or an outcome of it that becomes known. All that
            one record of the log brings is taken first; then the rule is judged once. It is also judged at heartbeats of the
            symbol's venue, within its session. A value that is missing or not finite changes nothing.
`>` `<`     on beyond the threshold; off again once the value is back at the threshold or, with a band, `hysteresis` behind it
crosses_…   the same, but first the value must have been seen where it would be off: a rule that begins beyond does not fire
changes_by  the same of the value's change over `window_s`: rises for a threshold above 0, falls for one below; `relative`: as a
            fraction of what it was. It was what the newest value said whose part lies 16 or more parts back: 15/16 of the
            window ago or earlier.
z_score     the same of the value's distance from the mean of those before it, in standard deviations of theirs (at least 20
            values, of this part of the window and the 15 before it): above for a threshold above 0, below for one below
match       the rule holds while `all` of its conditions are on, or `any`; each keeps its state until its own value changes
dwell_s     it has to hold for so long without a break before it fires. A new session, a row outside the session filter, and
            time in which the venue was down or nobody listened (no heartbeat) are breaks.
cool_down_s it fires no sooner than so long after it last fired for that symbol; while it still holds then, it fires
cleared     a rule that has fired clears at the first update at which it does not hold
session     `regular`: only what happens in regular trading counts: rows within it, bars that start and predictions made in it
expires     from this time of the symbol on it is not judged any more

A window is cut into 16 parts that are aligned to the epoch; windows begin anew with every session of the symbol.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.events import Ns, Symbol

RULES: Final = "rules"
"""`Control.topic` of a `RuleChange`."""
DAY_S: Final = 86_400.0
MOST_CONDITIONS: Final = 4
MOST_RULES: Final = 256
"""That stand at a time."""
MOST_LAST: Final = 1_000
WINDOWED: Final = frozenset({"changes_by", "z_score"})

RuleId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Severity = Literal["info", "warning", "critical"]
Operator = Literal[">", "<", "crosses_above", "crosses_below", "changes_by", "z_score"]
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]


class Condition(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One comparison of one field."""

    field: Annotated[str, Meta(min_length=1, max_length=160)]
    """A feature's name; `last mid bid ask bid_size ask_size trade_size sentiment`; `bar.KIND.close` and its like;
    `score.p_up` (what clients see) or `score.MODEL`; `outcome.hit_rate`, `outcome.brier`, `outcome.log_return`.
    """
    op: Operator
    threshold: Number
    hysteresis: Annotated[float, Meta(ge=0, le=1e15)] = 0.0
    window_s: Annotated[float, Meta(ge=0, le=DAY_S)] = 0.0
    """Of `changes_by` and `z_score`: at least 1."""
    relative: bool = False
    """Of `changes_by`."""
    last: Annotated[int, Meta(ge=0, le=MOST_LAST)] = 0
    """Of an outcome field: the mean of so many outcomes, the newest."""


class Rule(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """When to say something of a symbol. Neither `symbols` nor `venue`: of every symbol."""

    id: RuleId
    conditions: Annotated[tuple[Condition, ...], Meta(min_length=1, max_length=MOST_CONDITIONS)]
    match: Literal["all", "any"] = "all"
    symbols: Annotated[tuple[Symbol, ...], Meta(max_length=200)] = ()
    venue: Annotated[str, Meta(max_length=16)] = ""
    dwell_s: Annotated[float, Meta(ge=0, le=DAY_S)] = 0.0
    cool_down_s: Annotated[float, Meta(ge=0, le=7 * DAY_S)] = 0.0
    session: Literal["any", "regular"] = "any"
    severity: Severity = "info"
    expires: Ns = 0
    """Never where 0."""
    owner: Annotated[str, Meta(max_length=128)] = ""
    note: Annotated[str, Meta(max_length=500)] = ""


class RuleChange(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """From this record on a rule stands, stands in another way and with nothing remembered, or does no longer."""

    action: Literal["add", "change", "remove"]
    id: RuleId
    rule: Rule | None = None
    """Of `add` and `change`; its id is the same."""
    by: Annotated[str, Meta(max_length=128)] = ""
    why: Annotated[str, Meta(max_length=1_000)] = ""


class StandingRule(Struct, frozen=True, kw_only=True):
    """A rule that stands, and since when: the time of its change, and its offset in each partition."""

    rule: Rule
    rev: int
    since_ns: Ns
    by: str
    fence: Mapping[str, int]


class RuleTaken(Struct, frozen=True, kw_only=True):
    """What came of a change, by partition: the offset behind which it is in force, or why nothing has changed there."""

    action: str
    id: str
    fence: Mapping[str, int]
    refused: Mapping[str, str]
    everywhere: bool
    """Every partition has folded it; where not, it is on the log and will be."""


_changes = msgspec.json.Decoder(RuleChange)


def rule_change(body: str) -> RuleChange | str:
    """The change that a control event's body says, or why it says none."""
    try:
        return _changes.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return f"no change of a rule: {error}"


def body_of_rule(change: RuleChange) -> str:
    """As it stands in a control event."""
    return msgspec.json.encode(change).decode()


def flaws(rule: Rule) -> list[str]:
    """What contradicts itself in a rule, as sentences that name the field; which fields there are is not asked here."""
    found = []
    if rule.symbols and rule.venue:
        found.append("venue: expected none beside symbols, which have theirs; leave one of them out")
    if len(set(rule.symbols)) < len(rule.symbols):
        found.append(f"symbols: expected each once, found {', '.join(rule.symbols)}")
    for number, condition in enumerate(rule.conditions):
        found += [f"conditions[{number}].{flaw}" for flaw in _flaws(condition)]
    return found


def _flaws(condition: Condition) -> list[str]:
    found, windowed = [], condition.op in WINDOWED
    outcome = condition.field.startswith("outcome.")
    if windowed and condition.window_s < 1:
        found.append(f"window_s: expected 1 to {DAY_S:g} seconds for {condition.op}, was {condition.window_s:g}")
    if not windowed and condition.window_s:
        found.append(f"window_s: expected none for {condition.op}; changes_by and z_score have one")
    if windowed and condition.threshold == 0:
        found.append(f"threshold: expected above or below 0 for {condition.op}, which says the direction, was 0")
    if condition.relative and condition.op != "changes_by":
        found.append(f"relative: expected false for {condition.op}; changes_by has it")
    if outcome and windowed:
        found.append(f"op: expected > < crosses_above or crosses_below for {condition.field}, was {condition.op}")
    if outcome and not condition.last:
        found.append(f"last: expected 1 to {MOST_LAST} outcomes for {condition.field}, was {condition.last}")
    if not outcome and condition.last:
        found.append(f"last: expected none for {condition.field}; outcome fields have it")
    if windowed and condition.hysteresis > abs(condition.threshold):
        found.append(
            f"hysteresis: expected at most {abs(condition.threshold):g} for {condition.op}, or the band would reach beyond "
            f"no change at all, was {condition.hysteresis:g}"
        )
    return found


def plain(rule: Rule) -> Rule:
    """The same without hysteresis, dwell and cool-down: how often it would fire if nothing held it back."""
    conditions = tuple(msgspec.structs.replace(each, hysteresis=0.0) for each in rule.conditions)
    return msgspec.structs.replace(rule, conditions=conditions, dwell_s=0.0, cool_down_s=0.0)


def alert_id(log_id: str, rule: str, symbol: str, src_partition: int, src_offset: int) -> str:
    """Identity of an alert, and of the webhook that tells of it: a rule says one thing at most of a symbol and a record."""
    told = "\n".join([log_id, rule, symbol, str(src_partition), str(src_offset)])
    return hashlib.sha256(told.encode()).hexdigest()
