"""What has been written for good, symbol by symbol and page by page: as JSON, CSV, an Arrow stream or Parquet."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.access.needs import needs
from api.asked import invalid, time_of
from api.blocking import Blocking
from api.cursor import Place, from_cursor, to_cursor
from api.listings import BY_NAME, LISTINGS, Listing, Stretch, Value
from api.media import FILES, JSON, wanted
from api.newest import Newest
from api.openapi import answered
from api.ports import History, Ports
from api.routes.market import Symbol, spanning
from api.times import NS, to_rfc3339

DAY_NS: Final = 86_400 * NS
MAX_ROWS: Final = 5_000
MAX_FILE_ROWS: Final = 200_000

Kind = Annotated[
    str,
    Query(
        pattern=r"^([0-9]{1,4}[sm]|(tick|volume|value)[0-9]{1,12})$",
        description="`1s`, `1m`, `5m`, or `tick100`, `volume10000`, `value1000000`: what the scoring flow makes",
    ),
]
Horizon = Annotated[
    float | None, Query(gt=0, le=86_400, description="Only of this label's horizon, in seconds; of all where left out")
]
Names = Annotated[str, Query(max_length=2_000, description="Only these features, separated by commas")]
Start = Annotated[
    str | None,
    Query(
        max_length=40,
        description="RFC 3339, inclusive; where it is left out, a day before `end`, or with a cursor its place",
    ),
]
End = Annotated[
    str | None,
    Query(max_length=40, description="RFC 3339, exclusive; just after the symbol's newest event where it is left out"),
]
Limit = Annotated[int, Query(ge=1, le=MAX_FILE_ROWS, description=f"Rows of a page; of JSON at most {MAX_ROWS}")]
CursorText = Annotated[str | None, Query(max_length=400, description="`next_cursor` of the page before")]


@dataclass(frozen=True, slots=True)
class Filters:
    """What a listing may be asked for besides a stretch of time."""

    equal: Mapping[str, Value] = field(default_factory=dict)
    columns: tuple[str, ...] = ()


def _none() -> Filters:
    return Filters()


def _of_kind(kind: Kind = "1m") -> Filters:
    return Filters({"kind": kind})


def _of_horizon(horizon: Horizon = None) -> Filters:
    return Filters() if horizon is None else Filters({"horizon_ns": round(horizon * NS)})


def _of_names(names: Names = "") -> Filters:
    asked, listing = tuple(name.strip() for name in names.split(",") if name.strip()), BY_NAME["features"]
    for name in asked:
        if name not in listing.nullable:
            near = " or ".join(difflib.get_close_matches(name, listing.nullable, 3))
            raise invalid("query.names", f"no feature {name[:60]}" + (f"; did you mean {near}?" if near else ""))
    around = [name for name in listing.types if name not in listing.nullable]
    return Filters(columns=tuple(dict.fromkeys((*around, *asked))) if asked else ())


FILTERS: Final[Mapping[str, Callable[..., Filters]]] = {
    "bars": _of_kind, "outcomes": _of_horizon, "features": _of_names,
}  # fmt: skip


def history_routes(ports: Ports, newest: Newest) -> APIRouter:
    """A route for every one of `LISTINGS`."""
    router, pages = APIRouter(prefix="/v1", tags=["market"]), Pages(ports, newest)
    for listing in LISTINGS:
        _add(router, pages, listing)
    return router


def _add(router: APIRouter, pages: "Pages", listing: Listing) -> None:
    title = "".join(word.capitalize() for word in listing.name.split("_"))

    @router.get(
        spanning(listing.path), operation_id=f"list{title}", summary=f"{listing.summary}, ascending",
        dependencies=[needs(listing.scope)],
        responses=answered(
            listing.page, "A page as JSON, or by Accept as a file; the header Link names the next one",
            "unknown-symbol", "invalid-request", "not-acceptable", "backend-unavailable", files=list(FILES),
        ),
    )  # fmt: skip
    async def listed(
        request: Request, symbol: Symbol, filters: Annotated[Filters, Depends(FILTERS.get(listing.name, _none))],
        start: Start = None, end: End = None, limit: Limit = 1_000, cursor: CursorText = None,
    ) -> Response:  # fmt: skip
        kind = wanted(request.headers.get("accept", ""))
        if kind == JSON and limit > MAX_ROWS:
            raise invalid(
                "query.limit", f"expected at most {MAX_ROWS} rows of JSON, found {limit}; a file may have more"
            )
        until = await pages.end_of(symbol) if end is None else time_of("query.end", end)
        stretch = _stretch(listing, filters, (start, until), limit, cursor)
        return await pages.page(request, listing, symbol, stretch, kind)


class Pages:
    """Pages out of the history; to encode thousands of rows is a thread's work too."""

    def __init__(self, ports: Ports, newest: Newest) -> None:
        self._history, self._now_ns, self._newest = ports.history, ports.now_ns, newest
        self._blocking = Blocking()

    async def end_of(self, symbol: str) -> int:
        """Just after its newest event: event time has its own now, a recording of 2013 ends in 2013."""
        row = await self._newest.find(symbol)
        return self._now_ns() if row is None else row.ts_event + 1

    async def page(self, request: Request, listing: Listing, symbol: str, stretch: Stretch, kind: str) -> Response:
        """The page as an answer. Raises: `Problem` where it is empty and nobody knows the symbol."""
        make = _json if kind == JSON else _file
        body, rows, place = await self._blocking.call(make, self._history, listing, symbol, stretch, kind)
        if not rows:
            await self._newest.must_know(symbol)
        headers = {"vary": "accept", "x-row-count": str(rows)}
        if place is not None:
            headers["link"] = _link(request, stretch, place)
        return Response(body, headers=headers, media_type=kind)


