"""The benchmark scores what it says, and fails where rows are missing: it is run small, and its times are not judged."""

from pathlib import Path

import pytest

from infra.bench.fold import _check, fold_all
from infra.bench.workbench import Market, in_child, train_model, workbench, write_log
from infra.clickhouse import connect
from infra.settings import load
from schemas.errors import BackendError

EVENTS = 20_000


@pytest.mark.embedded
def test_it_counts_what_it_stored_and_fails_where_a_row_is_missing() -> None:
    with workbench(load({}, Path("none"))) as bench:
        written = in_child(write_log, bench.settings.kafka, Market.of(EVENTS))
        in_child(train_model, bench.settings)
        folded = fold_all(bench)
        assert folded.records == written.records >= EVENTS
        assert 0.98 * EVENTS < folded.folded <= EVENTS
        assert {"consume", "decode", "advance", "predictions", "clickhouse"} <= folded.stages.keys()
        assert folded.cpu["score"] > 0
        assert folded.rate > 0
        database = connect(f"{bench.settings.clickhouse.url.get_secret_value()}/{bench.settings.clickhouse.database}")
        database.command("ALTER TABLE predictions DELETE WHERE src_offset = 100 SETTINGS mutations_sync = 1")
        database.close()
        with pytest.raises(BackendError):
            _check(bench.settings, folded)
