"""`tickwire nightly` on a broker and ClickHouse that run: the same plan, the same bytes, whatever happened in between."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pydantic import SecretStr

from infra.cli import nightly as command
from infra.embedded.services import Embedded
from infra.nightly import plan
from infra.nightly.data_checks import CheckLimits
from infra.nightly.matrix import load
from infra.nightly.plan import MANIFEST
from infra.nightly.run import Night, Request, nightly
from infra.settings import ClickHouse, Fold, Redis, Settings
from models.online import OnlineModel
from processors.features import FEATURE_NAMES
from schemas.errors import BackendError, InputError, LogError
from schemas.events import Event, Heartbeat, SessionMark
from streams.decode import decode
from streams.span_text import bound
from tests.infra.nightly_process import LOOSE, one_code
from tests.logs import market
from tests.services.scoring import ROOT, Scoring, scoring

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(280)]
N, PIECE = 8_000, 1_000


def calm(n: int) -> list[Event]:
    """A market whose feed never goes down and that nobody halts: hardly a label is void."""
    return [
        msgspec.structs.replace(event, state="up") if isinstance(event, Heartbeat) else event
        for event in market(n)
        if not isinstance(event, SessionMark)
    ]


@pytest.fixture(scope="module", autouse=True)
def edited_by_nobody() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "code_version", one_code)
        yield


@pytest.fixture(scope="module")
def deployment(embedded: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scoring]:
    with scoring(embedded.as_dict(), tmp_path_factory.mktemp("nightly") / "data", calm(N)) as found:
        yield found


def settings_of(deployment: Scoring) -> Settings:
    return Settings(
        data=deployment.data, kafka=deployment.kafka, fold=Fold(calendars={}),
        clickhouse=ClickHouse(url=SecretStr(deployment.clickhouse_url), database=deployment.database),
        redis=Redis(url=SecretStr(deployment.redis_url)),
    )  # fmt: skip


def run(deployment: Scoring, directory: Path, **asked: Any) -> Night:
    return nightly(settings_of(deployment), Request(**{"into": directory, "piece": PIECE, "limits": LOOSE, **asked}))


def files(directory: Path) -> dict[str, bytes]:
    """Everything but the memory map, which holds what the pieces hold."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.parent.name != "sorted"
    }


@pytest.fixture(scope="module")
def whole(deployment: Scoring, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """One undisturbed night, trained and with learners."""
    return run(deployment, tmp_path_factory.mktemp("whole") / "m", warm_start=True)


def test_the_rows_are_what_matured_in_a_fold_of_the_log_without_files(deployment: Scoring, whole: Night) -> None:
    expected = {
        (output.partition, int(offset)): features.tobytes()
        for output in deployment.oracle()
        for (_, offset), features, label in zip(
            output.matured.stamps, output.matured.features, output.matured.label, strict=True
        )
        if not np.isnan(label)
    }
    dataset = load(whole.directory)
    assert len(dataset) == len(expected) == whole.manifest.rows > 700
    assert sorted(row.tobytes() for row in dataset.features) == sorted(expected.values())
    assert (np.diff(dataset.ts) >= 0).all()
    assert whole.passed
    assert whole.model is not None
    assert whole.model.metrics is not None
    assert whole.model.metrics.rows_given == dataset.moved.sum()


def test_the_same_plan_gives_the_same_bytes_and_the_same_model_in_another_directory(
    deployment: Scoring, whole: Night, tmp_path: Path
) -> None:
    again = run(deployment, tmp_path / "m", warm_start=True, processes=2)
    assert files(again.directory) == files(whole.directory)
    assert again.model is not None
    assert whole.model is not None
    assert again.model.sha256 == whole.model.sha256


@pytest.mark.parametrize("fault", ["nightly.before_piece:kill@3", "nightly.after_piece:kill@6"])
def test_a_night_that_is_killed_goes_on_to_the_same_bytes(
    deployment: Scoring, whole: Night, tmp_path: Path, fault: str
) -> None:
    killed = subprocess.run(
        [sys.executable, "-m", "tests.infra.nightly_process", str(tmp_path / "m"), str(PIECE)],
        env=deployment.environment(FP=fault), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "m" / MANIFEST).exists()
    rest = run(deployment, tmp_path / "m", warm_start=True)
    assert 0 < sum(each.now for each in rest.folded) < sum(span.records for span in rest.manifest.plan.spans)
    assert files(rest.directory) == files(whole.directory)


def test_a_night_that_is_finished_is_not_done_again(deployment: Scoring, whole: Night) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.directory.rglob("*")}
    again = run(deployment, whole.directory, warm_start=True)
    assert not again.folded
    assert not again.trained
    assert again.manifest == whole.manifest
    assert {path: path.stat().st_mtime_ns for path in whole.directory.rglob("*")} == before
    assert command.as_numbers(again)["did_nothing"]


