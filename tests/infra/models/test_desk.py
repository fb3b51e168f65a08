"""What REST says of the models: who scores by what scoring says, changes by the log, models by the cache."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.clickhouse import connect
from infra.embedded.services import Embedded
from infra.models.desk import LiveModels
from infra.settings import ClickHouse, Kafka, Settings
from infra.tables import create_tables
from models.manifest import Manifest
from processors.features import FEATURE_NAMES
from schemas.control import ModelChange
from schemas.errors import ModelError
from tests.api.fakes import StatusList, status
from tests.infra.served_models import save_logistic

pytestmark = pytest.mark.embedded
AT = 1_795_357_800_000_000_000


@dataclass
class Place:
    """A desk over a database of its own, with one model in the cache."""

    desk: LiveModels
    model: Manifest
    status: StatusList
    log_id: str

    def changed(self, action: str, champion: str, offset: int, refused: str = "", challengers: str = "") -> None:
        row = {
            "ts_event": AT + offset, "action": action, "model_id": self.model.id, "by": "desk", "why": "better",
            "refused": refused, "champion": champion, "onnx_id": self.model.id, "challengers": challengers,
            "log_id": self.log_id, "src_partition": 0, "src_offset": offset, "ts_broker": AT // 1_000_000,
        }  # fmt: skip
        name = self.desk.settings.clickhouse.database
        self.desk.database.insert(f"{name}.model_changes", {column: [value] for column, value in row.items()})


@pytest.fixture
def place(embedded: Embedded, tmp_path: Path) -> Iterator[Place]:
    name = f"t_{uuid.uuid4().hex[:12]}"
    settings = Settings(
        data=tmp_path, kafka=Kafka(bootstrap=embedded.kafka, log_id=embedded.log_id, partitions=1),
        clickhouse=ClickHouse(url=embedded.clickhouse_url, database=name),
    )  # fmt: skip
    (tmp_path / "models").mkdir()
    told = StatusList([])
    with closing(connect(embedded.clickhouse_url)) as database:
        create_tables(database, name, FEATURE_NAMES)
        model = save_logistic(tmp_path / "models")
        yield Place(LiveModels(settings, database, told), model, told, embedded.log_id)
        database.command(f"DROP DATABASE `{name}`")


def test_a_model_of_the_cache_that_nobody_uses_has_no_role(place: Place) -> None:
    (found,) = place.desk.models()
    assert (found.id, found.name, found.roles, found.fault) == (place.model.id, "mine", (), "")
    assert (found.horizon_s, found.features_id) == (place.model.label.horizon_s, place.model.features_id)
    assert place.desk.scoring() == ""


def test_who_scores_is_told_with_the_champion_by_the_newest_change(place: Place) -> None:
    place.status.documents = [status(models={"online": "river-1", "onnx": place.model.id, "challenger-0": "other-1"})]
    assert place.desk.scoring() == place.model.id
    for champion in ("onnx", "online"):
        place.changed("promote", champion, {"onnx": 1, "online": 2}[champion])
        roles = {each.id: tuple(each.roles) for each in place.desk.models()}
        assert roles.keys() == {place.model.id, "online", "other-1"}
        assert roles["other-1"] == ("challenger",)
        assert roles[place.model.id] == (("champion", "onnx") if champion == "onnx" else ("onnx",))
        assert roles["online"] == (("champion", "online") if champion == "online" else ("online",))


def test_changes_come_the_newest_first_with_those_that_were_refused(place: Place) -> None:
    place.changed("challenge", "onnx", 1, challengers="a-1 b-2")
    place.changed("promote", "onnx", 2, refused="it serves already")
    newest, before = place.desk.changes(10)
    assert (newest.action, newest.refused, newest.src_offset) == ("promote", "it serves already", 2)
    assert (before.action, before.challengers, before.ts_event[:19]) == (
        "challenge",
        ["a-1", "b-2"],
        "2026-11-22T14:30:00",
    )
    assert len(place.desk.changes(1)) == 1


def test_a_model_that_is_not_here_is_refused_before_it_is_on_the_log(place: Place) -> None:
    with pytest.raises(ModelError, match="gone-1 is not among the models"):
        place.desk.change(ModelChange(action="promote", model="gone-1"))


def test_without_outcomes_there_is_no_scoreboard(place: Place) -> None:
    assert place.desk.scoreboard(24, "all", 10.0) == []
