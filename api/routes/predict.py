"""Scores on demand: of the newest features of symbols, or of rows that a client brings."""

import logging
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

import msgspec
import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.access.needs import needs
from api.asked import invalid
from api.blocking import Blocking
from api.bodies import json_of
from api.model_answers import Predicted, Predictions, PredictRequest
from api.newest import Newest
from api.openapi import answered, asked_with
from api.ports import ModelDesk, Predictor, ServedModel
from api.problems import Problem
from api.times import to_rfc3339
from schemas.errors import ModelError
from schemas.rows import Latest

MAX_BYTES: Final = 1 << 20
THREADS: Final = 2
Row = Mapping[str, float | None]
_log = logging.getLogger("tickwire.api")


def predict_routes(predictor: Predictor, newest: Newest, desk: ModelDesk | None) -> APIRouter:
    """`POST /v1/predict`."""
    router = APIRouter(prefix="/v1", tags=["models"], dependencies=[needs("models:infer")])
    scoring = OnDemand(predictor, newest, desk)

    @router.post(
        "/predict", operation_id="predict", summary="Scores of the newest features of symbols, or of rows of your own",
        openapi_extra=asked_with(PredictRequest),
        responses=answered(
            Predictions, "A score for each row, in order",
            "unknown-model", "unknown-symbol", "invalid-request", "model-unusable", "backend-unavailable",
        ),
    )  # fmt: skip
    async def predict(request: Request) -> Response:
        _, asked = await json_of(request, PredictRequest, MAX_BYTES)
        try:
            found = await scoring.answer(asked)
        except ModelError as error:
            request_id = request.state.request_id
            _log.warning("model refused", extra={"request_id": request_id, "error": str(error)})
            raise Problem("model-unusable", f"our log says why, under {request_id}") from error
        return Response(msgspec.json.encode(found), media_type="application/json")

    return router


class OnDemand:
    """Scores in threads of its own, so that neither the feed nor the other routes wait for a model."""

    def __init__(self, predictor: Predictor, newest: Newest, desk: ModelDesk | None) -> None:
        self._predictor, self._newest, self._desk = predictor, newest, desk
        self._blocking = Blocking(THREADS)

    async def answer(self, asked: PredictRequest) -> Predictions:
        """The scores. Raises: `Problem`, `ModelError`."""
        if bool(asked.symbols) == bool(asked.rows):
            raise invalid("body", "expected either `symbols` or `rows`, and at least one")
        rows = [await self._newest.row(symbol) for symbol in asked.symbols]
        return await self._blocking.call(self._answer, asked, rows)

    def _answer(self, asked: PredictRequest, rows: Sequence[Latest]) -> Predictions:
        model = self._model(asked)
        given = [row.features for row in rows] if rows else asked.rows
        for number, row in enumerate(given):
            self._check(model, row, f"body.symbols[{number}]" if rows else f"body.rows[{number}]", whole=bool(rows))
        _check_meaning(model, rows)
        matrix = np.array([[_number(row.get(name)) for name in model.features] for row in given], np.float64)
        scores = self._predictor.infer(model, matrix).tolist()
        missing = np.isnan(matrix).sum(axis=1).tolist()
        return Predictions(
            model=model.id, horizon_s=model.horizon_s, features_id=model.features_id,
            data=[
                Predicted(
                    p_up=p_up, missing=missing[number], symbol=rows[number].symbol if rows else None,
                    ts_event=to_rfc3339(rows[number].ts_event) if rows else None,
                )
                for number, p_up in enumerate(scores)
            ],
        )  # fmt: skip

    def _model(self, asked: PredictRequest) -> ServedModel:
        """The one that is named, else the one that scores now, else the only one."""
        name, version = asked.model, asked.version
        known = self._predictor.models()
        if not name:
            scoring = self._desk.scoring() if self._desk is not None else ""
            name, _, version = scoring.rpartition("-")
        if not name and len(known) == 1:
            (name,) = known
        if not name:
            raise invalid("body.model", f"expected one of {', '.join(known) or 'no model yet'}: none scores now")
        found = self._predictor.find(name, version)
        if found is None:
            which = f"{name[:100]} of version {version[:100]}" if version else name[:100]
            raise Problem(
                "unknown-model", f"no model {which}; there are {', '.join(list(known)[:20]) or 'none yet'}",
                suggestions=get_close_matches(name, known, 3),
            )  # fmt: skip
        return found

    def _check(self, model: ServedModel, row: Row, where: str, *, whole: bool) -> None:
        """A row of one's own may leave features out, and has no other; one of the stream has all, and may have more."""
        if whole:
            lacking = [name for name in model.features if name not in row]
            if lacking:
                raise invalid(
                    where,
                    f"{model.id} was trained on features that the stream does not compute now: {', '.join(lacking[:5])}",
                )
        elif unknown := [name for name in row if name not in model.features]:
            near = get_close_matches(unknown[0], model.features, 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise invalid(where, f"{model.id} has no feature {unknown[0][:60]}{hint}")


def _check_meaning(model: ServedModel, rows: Sequence[Latest]) -> None:
    """A feature of the same name that is computed in another way is another feature."""
    for number, row in enumerate(rows):
        if row.features_id != model.features_id:
            raise invalid(
                f"body.symbols[{number}]",
                f"{model.id} was trained on features {model.features_id}, but the stream carries {row.features_id}",
            )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
