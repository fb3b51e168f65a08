"""The newest scores and features of a symbol."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path
from fastapi.responses import Response

from api.access.needs import needs
from api.answers import LatestFeatures, LatestPrediction, Symbols, latest_features, latest_prediction
from api.newest import Newest
from api.openapi import answered

Symbol = Annotated[str, Path(min_length=1, max_length=32, description="Case-sensitive", examples=["SIMA"])]


def spanning(path: str) -> str:
    """The path of a route whose symbol may have slashes, as EUR/USD has: %2F is a slash before a route is looked for."""
    return path.replace("{symbol}", "{symbol:path}")


def market_routes(newest: Newest) -> APIRouter:
    """`/v1/symbols`, `/v1/predictions/{symbol}`, `/v1/features/{symbol}`."""
    router = APIRouter(prefix="/v1", tags=["market"])
    market, signals = [needs("market:read")], [needs("signals:read")]

    @router.get(
        "/symbols", operation_id="listSymbols", summary="Every symbol that has a newest row", dependencies=market,
        responses=answered(Symbols, "All of them, sorted", "backend-unavailable"),
    )  # fmt: skip
    async def symbols() -> Response:
        return _json(Symbols(data=await newest.symbols()))

    @router.get(
        spanning("/predictions/{symbol}"), operation_id="getPrediction", summary="The newest scores of a symbol",
        dependencies=signals,
        responses=answered(
            LatestPrediction, "Both models' scores and the market they are about",
            "unknown-symbol", "invalid-request", "backend-unavailable",
        ),
    )  # fmt: skip
    async def prediction(symbol: Symbol) -> Response:
        return _json(latest_prediction(await newest.row(symbol)))

    @router.get(
        spanning("/features/{symbol}"), operation_id="getFeatures", summary="The newest features of a symbol, by name",
        dependencies=market,
        responses=answered(
            LatestFeatures, "Every feature; null until it is warm",
            "unknown-symbol", "invalid-request", "backend-unavailable",
        ),
    )  # fmt: skip
    async def features(symbol: Symbol) -> Response:
        return _json(latest_features(await newest.row(symbol)))

    return router


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
