"""A night's learners put into force on a scoring process that runs: from the fence on, and a fresh fold of the log agrees."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.embedded.services import Embedded
from infra.nightly.run import Request, nightly
from infra.settings import ClickHouse, Fold, Redis, Settings
from models.online import OnlineModel
from processors.features import FEATURE_NAMES
from schemas.events import Control
from tests.infra.nightly_process import LOOSE
from tests.logs import market
from tests.services.processes import until
from tests.services.scoring import Scoring, scoring

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(280)]
EVENTS = [event for event in market(6_000) if not isinstance(event, Control)]
NIGHT, FENCE = 2_000, 4_000
"""The night sees so many events; the warm start comes behind so many."""
LEARN_EVERY = 32


def settings_of(deployment: Scoring) -> Settings:
    return Settings(
        data=deployment.data, kafka=deployment.kafka, fold=Fold(calendars={}, learn_every=LEARN_EVERY),
        clickhouse=ClickHouse(url=SecretStr(deployment.clickhouse_url), database=deployment.database),
        redis=Redis(url=SecretStr(deployment.redis_url)),
    )  # fmt: skip


def steps(directory: Path, partition: int) -> int:
    """What the night has learnt in a partition."""
    kept = (directory / "warm" / f"p{partition:02d}.river").read_bytes()
    return OnlineModel.restore(kept, FEATURE_NAMES).steps


def test_what_a_night_has_learnt_is_in_force_from_the_fence_on_and_verification_agrees(
    embedded: Embedded, tmp_path: Path
) -> None:
    with scoring(embedded.as_dict(), tmp_path / "data", EVENTS[:NIGHT]) as deployment:
        night = tmp_path / "night"
        nightly(settings_of(deployment), Request(into=night, warm_start=True, train=False, limits=LOOSE))
        deployment.write(EVENTS[NIGHT:FENCE])
        learn = {"TICKWIRE_FOLD__LEARN_EVERY": str(LEARN_EVERY)}
        with deployment.running(**learn):
            deployment.until_folded(deployment.oracle())
            done = deployment.command("models", "warm", str(night), "--json", **learn)
            assert done.returncode == 0, done.stderr
            told = json.loads(done.stdout)
            assert told["refused"] == {}
            assert sorted(told["fence"]) == ["0", "1"]
            deployment.write(EVENTS[FENCE:])
            for partition, fence in told["fence"].items():
                behind = f"SELECT count() FROM predictions WHERE src_partition = {partition} AND src_offset > {fence}"
                until("rows behind the fence", lambda sql=behind: deployment.rows(sql)[0][0] > 300, within_s=90)
            verdict = json.loads(deployment.command("verify", "--json", **learn).stdout.splitlines()[-1])
        assert {verdict[name] for name in ("lost", "duplicate", "wrong", "mismatched_feature_bits", "gaps")} == {0}, (
            verdict
        )
        for partition, fence in told["fence"].items():
            (before,), (after,) = (
                deployment.rows(
                    f"SELECT {found}(online_steps, src_offset) FROM predictions "
                    f"WHERE src_partition = {partition} AND src_offset {side} {fence}"
                )
                for found, side in (("argMax", "<"), ("argMin", ">"))
            )
            assert after[0] == steps(night, int(partition)) < before[0]