def _json(history: History, listing: Listing, symbol: str, stretch: Stretch, _: str) -> tuple[bytes, int, Place | None]:
    """The encoded page, its rows, and the place of its last row where others follow."""
    names, rows = history.rows(
        listing, symbol, replace(stretch, limit=stretch.limit + 1)
    )  # one more tells whether a page follows
    kept, more = rows[: stretch.limit], len(rows) > stretch.limit
    times = [number for number, name in enumerate(names) if listing.types[name].startswith("DateTime64(9")]
    data = []
    for row in kept:
        shown: list[Any] = list(row)
        for number in times:
            shown[number] = to_rfc3339(row[number])
        data.append(dict(zip(names, shown, strict=True)))
    place = _place(listing, dict(zip(names, kept[-1], strict=True))) if more else None
    page = {"data": data, "next_cursor": None if place is None else to_cursor(place)}
    return msgspec.json.encode(page), len(kept), place


def _file(
    history: History, listing: Listing, symbol: str, stretch: Stretch, kind: str
) -> tuple[bytes, int, Place | None]:
    file = history.file(listing, symbol, stretch, FILES[kind])
    return file.body, file.rows, file.place


def _place(listing: Listing, row: Mapping[str, Any]) -> Place:
    return (row[listing.time], *(row[name] for name in listing.key))


def _link(request: Request, stretch: Stretch, place: Place) -> str:
    """The next page of the very stretch of this one, even where its end was left out."""
    asked = {
        **request.query_params, "start": to_rfc3339(stretch.start), "end": to_rfc3339(stretch.end),
        "limit": stretch.limit, "cursor": to_cursor(place),
    }  # fmt: skip
    return f'<{quote(request.scope["path"])}?{urlencode(asked)}>; rel="next"'


def _stretch(
    listing: Listing, filters: Filters, bounds: tuple[str | None, int], limit: int, cursor: str | None
) -> Stretch:
    """The stretch that was asked for. Raises: `Problem` invalid-request."""
    start, until = bounds
    try:
        after = None if cursor is None else from_cursor(cursor, listing.place_types())
    except ValueError as error:
        raise invalid("query.cursor", str(error)) from error
    if start is not None:
        since = time_of("query.start", start)
    else:
        since = max(0, until - DAY_NS) if after is None else min(int(after[0]), until)
    if since > until:
        raise invalid("query.start", f"expected a time before end, found {start}")
    return Stretch(since, until, limit, after, filters.equal, filters.columns)
