"""Alert rules and what they have said."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from msgspec import Struct

from api.access.needs import needs
from api.alert_answers import BacktestRequest, Rules, SaidPage, Tried, told, tried
from api.asked import invalid, time_of
from api.blocking import Blocking
from api.bodies import json_of
from api.cursor import number_of, to_cursor
from api.once import Once
from api.openapi import answered
from api.ports import AlertHistory, AlertRules, Span
from api.problems import Problem
from schemas.errors import InputError, RuleError
from schemas.rules import Rule, RuleChange, RuleTaken, StandingRule

READS: Final = (needs("alerts:read"),)
WRITES: Final = (needs("alerts:write"),)
HEARS: Final = (needs("signals:read"),)
MOST_BYTES: Final = 65_536
MAX_LIMIT: Final = 1_000
MOST_AT_ONCE: Final = 100_000
T = TypeVar("T")
RuleId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", examples=["ibm-falls"])]
Named = Annotated[str, Query(max_length=64, description="Only of this rule")]
OfSymbol = Annotated[str, Query(max_length=32, description="Only of this symbol")]
Time = Annotated[str | None, Query(max_length=40, description="RFC 3339, of the symbol's clock; `end` is exclusive")]


def alert_routes(rules: AlertRules, alerts: AlertHistory, now_ns: Callable[[], int], once: Once) -> APIRouter:
    """`/v1/alerts`, `/v1/alerts/rules`, `/v1/alerts/rules/{rule}`, `/v1/alerts/rules/backtest`."""
    router = APIRouter(prefix="/v1/alerts", tags=["alerts"])
    blocking, testing = Blocking(), Blocking(1)
    _add_rule_routes(router, rules, blocking, once)
    _add_history_route(router, alerts, blocking, now_ns)

    @router.post(
        "/rules/backtest", operation_id="backtestRule", dependencies=READS,
        summary="How often a rule would have fired, with the times",
        openapi_extra=_body(BacktestRequest),
        responses=answered(Tried, "What it would have said", "invalid-request", "backend-unavailable"),
    )  # fmt: skip
    async def backtest(request: Request) -> Response:
        _, asked = await json_of(request, BacktestRequest, MOST_BYTES)
        begin, end = (None if text is None else time_of(f"body.{name}", text) for name, text in _bounds(asked))
        if begin is not None and end is not None and begin >= end:
            raise invalid("body.end", f"expected a time after start, {asked.start}, was {asked.end}")
        found = await _checked(testing.call(rules.backtest, asked.rule, begin, end))
        return _json(tried(found))

    return router


def _add_rule_routes(router: APIRouter, rules: AlertRules, blocking: Blocking, once: Once) -> None:
    @router.get(
        "/rules", operation_id="listRules", dependencies=READS,
        summary="Every rule that stands",
        responses=answered(Rules, "By id", "backend-unavailable"),
    )  # fmt: skip
    async def listed() -> Response:
        return _json(Rules(data=await blocking.call(rules.standing)))

    @router.post(
        "/rules", operation_id="addRule", dependencies=WRITES,
        summary="Let a rule stand from the next record on", openapi_extra=_body(Rule),
        responses=answered(
            RuleTaken, "Where its fence is", "rule-refused", "still-running", "invalid-request", "key-reused",
            "backend-unavailable",
        ),
    )  # fmt: skip
    async def add(
        request: Request,
        replace: Annotated[bool, Query(description="In place of the rule of this id that stands")] = False,
    ) -> Response:
        body, rule = await json_of(request, Rule, MOST_BYTES)
        change = RuleChange(action="change" if replace else "add", id=rule.id, rule=rule, by=request.state.caller)
        return await once.answer(request, body, lambda: _said(rules, blocking, change))

    @router.get(
        "/rules/{rule}", operation_id="getRule", dependencies=READS,
        summary="One rule",
        responses=answered(StandingRule, "As it stands", "unknown-rule", "backend-unavailable"),
    )  # fmt: skip
    async def one(rule: RuleId) -> Response:
        found = next((each for each in await blocking.call(rules.standing) if each.rule.id == rule), None)
        if found is None:
            raise Problem("unknown-rule", f"no rule {rule} stands")
        return _json(found)

    @router.delete(
        "/rules/{rule}", operation_id="removeRule", dependencies=WRITES,
        summary="Let a rule stand no longer",
        responses=answered(RuleTaken, "Where its fence is", "rule-refused", "backend-unavailable"),
    )  # fmt: skip
    async def remove(request: Request, rule: RuleId) -> Response:
        return await _said(rules, blocking, RuleChange(action="remove", id=rule, by=request.state.caller))


def _add_history_route(router: APIRouter, alerts: AlertHistory, blocking: Blocking, now_ns: Callable[[], int]) -> None:
    @router.get(
        "", operation_id="listAlerts", dependencies=HEARS,
        summary="What rules have said, the newest first",
        responses=answered(SaidPage, "A page", "invalid-request", "backend-unavailable"),
    )  # fmt: skip
    async def listed(
        rule: Named = "", symbol: OfSymbol = "", start: Time = None, end: Time = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
        cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before")] = None,
    ) -> Response:  # fmt: skip
        since = 0 if start is None else time_of("query.start", start)
        until = now_ns() if end is None else time_of("query.end", end)
        try:
            until = until if cursor is None else min(until, number_of(cursor))
        except ValueError as error:
            raise invalid("query.cursor", str(error)) from error
        return _json(await blocking.call(_page, alerts, rule, symbol, Span(since, until, limit)))


def _page(alerts: AlertHistory, rule: str, symbol: str, span: Span) -> SaidPage:
    """Whole moments: what one time has is on one page, so that the next begins before it."""
    found = alerts.alerts(rule, symbol, span)
    if len(found) < span.limit:
        return SaidPage(data=list(map(told, found)), next_cursor=None)
    last = found[-1].ts_event
    same = alerts.alerts(rule, symbol, Span(last, last + 1, MOST_AT_ONCE))
    whole = [*(each for each in found if each.ts_event > last), *same]
    return SaidPage(data=list(map(told, whole)), next_cursor=to_cursor((last,)))


async def _said(rules: AlertRules, blocking: Blocking, change: RuleChange) -> Response:
    taken = await _checked(blocking.call(rules.change, change))
    if taken.refused and not taken.fence:
        raise Problem("rule-refused", "; ".join(dict.fromkeys(taken.refused.values())))
    return _json(taken)


async def _checked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except (RuleError, InputError) as error:
        raise invalid("body", str(error)) from error


def _bounds(asked: BacktestRequest) -> tuple[tuple[str, str | None], ...]:
    return ("start", asked.start), ("end", asked.end)


def _body(kind: type[Struct]) -> dict[str, Any]:
    """The request's body, for OpenAPI."""
    reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def _json(answer: Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