def test_the_learners_are_those_of_a_scoring_process_that_has_seen_the_same_log(
    deployment: Scoring, whole: Night
) -> None:
    from infra.composition import ShardMaker, rules, sessions  # noqa: PLC0415

    fold = Fold(calendars={})
    live = {p: ShardMaker(rules(fold), sessions(fold), None)(p) for p in range(deployment.kafka.partitions)}
    for poll in deployment.polls():
        live[poll.partition].advance(decode(poll))
    assert sum(shard.learner.steps for shard in live.values()) > 0
    for partition, shard in live.items():
        kept = (whole.directory / "warm" / f"p{partition:02d}.river").read_bytes()
        assert kept == shard.learner.snapshot()
        assert OnlineModel.restore(kept, FEATURE_NAMES).steps == shard.learner.steps


def test_a_stretch_of_some_partitions_and_symbols_has_just_its_rows(
    deployment: Scoring, whole: Night, tmp_path: Path
) -> None:
    part = run(
        deployment, tmp_path / "m", begin=bound("1:900", "--from"), end=bound("1:3000", "--to"), train=False,
        symbols=("S1", "S2", "S3"), limits=CheckLimits(missing=1.0, min_rows=1),
    )  # fmt: skip
    everything, found = load(whole.directory), load(part.directory)
    assert {piece.partition for piece in part.manifest.pieces} == {1}
    assert 0 < len(found) < len(everything)
    known = {row.tobytes() for row in everything.features}
    assert all(row.tobytes() in known for row in found.features)
    assert set(found.symbols) <= {"S1", "S2", "S3"}


def test_another_horizon_gives_other_labels(deployment: Scoring, tmp_path: Path) -> None:
    other = run(deployment, tmp_path / "m", horizon=timedelta(seconds=3), train=False)
    dataset = load(other.directory)
    assert dataset.horizon_ns == 3_000_000_000
    assert other.manifest.plan.horizon_ns == dataset.horizon_ns
    assert "others_ns=()" in other.manifest.plan.rules


def test_a_matrix_that_breaks_its_limits_is_refused_and_nothing_is_trained(
    deployment: Scoring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(deployment)
    request = Request(into=tmp_path / "m", piece=PIECE, limits=CheckLimits(missing=1.0, log_return=1e-9))
    assert command.run(settings, request, as_json=True) == command.REFUSED
    said = capsys.readouterr()
    numbers = json.loads(said.out)
    assert not numbers["passed"]
    assert numbers["model"] is None
    assert any(subject == "log_return" for _, subject, _, _ in numbers["failed"])
    assert "refuse this matrix" in said.err
    assert "log_return" in (tmp_path / "m" / "report.md").read_text()
    assert not (tmp_path / "m" / "model").exists()
    loosened = run(deployment, tmp_path / "m")  # other limits: checked again, folded never again
    assert loosened.passed
    assert not loosened.folded
    assert loosened.trained


def test_the_throughput_and_the_place_are_told_to_people_too(
    deployment: Scoring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request = Request(into=tmp_path / "m", piece=PIECE, limits=LOOSE, train=False)
    assert command.run(settings_of(deployment), request, as_json=False) == 0
    said = capsys.readouterr()
    assert re.search(
        r"folded [\d,]+ records in [\d.]+ s: [\d,]+/s, [\d,]+/s per process \(", " ".join(said.out.split())
    )
    assert "folding the log" in said.err
    assert command.run(settings_of(deployment), request, as_json=False) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_offsets_that_nobody_has_and_a_log_that_is_not_there_are_refused(deployment: Scoring, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"partition 0: expected a stretch within offsets 0 to"):
        run(deployment, tmp_path / "m", end=bound("0:99999999", "--to"))
    with pytest.raises(InputError, match="name no partition"):
        run(deployment, tmp_path / "m", begin=bound("7:0", "--from"))
    with pytest.raises(LogError, match="--log: expected one of"):
        run(deployment, tmp_path / "m", log_id="nobody")


def test_a_killed_process_of_several_is_told_and_the_rest_can_be_made_good(
    deployment: Scoring, whole: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FP", "nightly.after_piece:kill@2")  # read by the children when they start
    with pytest.raises(BackendError, match="was killed"):
        run(deployment, tmp_path / "m", warm_start=True, processes=2)
    monkeypatch.delenv("FP")
    run(deployment, tmp_path / "m", warm_start=True, processes=2)
    assert files(tmp_path / "m") == files(whole.directory)


def test_what_has_passed_out_of_the_topic_comes_from_either_archive_with_the_same_bytes(
    deployment: Scoring, whole: Night, tmp_path: Path
) -> None:
    outputs = deployment.oracle()
    with deployment.running():
        deployment.until_folded(outputs)
    saved = run(deployment, whole.directory, warm_start=True, save_events=tmp_path / "events")
    assert not saved.folded
    deployment.forget_topic(keep=50)
    files_of_whole = files(whole.directory)
    from_clickhouse = run(deployment, tmp_path / "a", warm_start=True)
    from_parquet = run(deployment, tmp_path / "b", warm_start=True, events=tmp_path / "events")
    assert files(from_clickhouse.directory) == files_of_whole
    assert files(from_parquet.directory) == files_of_whole
    (gone,) = (tmp_path / "events" / "p01").glob("*.parquet")
    gone.unlink()
    with pytest.raises(InputError, match="another plan"):  # the fold would begin elsewhere
        run(deployment, tmp_path / "b", warm_start=True, events=tmp_path / "events")
