"""From the log to a model that scores in the shadow, by one command and one more."""

import json
from collections.abc import Iterator

import pytest

from tests.product.running import Product, json_lines, running

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(500)]
FEW = {"TICKWIRE_MODELS__HISTORY": "2400", "TICKWIRE_SOURCE__SIM_RATE": "40"}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("nightly") / "data", "sim", **FEW) as product:
        yield product


@pytest.fixture(scope="module")
def told(product: Product, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    limits = tmp_path_factory.mktemp("limits") / "limits.json"
    limits.write_text(json.dumps({"missing": 1.0}))
    said = product.tickwire("nightly", "--limits", str(limits), "--json", timeout_s=300)
    (numbers,) = json_lines(said)
    assert numbers["passed"], numbers["failed"]
    return dict(numbers)


def test_the_nights_model_is_kept_as_the_challenger_of_the_registry_and_does_not_serve(
    product: Product, told: dict[str, object]
) -> None:
    kept = told["kept"]
    assert isinstance(kept, dict)
    assert kept["model_id"] == told["model"]
    assert (kept["version"], kept["fault"]) == ("1", "")
    assert "a drift reference needs 12 windows of 900 s" in kept["reference"], (
        "an hour is too little for one, and it says so"
    )
    models = json.loads(product.tickwire("models", "--json"))["models"]
    (mine,) = [line for line in models if line["id"] == kept["model_id"]]
    assert "challenger" in mine["aliases"]
    assert product.rows(f"SELECT count() FROM predictions WHERE onnx_id = '{kept['model_id']}'") == [(0,)]


def test_one_more_command_lets_it_score_beside_the_champion(product: Product, told: dict[str, object]) -> None:
    model = str(told["model"])
    (changed,) = json_lines(product.tickwire("models", "challenge", model, "--json"))
    assert not changed["refused"]
    product.until(f"SELECT count() > 50 FROM challenger_scores WHERE model_id = '{model}'", 1)
    ((scored, probable),) = product.rows("SELECT count(), countIf(p_up BETWEEN 0 AND 1) FROM challenger_scores")
    assert scored == probable
