"""From an alert on its topic to the webhook received, beside a running product.

    TICKWIRE_HOOKS__LOOPBACK=true TICKWIRE_SOURCE__SIM_RATE=5000 tickwire up --source sim     # in a folder of its own
    TICKWIRE_HOOKS__LOOPBACK=true python -m benchmarks.hooks --rate 20 --seconds 20 --json    # in the same folder

Alerts of a made-up rule are written to the topic; a receiver on loopback verifies each and takes the time.
"""

import argparse
import json
import threading
import time
from typing import Any

import numpy as np
from confluent_kafka import Producer

from infra.clock import WallClock
from infra.configured import load
from infra.hooks.desk import Desk
from infra.hooks.listen import Listener
from infra.hooks.messages import message_id
from infra.instance import attached
from infra.kafka import client_config
from infra.settings import Settings
from schemas.hooks import NewEndpoint
from schemas.rows import Alert
from schemas.topics import ALERTS

RULE = "benchmark-of-hooks"
WAIT_S = 30.0


def main() -> None:
    """Measure, print, leave nothing behind but the alerts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=20.0, help="alerts per second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    settings = attached(load())
    said, received = measure(settings, asked.rate, asked.seconds, asked.concurrency)
    told = report(said, received)
    print(json.dumps(told) if asked.json else "\n".join(f"{name}: {value}" for name, value in told.items()))


def measure(
    settings: Settings, rate: float, seconds: float, concurrency: int
) -> tuple[dict[str, float], dict[str, float]]:
    """By id: when each alert was handed to the producer, and when its webhook was verified; seconds."""
    desk = Desk(settings.data, settings.hooks, WallClock())
    received: dict[str, float] = {}
    keys: list[str] = []
    listener = Listener(keys, lambda message: received.setdefault(message["id"], time.time()))
    endpoint, secret = desk.add(NewEndpoint(target=listener.url, rules=(RULE,), concurrency=concurrency))
    keys.append(secret.secret)
    serving = threading.Thread(target=listener.serve, daemon=True)
    serving.start()
    try:
        said = _say(settings, rate, seconds)
        deadline = time.monotonic() + WAIT_S
        while len(received) < len(said) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        desk.remove(endpoint.id)
        listener.close()
    return said, received


def _say(settings: Settings, rate: float, seconds: float) -> dict[str, float]:
    producer = Producer({**client_config(settings.kafka), "partitioner": "murmur2_random", "linger.ms": 0})
    run, said = time.time_ns(), {}
    for number in range(round(rate * seconds)):
        alert = _alert(run, number)
        said[message_id(alert)] = time.time()
        producer.produce(ALERTS.name, ALERTS.encode(alert), ALERTS.key(alert))
        producer.poll(0)
        time.sleep(max(0.0, run / 1e9 + (number + 1) / rate - time.time()))
    producer.flush(WAIT_S)
    return said


def _alert(run: int, number: int) -> Alert:
    return Alert(
        id=f"bench-{run}-{number}", rule=RULE, symbol=f"SIM{number % 16}", state="fired", ts_event=time.time_ns(), value=1.0,
        threshold=0.5, log_id="bench", src_partition=0, src_offset=number,
    )  # fmt: skip


def report(said: dict[str, float], received: dict[str, float]) -> dict[str, Any]:
    """Counts, and the latency in ms."""
    latencies = [1e3 * (received[name] - at) for name, at in said.items() if name in received]
    quantiles = np.percentile(latencies, [50, 90, 99, 100]) if latencies else [float("nan")] * 4
    named = zip(("p50_ms", "p90_ms", "p99_ms", "max_ms"), quantiles, strict=True)
    return {"alerts": len(said), "received": len(latencies), **{name: round(float(value), 1) for name, value in named}}


if __name__ == "__main__":
    main()
