"""A model that is promoted while events come in: from the fence on, on every row, and what is folded again agrees."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.composition import model_path
from infra.settings import Settings
from models.manifest import About, Label, Span, TrainedOn
from models.training import TrainingSettings, train
from processors.features import FEATURE_NAMES, FEATURES_ID
from tests.product.running import Product, json_lines, running

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(400)]
ABOUT = About(
    features=FEATURE_NAMES, features_id=FEATURES_ID, label=Label(horizon_s=10.0), created_by="tests",
    trained_on=TrainedOn(log_id="none", spans=(Span(partition=0, start=0, end=1),)),
)  # fmt: skip
RATE = 5_000


def trained(seed: int, name: str, folder: Path) -> str:
    """A model that may score, trained on noise; its id."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(1_500, len(FEATURE_NAMES)))
    labels = (features[:, seed % 5] > 0).astype(np.float64)
    made = train(features, labels, named(name), seed=seed, settings=TrainingSettings(epochs=2))
    made.save(folder)
    return made.manifest.id


def named(name: str) -> About:
    return About(**{each: getattr(ABOUT, each) for each in ABOUT.__struct_fields__} | {"name": name})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A data directory with the model that scores, and two others; their ids by name."""
    data = tmp_path_factory.mktemp("promotion") / "data"
    folder = model_path(Settings(data=data)).parent
    folder.mkdir(parents=True)
    return data, {name: trained(seed, name, folder) for seed, name in enumerate(("mlp", "second", "third"))}


@pytest.fixture(scope="module")
def product(models: tuple[Path, dict[str, str]]) -> Iterator[Product]:
    with running(models[0], "none") as product:
        yield product


def changed(product: Product, *arguments: str) -> dict[int, int]:
    """Partition to the offset of the fence."""
    (told,) = json_lines(product.tickwire("models", *arguments, "--json"))
    assert not told["refused"]
    fence = {int(partition): int(offset) for partition, offset in told["fence"].items()}
    assert sorted(fence) == [0, 1, 2, 3]
    return fence


def served(product: Product, partition: int) -> list[tuple[int, str]]:
    """(offset, model) of every prediction."""
    return product.rows(
        f"SELECT src_offset, onnx_id FROM predictions WHERE src_partition = {partition} ORDER BY src_offset"
    )


def test_promotion_shadow_and_rollback_at_five_thousand_events_a_second(
    product: Product, models: tuple[Path, dict[str, str]]
) -> None:
    ids = models[1]
    product.tickwire("sim", "--rate", str(RATE), "--seconds", "4", "--json", timeout_s=60)
    shadow = changed(product, "challenge", ids["third"])
    product.tickwire("sim", "--rate", str(RATE), "--seconds", "3", "--seed", "1", "--json", timeout_s=60)
    fence = changed(product, "promote", ids["second"], "--by", "a test")
    product.tickwire("sim", "--rate", str(RATE), "--seconds", "3", "--seed", "2", "--json", timeout_s=60)
    back = changed(product, "rollback", ids["second"])
    product.tickwire("sim", "--rate", str(RATE), "--seconds", "3", "--seed", "3", "--json", timeout_s=60)
    product.until_stored()
    product.until("SELECT count() = (SELECT count() FROM features) FROM predictions", 1)
    total = 0
    for partition in range(4):
        rows = served(product, partition)
        total += len(rows)
        assert len(rows) == len({offset for offset, _ in rows}), "no row is scored twice"
        for offset, model in rows:
            expected = ids["second"] if fence[partition] < offset < back[partition] else ids["mlp"]
            assert model == expected, (partition, offset, fence[partition], back[partition])
        assert any(fence[partition] < offset < back[partition] for offset, _ in rows)
        of_it = f"FROM challenger_scores WHERE src_partition = {partition} AND model_id = '{ids['third']}'"
        product.until(f"SELECT count() {of_it}", sum(offset > shadow[partition] for offset, _ in rows), within_s=10)
        assert product.rows(f"SELECT min(src_offset) {of_it}")[0][0] > shadow[partition]
    assert total > 10_000


def test_what_was_served_is_what_a_fresh_fold_of_the_log_says(product: Product) -> None:
    (verdict,) = json_lines(product.tickwire("verify", "--json", timeout_s=200))
    for name in ("lost", "duplicate", "wrong", "mismatched_feature_bits", "gaps"):
        assert verdict[name] == 0, verdict["findings"]
    assert verdict["not_compared"] == []
    assert verdict["tables"]["challenger_scores"]["rows"] > 0
    assert verdict["tables"]["model_changes"]["rows"] == 12


def test_every_model_that_scored_has_outcomes_of_its_own(product: Product, models: tuple[Path, dict[str, str]]) -> None:
    product.until("SELECT uniqExact(model_id) FROM outcome_scores", 4)
    found = dict(product.rows("SELECT model_id, count() FROM outcome_scores GROUP BY model_id"))
    assert found.keys() == {"online", *models[1].values()}
    lines = json.loads(product.tickwire("models", "scoreboard", "--json"))
    assert {line["model"] for line in lines} == found.keys()
    assert sum(line["outcomes"] for line in lines) == sum(found.values())


def test_a_model_that_is_not_here_is_refused_before_it_is_on_the_log(product: Product) -> None:
    before = product.rows("SELECT count() FROM model_changes")
    assert "mlp-0123456789ab is not among the models" in product.refused("models", "promote", "mlp-0123456789ab")
    assert product.rows("SELECT count() FROM model_changes") == before


def test_a_quarantined_model_is_never_promoted_again(product: Product, models: tuple[Path, dict[str, str]]) -> None:
    third = models[1]["third"]
    changed(product, "quarantine", third, "--why", "a test")
    assert f"refused: {third} is quarantined" in product.refused("models", "promote", third)
