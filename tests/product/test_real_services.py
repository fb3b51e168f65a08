"""Settings alone put a real Kafka and a Redis of one's own in the place of the embedded ones."""

from pathlib import Path

import pytest

from infra.kafka import topic_id
from infra.settings import Kafka
from tests.product.running import json_lines, running
from tests.services.apache_kafka import ApacheKafka
from tests.services.flows import fresh_topics
from tests.services.valkey import Valkey

pytestmark = [pytest.mark.embedded, pytest.mark.kafka, pytest.mark.timeout(300)]
FEW = {"TICKWIRE_MODELS__HISTORY": "600", "TICKWIRE_SOURCE__SIM_RATE": "40"}


def test_the_same_processes_run_on_apache_kafka(apache_kafka: ApacheKafka, valkey: Valkey, tmp_path: Path) -> None:
    kafka = Kafka(bootstrap=apache_kafka.bootstrap, partitions=3)
    fresh_topics(kafka)
    settings = FEW | {
        "TICKWIRE_KAFKA__BOOTSTRAP": apache_kafka.bootstrap,
        "TICKWIRE_KAFKA__PARTITIONS": "3",
        "TICKWIRE_REDIS__URL": valkey.url,
    }
    with running(tmp_path / "data", "sim", **settings) as product:
        assert apache_kafka.bootstrap in product.said.read_text()
        product.until("SELECT count() > 1000 FROM predictions", 1)
        assert product.rows("SELECT DISTINCT log_id FROM predictions") == [(topic_id(kafka),)]
        product.until("SELECT uniqExact(src_partition) FROM predictions", 3)
        screen = json_lines(product.tickwire("watch", "--seconds", "4", "--json"))[-1]
        assert all(row["online"] is not None and row["onnx"] is not None for row in screen["symbols"].values())
        assert product.rows("SELECT count() - uniqExact(src_partition, src_offset) FROM predictions") == [(0,)]
