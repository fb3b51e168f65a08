"""An order of the drift watch on everything that runs: a real nightly, one challenger, and it scores beside the champion."""

from contextlib import closing
from pathlib import Path

import pytest

from infra.clickhouse import connect
from infra.configured import load
from infra.drift.actions import RunningLog
from infra.drift.training import Carried, Training, nightly_child
from infra.instance import attached
from schemas.drift import RetrainOrder
from tests.product.running import Product, running
from tests.services.processes import until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]
NS = 1_000_000_000
FEW = {"TICKWIRE_MODELS__HISTORY": "900", "TICKWIRE_SOURCE__SIM_RATE": "40"}


def test_an_order_makes_one_challenger_that_scores_beside_the_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "data", "sim", **FEW) as product:
        _order(product, tmp_path, monkeypatch)


def _order(product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in product.env.items():
        monkeypatch.setenv(name, value)
    settings, limits = attached(load(product.env)), tmp_path / "limits.json"
    limits.write_text('{"missing": 1.0}')  # so short a history warms no slow feature
    order = RetrainOrder(id="0f0f", model="m", ts_event=600 * NS, since=0, reasons=("a test",), evidence=())

    def child(carried: Carried, matrix: Path) -> list[str]:
        return [*nightly_child(carried, matrix), "--limits", str(limits)]

    with closing(connect(settings.clickhouse.url.get_secret_value(), timeout_s=30)) as database:
        log = RunningLog(settings, database)

        def carried_out() -> str:
            """By another process each time."""
            training, found = Training(tmp_path, 600 * NS, log, child), list[str | None]()

            def over() -> bool:
                found.append(training.step(order))
                return found[-1] is not None

            until("the order is carried out", over, within_s=250, every_s=1)
            return str(found[-1])

        challenger = carried_out()
        assert challenger
        assert carried_out() == challenger
        assert challenger in log.live().challengers
        assert challenger != log.live().serving
    changes = product.rows(f"SELECT count(), max(refused) FROM model_changes WHERE model_id = '{challenger}'")
    assert changes == [(4, "")], "asked once, in every partition"
    product.until(f"SELECT count() > 0 FROM challenger_scores WHERE model_id = '{challenger}'", 1)
