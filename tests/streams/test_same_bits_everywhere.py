"""The same recording at two speeds, on two brokers: the same bits."""

from pathlib import Path

import numpy as np
import pytest

from infra.clock import WallClock
from infra.kafka_writer import KafkaWriter
from infra.settings import Kafka
from models.manifest import About, Label, TrainedOn
from models.onnx import OnnxModel
from models.training import train
from processors.features import FEATURE_NAMES, FEATURES_ID
from streams.play import AS_FAST_AS_POSSIBLE, PlayOptions, play
from tests.services.apache_kafka import ApacheKafka
from tests.services.flows import FlowRun, fresh_topics

PARTITIONS = 4
EVENTS = 3_000
"""About forty seconds of the recording before the open: four at speed 10."""


@pytest.fixture(scope="session")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """A model that is sensitive to every feature; what it predicts does not matter here."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(1_000, len(FEATURE_NAMES))) * 1e-3
    labels = (features.sum(axis=1) > 0).astype(float)
    about = About(
        features=FEATURE_NAMES, features_id=FEATURES_ID, trained_on=TrainedOn(log_id="none", spans=()),
        label=Label(horizon_s=10), created_by="tests",
    )  # fmt: skip
    return OnnxModel.load(train(features, labels, about).save(tmp_path_factory.mktemp("models")))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Four symbols of LEAN equity ticks, made here: trades a few milliseconds apart, prices of a random walk."""
    rng = np.random.default_rng(11)
    folder = tmp_path / "equity" / "usa" / "tick"
    for symbol in ("aaa", "bbb", "ccc", "ddd"):
        (folder / symbol).mkdir(parents=True)
        at = 34_200_000 + np.cumsum(rng.integers(1, 60, EVENTS // 4))
        price = 1_000_000 + np.cumsum(rng.integers(-300, 301, EVENTS // 4))
        rows = [f"{t},{p},{s},P,1,0" for t, p, s in zip(at, price, rng.integers(1, 900, EVENTS // 4), strict=True)]
        (folder / symbol / "20131007_trade.csv").write_text("\n".join(rows) + "\n")
    return folder


def hash_of(kafka: Kafka, recording: Path, speed: float, onnx: OnnxModel) -> str:
    fresh_topics(kafka)
    played = play([recording], KafkaWriter(kafka), WallClock(), PlayOptions(speed=speed))
    assert played.events["trade"] == EVENTS
    run = FlowRun(kafka, onnx).go()
    assert len(run.store.column("predictions", "onnx")) == EVENTS
    assert np.isfinite(run.store.column("predictions", "onnx")).all()
    return run.hash()


@pytest.fixture(scope="session")
def brokers(apache_kafka: ApacheKafka, embedded_kafka: str) -> dict[str, Kafka]:
    return {
        "apache": Kafka(bootstrap=apache_kafka.bootstrap, partitions=PARTITIONS),
        "embedded": Kafka(bootstrap=embedded_kafka, partitions=PARTITIONS),
    }


@pytest.mark.kafka
@pytest.mark.embedded
def test_speed_and_broker_change_no_bit(brokers: dict[str, Kafka], recording: Path, onnx: OnnxModel) -> None:
    hashes = {
        (name, speed): hash_of(kafka, recording, speed, onnx)
        for name, kafka in brokers.items()
        for speed in (10.0, AS_FAST_AS_POSSIBLE)
    }
    assert len(set(hashes.values())) == 1, hashes
