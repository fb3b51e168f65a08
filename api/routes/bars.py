"""Closed bars of a symbol, page by page."""

from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.access.needs import needs
from api.answers import Bars, closed_bar
from api.asked import invalid, time_of
from api.blocking import Blocking
from api.cursor import from_cursor, to_cursor
from api.newest import Newest
from api.openapi import answered
from api.ports import History, Ports, Span
from api.routes.market import Symbol
from api.times import NS, to_rfc3339

DAY_NS: Final = 86_400 * NS
MAX_LIMIT: Final = 5_000

Kind = Annotated[
    str,
    Query(
        pattern=r"^([0-9]{1,4}[sm]|(tick|volume|value)[0-9]{1,12})$",
        description="`1s`, `1m`, `5m`, or `tick100`, `volume10000`, `value1000000`: what the scoring flow makes",
    ),
]
Start = Annotated[
    str | None, Query(max_length=40, description="RFC 3339, inclusive; a day before `end` where it is left out")
]
End = Annotated[
    str | None,
    Query(max_length=40, description="RFC 3339, exclusive; just after the symbol's newest event where it is left out"),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
CursorText = Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before")]


def bar_routes(ports: Ports, newest: Newest) -> APIRouter:
    """`/v1/bars/{symbol}`."""
    router = APIRouter(prefix="/v1", tags=["market"], dependencies=[needs("market:read")])
    bars = ClosedBars(ports.history)

    @router.get(
        "/bars/{symbol}", operation_id="listBars", summary="Closed bars of a symbol, ascending",
        responses=answered(
            Bars, "A page; the header Link names the next one",
            "unknown-symbol", "invalid-request", "backend-unavailable",
        ),
    )  # fmt: skip
    async def list_bars(
        request: Request, symbol: Symbol, kind: Kind = "1m", start: Start = None, end: End = None,
        limit: Limit = 1_000, cursor: CursorText = None,
    ) -> Response:  # fmt: skip
        if end is None:  # event time has its own now: a recording of 2013 ends in 2013
            row = await newest.find(symbol)
            until = ports.now_ns() if row is None else row.ts_event + 1
        else:
            until = time_of("query.end", end)
        span = _span(start, until, limit, cursor)
        body, next_cursor = await bars.page(symbol, kind, span)
        if body is None:
            await newest.must_know(symbol)
        response = Response(body or _NO_BARS, media_type="application/json")
        if next_cursor is not None:
            response.headers["link"] = _link(request.url.path, kind, span, next_cursor)
        return response

    return router


class ClosedBars:
    """Pages of bars out of the history."""

    def __init__(self, history: History) -> None:
        self._history, self._blocking = history, Blocking()

    async def page(self, symbol: str, kind: str, span: Span) -> tuple[bytes | None, str | None]:
        """The encoded page, none where it is empty, and the cursor behind it, none where it is the last."""
        return await self._blocking.call(self._read, symbol, kind, span)

    def _read(self, symbol: str, kind: str, span: Span) -> tuple[bytes | None, str | None]:
        """One row more than asked for tells whether a page follows; to encode 5,000 rows is a thread's work too."""
        rows = self._history.bars(symbol, kind, Span(span.start, span.end, span.limit + 1, span.after))
        if not rows:
            return None, None
        data = [closed_bar(bar) for bar in rows[: span.limit]]
        next_cursor = to_cursor(rows[span.limit - 1].start) if len(rows) > span.limit else None
        return msgspec.json.encode(Bars(data=data, next_cursor=next_cursor)), next_cursor


_NO_BARS: Final = msgspec.json.encode(Bars(data=[], next_cursor=None))


def _link(path: str, kind: str, span: Span, cursor: str) -> str:
    """The next page of the very stretch of this one, even where its end was left out."""
    stretch = {"start": to_rfc3339(span.start), "end": to_rfc3339(span.end), "limit": span.limit}
    return f'<{path}?{urlencode({"kind": kind, **stretch, "cursor": cursor})}>; rel="next"'


def _span(start: str | None, until: int, limit: int, cursor: str | None) -> Span:
    """The stretch that was asked for. Raises: `Problem` invalid-request."""
    since = max(0, until - DAY_NS) if start is None else time_of("query.start", start)
    if since > until:
        raise invalid("query.start", f"expected a time before end, found {start}")
    try:
        return Span(since, until, limit, None if cursor is None else from_cursor(cursor))
    except ValueError as error:
        raise invalid("query.cursor", str(error)) from error
