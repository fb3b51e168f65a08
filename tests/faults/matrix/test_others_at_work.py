"""Row 45 of the fault matrix: training, verification and replay while scoring goes on; and retention that moves on meanwhile."""

import json
import subprocess
import sys
import threading
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.kafka import client_config
from infra.kafka_log import end_offsets
from schemas.topics import EVENTS
from tests.faults.matrix.lives import Market
from tests.faults.matrix.stage import Scoring, Stage
from tests.product.running import ROOT

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(200)]
SETTINGS = {"TICKWIRE_FOLD__HORIZON": "10", "TICKWIRE_MODELS__SEED": "1"}
MARKET = Market(seed=31)
GONE = 2_000
"""Records of partition 0 that retention takes."""


def tickwire(shared: Stage, *arguments: str) -> dict[str, Any]:
    """Another command on the same services; what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments, "--json"], env=shared.environment, cwd=ROOT, capture_output=True,
        text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def meanwhile(shared: Stage, *arguments: str) -> dict[str, Any]:
    """The same while a market is written to the log, all the time."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(0.05):
            shared.write(MARKET.more(100))

    writing = threading.Thread(target=go_on)
    writing.start()
    try:
        return tickwire(shared, *arguments)
    finally:
        over.set()
        writing.join()


def test_training_and_verification_leave_the_live_rows_as_they_would_be(shared: Stage, live: Scoring) -> None:
    shared.write(MARKET.more(15_000))
    shared.exact()
    verdict = meanwhile(shared, "verify")
    assert {name: verdict[name] for name in ("lost", "duplicate", "wrong", "mismatched_feature_bits")} == {
        "lost": 0, "duplicate": 0, "wrong": 0, "mismatched_feature_bits": 0,
    }  # fmt: skip
    meanwhile(shared, "train")
    shared.exact()
    assert live.alive()


def test_what_retention_has_taken_is_not_in_the_spans_that_a_model_says_it_learnt_from(
    shared: Stage, live: Scoring
) -> None:
    shared.exact()
    admin = AdminClient(client_config(shared.kafka))
    for done in admin.delete_records([TopicPartition(EVENTS.name, 0, GONE)]).values():
        done.result(20)
    assert end_offsets(shared.kafka)[0][0] == GONE
    told = meanwhile(shared, "train")
    with open(told["manifest"]) as manifest:
        spans = {span["partition"]: span for span in json.load(manifest)["trained_on"]["spans"]}
    assert spans[0]["start"] == GONE
    assert spans[1]["start"] == 0
    assert live.alive()
    rows = shared.rows("SELECT count(), uniqExact(src_offset) FROM {db}.predictions WHERE src_partition = 0")
    assert rows[0][0] == rows[0][1] > 0
