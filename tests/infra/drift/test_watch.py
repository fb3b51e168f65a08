"""The drift process on the embedded Kafka and ClickHouse: tells, orders, is killed, and says and does nothing twice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from infra.embedded.services import Embedded
from infra.feature_rows import stored_dataset, stored_windows
from infra.kafka_writer import KafkaWriter
from infra.outcomes_log import OutcomePartition, open_outcomes
from models.drift import NS
from models.drift_reference import reference_of
from models.input_drift import SCORE
from schemas.drift import DriftSignal, RetrainOrder
from schemas.errors import BackendError, LogError, RecoveryError
from schemas.topics import OUTCOMES
from tests.infra.drift_place import LOUD, Killed, Place, Trainer, left, placed, to_the_end
from tests.models.quiet_market import NAMES
from tests.streams.drift_days import World


@pytest.fixture
def place(embedded: Embedded, tmp_path: Path) -> Iterator[Place]:
    with placed(embedded, tmp_path) as found:
        yield found


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
def test_outcomes_behind_their_block_are_told_once(place: Place, tmp_path: Path) -> None:
    process = place.process(Trainer(), tmp_path / "late")
    process.watch.late = 3
    with capture_logs() as said:
        assert process.look()
        assert process.look()
    assert [(each["late"], each["in_all"]) for each in said] == [(3, 3)]
    left(process)


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
