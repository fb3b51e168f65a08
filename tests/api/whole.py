"""An API with everything that it may have, over lists."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from api.access.ports import Access
from api.listings import LISTINGS, Listing
from api.model_answers import Measure, ModelChanged, ModelChangeTaken, ModelInfo, ModelScore
from api.once import KeptAnswer
from api.sql.ports import SqlAccess
from api.times import to_rfc3339
from infra.clock import WallClock
from infra.hooks.desk import Desk
from infra.settings import Hooks
from schemas.control import ModelChange
from schemas.errors import ModelError
from tests.api.access.keys import EVERYBODY
from tests.api.fakes import MINUTE_NS, NOW_NS, ORIGIN, LatestList, World, bar, latest
from tests.api.predictors import FormulaPredictor
from tests.api.sql.fakes import SqlList
from tests.api.test_alerts import AlertList, RuleList, alert

WHY = "it serves already"


@dataclass
class OnceDict:
    """`OnceStore` in a dict; nothing runs out."""

    kept: dict[str, KeptAnswer] = field(default_factory=dict)

    def claim(self, name: str, answer: KeptAnswer, within_s: float) -> KeptAnswer | None:
        before = self.kept.get(name)
        self.kept.setdefault(name, answer)
        return before

    def keep(self, name: str, answer: KeptAnswer, within_s: float) -> None:
        self.kept[name] = answer

    def release(self, name: str) -> None:
        del self.kept[name]


@dataclass
class ModelList:
    """`ModelDesk` over a list: the model `formula-2c3d` scores, and `half-1` on one of two partitions."""

    asked: list[ModelChange] = field(default_factory=list)
    id: str = "formula-2c3d"

    def models(self) -> Sequence[ModelInfo]:
        return [
            ModelInfo(
                id=self.id, name="formula", kind="formula", roles=("champion", "onnx"), horizon_s=10.0, features_id="abc1",
                trained_on="not told", created=to_rfc3339(NOW_NS), metrics={"log_loss": 0.69}, fault="",
            )
        ]  # fmt: skip

    def scoring(self) -> str:
        return self.id

    def changes(self, limit: int) -> Sequence[ModelChanged]:
        told = ModelChanged(
            ts_event=to_rfc3339(NOW_NS), action="promote", model=self.id, by="desk", why="", refused="", champion="onnx",
            onnx=self.id, challengers=(), **ORIGIN,
        )  # fmt: skip
        return [told] * min(limit, 3)

    def scoreboard(self, hours: float, by: str, horizon_s: float | None) -> Sequence[ModelScore]:
        return [
            ModelScore(
                group=by, horizon_s=horizon_s or 10.0, model=self.id, outcomes=100, champion_share=1.0, trades=7, why="",
                measures={"log_loss": Measure(value=0.69, low=0.68, high=None)},
            )
        ]  # fmt: skip

    def change(self, change: ModelChange) -> ModelChangeTaken:
        self.asked.append(change)
        if change.model == "unknown":
            raise ModelError("/srv/models/unknown is not there")
        refused = {self.id: {"0": WHY, "1": WHY}, "half-1": {"1": WHY}}.get(change.model, {})
        fence = {each: 7 for each in ("0", "1") if each not in refused}
        return ModelChangeTaken(action=change.action, model=change.model, fence=fence, refused=refused, everywhere=True)


def rows_of(listing: Listing, symbol: str = "SIMA", count: int = 5) -> list[Any]:
    """Rows of any listing, two of them at every time."""
    if listing.name == "bars":
        return [bar(NOW_NS - MINUTE_NS * n, symbol) for n in range(count, 0, -1)]
    made = []
    for number in range(count):
        at = NOW_NS - MINUTE_NS + number // 2
        values = {name: _value(type_, number, name in listing.nullable) for name, type_ in listing.types.items()}
        own = {"symbol": symbol, listing.time: at, **ORIGIN, "src_offset": number}
        made.append(SimpleNamespace(of=listing.name, **values | own))
    return made


def _value(type_: str, number: int, may_miss: bool) -> Any:
    if "String" in type_:
        return f"w{number}"
    if "Float" in type_:
        return float("nan") if number == 1 and may_miss else number / 4
    return number % 2 == 0 if type_ == "Bool" else number


def whole(folder: Path, access: Access = EVERYBODY) -> World:
    """Everything is served, and has something to say."""
    scored = latest("SIMA", features={"a": 1.0, "b": 2.0, "c": None}, features_id="abc1")
    made = World(
        latest=LatestList([scored, latest("BTC-USD")]), access=access,
        more={
            "predictor": FormulaPredictor(), "models": ModelList(), "once": OnceDict(), "rules": RuleList(),
            "alerts": AlertList([alert(NOW_NS - 10)]), "hooks": Desk(folder, Hooks(), WallClock()),
            "sql": SqlAccess(SqlList(), max_rows=100, tables=["trades"], functions=["count"]),
        },
    )  # fmt: skip
    made.history.kept = [row for listing in LISTINGS for row in rows_of(listing)]
    return made
