"""Verification asks no server: what one said is not compared, what it did not answer is not lost, the rest is judged."""

from dataclasses import dataclass

import numpy as np
import pytest

from processors.batch import Column, Matrix
from processors.scores import Model
from schemas.control import ModelChange, body_of
from schemas.events import Control
from schemas.topics import EVENTS
from tests.logs import START
from tests.streams.verify import history
from tests.streams.verify.history import History, log_of

SERVED = "triton.m9"


@dataclass
class Leaves:
    """A server that answers so many batches."""

    id: str = SERVED
    batches: int = 4

    def score(self, features: Matrix) -> Column:
        self.batches -= 1
        return np.full(len(features), 0.3 if self.batches >= 0 else np.nan)


def test_what_a_server_said_is_not_compared_and_what_it_did_not_answer_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, at = log_of(), START
    for place, action in ((200, "challenge"), (1_100, "quarantine")):
        change = ModelChange(action=action, model=SERVED)  # type: ignore[arg-type]
        told = Control(topic="models", id=SERVED, ts_event=at, ts_ingest=at, body=body_of(change))
        log.records[0].insert(place, EVENTS.encode(told))
    known, server = history.named, Leaves()

    def live(model: str) -> Model | None:
        return server if model == SERVED else known(model)

    monkeypatch.setattr(history, "named", live)
    served = History(log).serve()
    monkeypatch.setattr(history, "named", known)
    said = [row for row in served.served.tables["challenger_scores"] if row["model_id"] == SERVED]
    matured = [row for row in served.served.tables["outcome_scores"] if row["model_id"] == SERVED]
    assert 0 < sum(np.isfinite(row["p_up"]) for row in said) < len(said)
    assert len(matured) > 5
    verdict = served.verify()
    assert verdict.clean, verdict.findings
    assert {(table, column): n for (table, column, _), n in verdict.not_compared.items()} == {
        ("challenger_scores", "p_up"): len(said), ("outcome_scores", "score"): len(matured),
    }  # fmt: skip
    assert all("triton.m9 was scored by a server" in why for _, _, why in verdict.not_compared)
    rows = served.served.tables["outcome_scores"]
    rows.remove(next(row for row in rows if row["model_id"] == "online"))
    assert served.verify().lost == 1
