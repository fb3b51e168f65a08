"""The drift watch follows the model that the log says serves."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import msgspec
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from infra.drift.live import Live, _onnx, live_models
from infra.drift.reference import reference_for, save_reference
from infra.drift.watch import run_watch
from infra.embedded.services import Embedded
from infra.settings import Settings
from models.drift_reference import reference_of
from models.input_drift import SCORE
from models.manifest import save
from processors.scores import NO_MODEL
from schemas.drift import DriftSignal
from schemas.rows import Outcome
from tests.infra.drift_place import (
    QUIET,
    RULES,
    Place,
    Trainer,
    left,
    placed,
    write_outcomes,
)
from tests.models.quiet_market import WINDOW, day
from tests.models.rows import described, logistic
from tests.services.flows import fresh_topics


@pytest.fixture
def place(embedded: Embedded, tmp_path: Path) -> Iterator[Place]:
    with placed(embedded, tmp_path) as found:
        yield found


def changed(place: Place, number: int, champion: str, challengers: str, partition: int = 0, at: int = 0) -> None:
    """A change of the models, as scoring stores it."""
    place.database.insert(
        f"{place.name}.model_changes",
        {
            "ts_event": [at or number], "action": ["challenge"], "model_id": ["c1"], "by": [""], "why": [""], "refused": [""],
            "champion": [champion], "onnx_id": ["m1"], "challengers": [challengers], "log_id": ["log"],
            "src_partition": [partition], "src_offset": [number], "ts_broker": [0],
        },
    )  # fmt: skip


@pytest.mark.embedded
def test_who_serves_is_what_the_log_says(place: Place, tmp_path: Path) -> None:
    settings = found_at(place, tmp_path)
    assert live_models(settings, place.database, "log") == Live("m1")
    changed(place, 1, "onnx", "c1 c2")
    assert live_models(settings, place.database, "log") == Live("m1", ("c1", "c2"))
    assert live_models(settings, place.database, "another log") == Live("m1")
    changed(place, 2, "onnx", "c2", at=-5)  # by the fold, whose events may be older than the control event
    assert live_models(settings, place.database, "log") == Live("m1", ("c2",)), (
        "the last word is that behind the others"
    )
    changed(place, 3, "online", "")
    changed(place, 1, "onnx", "c2", partition=1)
    assert live_models(settings, place.database, "log") == Live("m1", ("c2",)), (
        "one partition of three is not most of them"
    )
    changed(place, 2, "online", "", partition=1)
    assert live_models(settings, place.database, "log") == Live("online")
    fresh_topics(settings.kafka)
    assert live_models(settings, place.database, "log") == Live("")
    for partition in (0, 1):
        changed(place, 4, "onnx", "c2", partition=partition)
    assert live_models(settings, place.database, "log") == Live("", ("c2",)), "a closed market ends no trial"


@pytest.mark.embedded
def test_the_watch_goes_on_as_long_as_nothing_tells_who_serves(place: Place, tmp_path: Path) -> None:
    process = place.process(Trainer(), tmp_path)
    for live, goes_on in ((Live("m1"), True), (Live("", ("c1",)), True), (Live("m2"), False), (Live("online"), False)):
        process.live = lambda live=live: live
        assert process.look() is goes_on
    left(process)


def test_where_the_onnx_model_is_gone_the_online_model_serves_and_idle_partitions_say_nothing() -> None:
    def said(partition: int, minutes: int, onnx: str) -> Outcome:
        return Outcome(
            symbol="A", ts_event=minutes * 60 * 10**9, ts_matured=0, horizon_ns=10**10, log_id="log", src_partition=partition,
            src_offset=0, predicted_offset=0, price=1.0, price_matured=1.0, log_return=0.0, label=0.5, online=0.5, onnx=0.5,
            onnx_id=onnx,
        )  # fmt: skip

    assert _onnx([]) is None
    assert _onnx([said(0, 5, "m1"), said(1, 6, NO_MODEL), said(2, 7, "m1"), said(1, 1, "m1")]) == "m1"
    assert _onnx([said(0, 1, "m1"), said(1, 2, "m1"), said(2, 30, NO_MODEL)]) == NO_MODEL


def found_at(place: Place, data: Path) -> Settings:
    url = SecretStr(place.url)
    clickhouse = place.settings.clickhouse.model_copy(update={"url": url, "database": place.name})
    return place.settings.model_copy(update={"data": data, "clickhouse": clickhouse})


@pytest.mark.embedded
def test_the_watch_waits_for_a_reference_follows_the_model_that_serves_and_begins_anew_with_another(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.drift.watch.LOOK_EVERY_S", 0.0)
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
