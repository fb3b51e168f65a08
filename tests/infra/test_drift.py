"""The drift process on the embedded Kafka and ClickHouse: tells, orders, is killed, and says and does nothing twice."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep

import msgspec
import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import SecretStr
from structlog.testing import capture_logs

from infra.clickhouse import Database, connect
from infra.drift import run_watch
from infra.drift_live import Live, live_models
from infra.drift_process import DriftProcess
from infra.drift_reference import reference_for, save_reference
from infra.embedded.services import Embedded
from infra.feature_rows import ClickHouseFeatureRows, stored_dataset, stored_windows
from infra.kafka import client_config
from infra.kafka_log import READER
from infra.kafka_writer import KafkaWriter
from infra.outcomes_log import OutcomePartition, open_outcomes
from infra.settings import Kafka, Settings
from models.drift import NS, DriftRules
from models.drift_reference import reference_of
from models.input_drift import SCORE
from models.manifest import save
from schemas.drift import DriftEvent, DriftSignal, RetrainOrder, Verdict
from schemas.errors import BackendError, LogError, RecoveryError
from schemas.tables import MODEL_CHANGES, OUTCOME_SCORES, features_table
from schemas.topics import DRIFT, OUTCOMES
from streams.drift_watch import Watched, WatchRules
from tests.models.quiet_market import NAMES, WINDOW, Day, day
from tests.models.rows import described, logistic
from tests.services.flows import fresh_topics
from tests.streams.test_drift_watch import World

RULES = WatchRules(drift=DriftRules(least_labels=6))
QUIET, LOUD = day(1), day(1, day_number=1, minutes=60, loud=3.0)


class Killed(BaseException):
    """What kill -9 looks like from inside."""


@dataclass
class Trainer:
    """Remembers what it was asked for; is killed at its first order where `dies`."""

    dies: bool = False
    orders: list[RetrainOrder] = field(default_factory=list)

    def retrain(self, order: RetrainOrder) -> str:
        self.orders.append(order)
        if self.dies:
            raise Killed
        return "c1"

    def judged(self, verdict: Verdict) -> None:
        raise AssertionError("no trial is over")

    def stop(self) -> None:
        """Nothing is under way."""


@dataclass
class Place:
    """A database and topics with an hour on which volatility is three times the usual."""

    settings: Settings
    database: Database
    name: str
    url: str

    def features(self, within_s: float = 5) -> ClickHouseFeatureRows:
        return ClickHouseFeatureRows(self.database, self.name, within_s=within_s)

    def process(self, trainer: Trainer, data: Path, *, anew: bool = False) -> DriftProcess:
        watched = Watched("m1", reference_of(QUIET.dataset(), WINDOW, scores={SCORE: QUIET.score}))
        settings = self.settings.model_copy(update={"data": data})
        return DriftProcess(
            settings, watched, self.features(), KafkaWriter(settings.kafka), lambda: Live("m1", ("c1",)), trainer, RULES, anew
        )  # fmt: skip

    def said(self) -> list[DriftEvent]:
        """Everything on the topic of signals."""
        consumer, found = Consumer({**client_config(self.settings.kafka), **READER}), []
        for partition in range(self.settings.kafka.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(DRIFT.name, partition), timeout=10)
            consumer.assign([TopicPartition(DRIFT.name, partition, low)])
            for _ in range(high - low):
                message = consumer.poll(10)
                assert message is not None
                found.append(DRIFT.decode(message.value()))
        consumer.close()
        return found


def stored(database: Database, name: str, of: Day) -> None:
    """The features and outcomes of a day in ClickHouse; offsets are its rows, partitions its symbols."""
    n = len(of.ts)
    source = {
        "log_id": ["log"] * n, "src_partition": of.symbol.astype(np.uint16), "src_offset": np.arange(n),
        "ts_broker": of.ts // 1_000_000,
    }  # fmt: skip
    symbols, columns = [of.symbols[each] for each in of.symbol], dict(zip(NAMES, of.features.T, strict=True))
    made = {"symbol": symbols, "ts_event": of.ts, "kind": ["quote"] * n, **columns, **source}
    database.insert(f"{name}.features", made)
    database.insert(
        f"{name}.outcome_scores",
        {
            "symbol": symbols, "ts_event": of.ts, "ts_matured": of.ts + 10 * NS, "horizon_ns": np.full(n, 10 * NS),
            "predicted_offset": np.arange(n), "model_id": ["m1"] * n, "champion": np.ones(n, np.bool_), "score": of.score,
            "label": of.label, "log_return": np.zeros(n), **source,
        },
    )  # fmt: skip


def write_outcomes(kafka: Kafka, of: Day, model: str = "m1") -> None:
    writer = KafkaWriter(kafka)
    for partition, outcomes in World(of, model=model).polls(200):
        writer.send(OUTCOMES, partition, [(each.symbol, OUTCOMES.encode(each)) for each in outcomes])
    writer.flush()


@pytest.fixture
def place(embedded: Embedded, tmp_path: Path) -> Iterator[Place]:
    kafka = Kafka(bootstrap=embedded.kafka, partitions=3, log_id="log")
    fresh_topics(kafka)
    remake(kafka, DRIFT.name)
    name = f"drift_{uuid.uuid4().hex[:8]}"
    database = connect(embedded.clickhouse_url)
    database.command(f"CREATE DATABASE `{name}`")
    for table in (features_table(NAMES), OUTCOME_SCORES, MODEL_CHANGES):
        database.command(table.ddl(name))
    stored(database, name, LOUD)
    write_outcomes(kafka, LOUD)
    yield Place(Settings(data=tmp_path, kafka=kafka), database, name, embedded.clickhouse_url)
    database.command(f"DROP DATABASE `{name}`")
    database.close()


def remake(kafka: Kafka, topic: str) -> None:
    admin = AdminClient(client_config(kafka))
    if topic in admin.list_topics(timeout=10).topics:
        admin.delete_topics([topic], operation_timeout=30)[topic].result(30)
        deadline = monotonic() + 30
        while topic in admin.list_topics(timeout=10).topics:
            assert monotonic() < deadline, "the broker did not delete its topic"
    admin.create_topics([NewTopic(topic, kafka.partitions, 1)])[topic].result(30)


def to_the_end(process: DriftProcess) -> None:
    """Turns until everything on the topic is read and settled."""
    deadline = monotonic() + 60
    idle = 0
    while idle < 5:
        assert monotonic() < deadline, "the topic was not read to its end"
        arrived = process.turn()
        idle = 0 if arrived or any(reader.behind for reader in process.readers) else idle + 1
        if not arrived:
            sleep(0.01)


def left(process: DriftProcess) -> None:
    """Killed: nothing is saved any more."""
    for reader in process.readers:
        reader.close()


@pytest.mark.embedded
def test_a_killed_process_goes_on_orders_one_training_and_repeats_only_under_the_same_id(
    place: Place, tmp_path: Path
) -> None:
    whole, trainer = place.process(Trainer(), tmp_path / "whole"), Trainer()
    whole.actions = trainer
    to_the_end(whole)
    whole.close()
    expected = {each.id for each in place.said() if isinstance(each, DriftSignal | RetrainOrder)}
    assert len(trainer.orders) == 1
    assert whole.watch.unknown == whole.watch.late == 0
    assert whole.watch.standing.challenger == "c1"

    before = len(place.said())
    dying = Trainer(dies=True)
    first = place.process(dying, tmp_path / "killed")
    with pytest.raises(Killed):
        to_the_end(first)
    left(first)
    second = place.process(trainer := Trainer(), tmp_path / "killed")
    to_the_end(second)
    left(second)  # killed again, behind its last word but before its last save
    third = place.process(again := Trainer(), tmp_path / "killed")
    to_the_end(third)
    third.close()
    assert [each.id for each in trainer.orders] == [each.id for each in dying.orders]
    assert again.orders == []
    said = [each for each in place.said()[before:] if isinstance(each, DriftSignal | RetrainOrder)]
    assert {each.id for each in said} == expected
    assert third.watch.standing == whole.watch.standing
    damage(third.path)
    with pytest.raises(RecoveryError, match="do not fit their checksum"):
        place.process(Trainer(), tmp_path / "killed")
    fresh = place.process(Trainer(), tmp_path / "killed", anew=True)
    assert fresh.watch.newest == {}
    left(fresh)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.embedded
def test_offsets_that_the_broker_does_not_have_are_told_and_watching_goes_on_with_what_there_is(place: Place) -> None:
    with pytest.raises(LogError, match="expected offset 99999999 where watching goes on"):
        OutcomePartition(place.settings.kafka, 0, 99_999_999)
    with capture_logs() as said:
        readers = open_outcomes(place.settings.kafka, {1: 99_999_999, 2: 5})
    assert [reader.next_offset for reader in readers] == [0, 0, 5]
    assert [each["event"] for each in said] == ["outcomes were not watched"]
    for reader in readers:
        reader.close()


@pytest.mark.embedded
def test_an_outcome_that_cannot_be_read_is_left_out(place: Place) -> None:
    writer = KafkaWriter(place.settings.kafka)
    writer.send(OUTCOMES, 0, [("S000", b"{nonsense")])
    writer.flush()
    reader, found = OutcomePartition(place.settings.kafka, 0, None), []
    deadline = monotonic() + 30
    while reader.behind:
        assert monotonic() < deadline
        found += reader.poll(500)
    reader.close()
    assert len(found) == 360


@pytest.mark.embedded
def test_features_come_in_the_order_asked_for_and_what_was_never_stored_is_unknown(place: Place) -> None:
    world = World(LOUD)
    asked = [world.outcome(row) for row in (6, 0, 4, 6)]
    asked.insert(1, msgspec.structs.replace(world.outcome(9), predicted_offset=1))  # a row of another partition
    names = ("volatility", "return")
    matrix, known = place.features().rows(asked, names)
    assert known.tolist() == [True, False, True, True, True]
    np.testing.assert_array_equal(matrix[known], LOUD.features[[6, 0, 4, 6]][:, [3, 0]])
    assert np.isnan(matrix[1]).all()


@pytest.mark.embedded
def test_features_that_are_not_stored_yet_are_waited_for_and_then_it_is_an_error(place: Place) -> None:
    early = msgspec.structs.replace(World(LOUD).outcome(0), predicted_offset=999_999)
    with pytest.raises(BackendError, match=r"log\[0\]@999999.*0\.3 s; is `tickwire score` storing"):
        place.features(within_s=0.3).rows([early], NAMES)


@pytest.mark.embedded
def test_what_is_stored_can_be_taken_as_the_reference(place: Place) -> None:
    dataset, told = stored_dataset(place.database, place.name, NAMES, model="m1", seconds=3600, horizon_ns=10 * NS)
    late = LOUD.ts > LOUD.ts.max() - 3600 * NS
    assert len(dataset) == late.sum()
    np.testing.assert_array_equal(dataset.features, LOUD.features[late])
    np.testing.assert_array_equal(told, LOUD.score[late])
    assert [dataset.symbols[each] for each in dataset.symbol[:3]] == ["S000", "S001", "S002"]
    made = reference_of(dataset, 4 * 60 * NS, scores={SCORE: told})
    assert made == reference_of(
        replace(LOUD, features=LOUD.features[late], label=LOUD.label[late], ts=LOUD.ts[late], symbol=LOUD.symbol[late])
        .dataset(), 4 * 60 * NS, scores={SCORE: LOUD.score[late]},
    )  # fmt: skip


@pytest.mark.embedded
def test_windows_with_outcomes_of_a_model_are_counted(place: Place) -> None:
    def windows(model: str, horizon_ns: int = 10 * NS) -> int:
        return stored_windows(place.database, place.name, model, horizon_ns, 900 * NS)

    assert windows("m1") == 4
    assert windows("m2") == windows("m1", 60 * NS) == 0


def changed(place: Place, number: int, champion: str, challengers: str) -> None:
    """A change of the models, as scoring stores it."""
    place.database.insert(
        f"{place.name}.model_changes",
        {
            "ts_event": [number], "action": ["challenge"], "model_id": ["c1"], "by": [""], "why": [""], "refused": [""],
            "champion": [champion], "onnx_id": ["m1"], "challengers": [challengers], "log_id": ["log"], "src_partition": [0],
            "src_offset": [number], "ts_broker": [0],
        },
    )  # fmt: skip


@pytest.mark.embedded
def test_who_serves_is_what_the_log_says(place: Place, tmp_path: Path) -> None:
    settings = found_at(place, tmp_path)
    assert live_models(settings, place.database, "log") == Live("m1")
    changed(place, 1, "onnx", "c1 c2")
    assert live_models(settings, place.database, "log") == Live("m1", ("c1", "c2"))
    assert live_models(settings, place.database, "another log") == Live("m1")
    changed(place, 2, "online", "c2")
    assert live_models(settings, place.database, "log") == Live("online", ("c2",))
    fresh_topics(settings.kafka)
    assert live_models(settings, place.database, "log") == Live("")


def found_at(place: Place, data: Path) -> Settings:
    url = SecretStr(place.url)
    clickhouse = place.settings.clickhouse.model_copy(update={"url": url, "database": place.name})
    return place.settings.model_copy(update={"data": data, "clickhouse": clickhouse})


@pytest.mark.embedded
def test_the_watch_waits_for_a_reference_follows_the_model_that_serves_and_begins_anew_with_another(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.drift.LOOK_EVERY_S", 0.0)
    settings = found_at(place, tmp_path)
    reference = reference_of(QUIET.dataset(), WINDOW, scores={SCORE: QUIET.score})
    ids = [scoring_model(settings, bias) for bias in (0.1, 0.2)]
    write_outcomes(settings.kafka, day(1, day_number=2, minutes=60, loud=3.0), ids[0])
    deadline, found, looks = monotonic() + 90, set[str](), 0

    def stop() -> bool:
        nonlocal looks
        looks += 1
        if looks == 3:
            save_reference(settings, ids[0], reference)
        found.update(each.model for each in place.said() if isinstance(each, DriftSignal))
        if found == {ids[0]} and reference_for(settings, ids[1]) is None:
            save_reference(settings, ids[1], reference)
            write_outcomes(settings.kafka, day(1, day_number=3, minutes=60, loud=3.0), ids[1])
        return found == set(ids) or monotonic() > deadline

    with capture_logs() as said:
        run_watch(settings, None, stop, rules=RULES)
    assert found == set(ids)
    assert {path.name for path in (tmp_path / "drift").iterdir()} == {f"{each}.state" for each in ids}
    told = [(each["event"], each["model"]) for each in said if each["event"] in WORDS]
    assert told == [(WORDS[0], ids[0]), (WORDS[1], ids[0]), (WORDS[1], ids[1])], "once each"


WORDS = ("no drift reference yet: it is learnt from live outcomes", "watching")


def scoring_model(settings: Settings, bias: float) -> str:
    """Put a model where those that score lie; its id."""
    content = logistic(bias)
    manifest = msgspec.structs.replace(described(content, [[0.0, 0.0, 0.0]], [0.5]), name="mlp")
    manifest = msgspec.structs.replace(manifest, id=f"mlp-{manifest.sha256[:12]}")
    save(manifest, content, settings.data / "models")
    return manifest.id
