"""An hour at 5,000 events a second: does any process grow, and does the ledger add up at the end?

    python -m tests.faults.soak --rate 5000 --minutes 60 [--warm-up 10] [--services kafka|embedded] [--out FOLDER] [--json]

Everything runs as `tickwire up` runs it. On Apache Kafka (one broker, old segments deleted after ten minutes): the embedded
broker keeps its log in memory, so it is for short runs. A model is trained first, so that both models score. One WebSocket
client listens to every prediction. Every second the resident memory of every process goes to memory.csv under --out; a
process grew where what it holds, or holds at rest, did by 1 MB an hour (tests/faults/memory.py).
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from infra.bench.latency import FRAMES, SUBSCRIBE
from infra.embedded.instance import read_run_state
from infra.kafka_log import end_offsets
from infra.settings import Kafka
from streams.audit import EVENTS, TABLES_OF
from tests.faults.memory import Sample, as_rows, growth, resident, table
from tests.product.running import ROOT, Product, running
from tests.services.apache_kafka import kafka_cluster

EVERY_S: Final = 1.0
LAG_EVERY_S: Final = 5.0
PARTITIONS: Final = 4
SEGMENTS: Final = {"log.segment.bytes": str(32 << 20), "log.retention.check.interval.ms": "10000"}
RETENTION_S: Final = 600
MOST_GROWTH: Final = 1e6 / 2**20
"""MiB an hour: 1 MB."""
AUDITED: Final = ("tickwire_audit_missing_rows", "tickwire_audit_extra_rows", "tickwire_score_ledger_mismatch_records")
DRAIN_WITHIN_S: Final = 180.0
BUCKETS_MS: Final = np.geomspace(0.5, 60_000, 400)


@dataclass
class Soak:
    """What was seen while it ran."""

    samples: list[Sample] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)
    latencies: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(len(BUCKETS_MS) + 1, np.int64))
    gaps: int = 0
    conflated: int = 0
    frames_lost: int = 0

    def latency_ms(self, quantile: float) -> float:
        """Upper edge of the bucket (3 % wide) that holds this quantile of event → WebSocket."""
        reached = np.cumsum(self.latencies) >= quantile * self.latencies.sum()
        return float(BUCKETS_MS[min(int(np.argmax(reached)), len(BUCKETS_MS) - 1)])


def main() -> int:
    """Run, tell, 0 when nothing grew and everything added up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=5_000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=10, help="minutes that the slope leaves out")
    parser.add_argument("--services", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--out", type=Path, default=None, help="memory.csv and the logs; a new folder if left out")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is taken away
    out = (asked.out or Path(tempfile.mkdtemp(prefix="tickwire-soak-"))).resolve()
    out.mkdir(parents=True, exist_ok=True)
    _say(f"memory.csv and logs are under {out}")
    model = _trained(out / "model")
    with _log(asked.services) as (settings, brokers):
        data = out / "data"
        shutil.copytree(model, data / "models")
        with running(data, "none", **settings) as product:
            soak = _soaked(product, brokers, asked.rate, asked.minutes * 60, out)
            problems, counts = _checked(product, settings)
    return _told(soak, asked, problems, counts)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _trained(data: Path) -> Path:
    """The models folder of a short simulated history."""
    if not (data / "models").exists():
        _say("training a model from ten simulated minutes")
        with running(data, "sim", TICKWIRE_MODELS__HISTORY="600", TICKWIRE_SOURCE__SIM_RATE="40"):
            pass
    return data / "models"


@contextmanager
def _log(services: str) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """Settings that name the broker, and its process ids."""
    if services == "embedded":
        yield {}, {}
        return
    with kafka_cluster(brokers=1, settings=SEGMENTS, long=True) as cluster:
        settings = {
            "TICKWIRE_KAFKA__BOOTSTRAP": cluster.bootstrap,
            "TICKWIRE_KAFKA__PARTITIONS": str(PARTITIONS),
            "TICKWIRE_KAFKA__RETENTION": str(RETENTION_S),
        }
        yield settings, {f"broker-{node}": program.pid for node, program in enumerate(cluster.brokers)}


def _soaked(product: Product, brokers: Mapping[str, int], rate: float, seconds: float, out: Path) -> Soak:
    """Events at this rate for so long, sampled, until the last is scored."""
    soak, stop = Soak(), threading.Event()
    listener = threading.Thread(target=_listen, args=(product, soak, stop), daemon=True)
    listener.start()
    with (out / "sim.log").open("w") as log:
        sim = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "sim", "--rate", str(rate), "--seconds", str(seconds), "--json"],
            env=dict(product.env), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _sample(product, {**brokers, "sim": sim.pid}, sim, soak, out / "memory.csv")
    finally:
        if sim.poll() is None:
            sim.terminate()
        code = sim.wait(30)
    assert code == 0, f"the generator ended with {code}: {(out / 'sim.log').read_text()[-2000:]}"
    until = time.monotonic() + DRAIN_WITHIN_S
    while (lag := _lag(product)) and time.monotonic() < until:
        time.sleep(0.5)
    _say(f"lag at the end: {lag}")
    stop.set()
    listener.join(10)
    return soak


def _sample(product: Product, fixed: Mapping[str, int], sim: subprocess.Popen[bytes], soak: Soak, path: Path) -> None:
    began, told, asked, lag = time.monotonic(), 0.0, -LAG_EVERY_S, -1
    with path.open("w", buffering=1) as file:
        file.write("at_s,process,pid,resident_kib,anonymous_kib,lag\n")
        while sim.poll() is None:
            at = time.monotonic() - began
            if at >= asked + LAG_EVERY_S:
                asked, lag = at, _lag(product)
                soak.lags.append(lag)
                pids = _pids(product, fixed)
            for name, pid in pids.items():
                if (held := resident(pid)) is not None:
                    soak.samples.append(Sample(at, name, pid, *held))
                    file.write(f"{at:.1f},{name},{pid},{held[0]},{held[1]},{lag}\n")
            if at >= told:
                told = at + 60
                _say(f"{at / 60:5.1f} min  lag {lag:,}\n{table(growth(soak.samples, min(at / 2, 600)))}")
            time.sleep(max(0.0, EVERY_S - (time.monotonic() - began - at)))


def _pids(product: Product, fixed: Mapping[str, int]) -> dict[str, int]:
    state = read_run_state(product.data)
    services = {service.name: service.pid for service in state.services} if state is not None else {}
    return {"up": product.process.pid, **services, **fixed, "soak": os.getpid()}


def _api(product: Product) -> str:
    return f"127.0.0.1:{product.addresses['api_port']}"


def _status(product: Product) -> Mapping[str, Any]:
    return dict(httpx2.get(f"http://{_api(product)}/readyz", timeout=20).json())


def _lag(product: Product) -> int:
    """Records that wait; -1 where nobody says."""
    return int(_status(product).get("lag", -1))


def _listen(product: Product, soak: Soak, stop: threading.Event) -> None:
    """The one client: how old is what it reads?"""
    with connect(f"ws://{_api(product)}/v1/stream", compression=None, additional_headers=product.key) as feed:
        feed.send(SUBSCRIBE)
        while not stop.is_set():
            try:
                frame = feed.recv(timeout=1)
            except TimeoutError:
                continue
            except ConnectionClosed:
                soak.frames_lost += 1
                return
            now = time.time_ns()
            messages = FRAMES.decode(frame)
            ms = np.array([now - each.data.ts_ingest for each in messages if each.data is not None]) / 1e6
            soak.latencies += np.bincount(np.searchsorted(BUCKETS_MS, ms), minlength=len(BUCKETS_MS) + 1)
            soak.gaps += sum(each.type == "gap" for each in messages)
            soak.conflated += sum(each.conflated for each in messages)


def _checked(product: Product, settings: Mapping[str, str]) -> tuple[list[str], dict[str, int]]:
    """What does not add up, and the counts: the log's end, what scoring says, the rows of each table."""
    bootstrap = settings.get("TICKWIRE_KAFKA__BOOTSTRAP", product.addresses["kafka"])
    ends = {p: high for p, (_, high) in end_offsets(Kafka(bootstrap=bootstrap, partitions=PARTITIONS)).items()}
    (score,) = _status(product)["scores"]
    doors, read = score["events"], {int(p): next_ for p, next_ in score["offsets"].items()}
    problems = [
        f"partition {p}: the log ends at {end}, scoring at {read[p]}" for p, end in ends.items() if read[p] != end
    ]
    records = sum(ends.values())
    if sum(doors.values()) != records:
        problems.append(f"the doors add up to {sum(doors.values())} of {records} records: {doors}")
    expected = {
        "features": ("count()", doors["folded"]), "predictions": ("count()", doors["folded"]),
        "dead_letters": ("count()", doors["rejected"]),
    }  # fmt: skip
    time.sleep(3)  # an epoch: the last rows are stored then
    counts = {"records": records, **doors}
    for table_, (what, wanted) in expected.items():
        counts[table_] = int(product.rows(f"SELECT {what} FROM {table_}")[0][0])
        if counts[table_] != wanted:
            problems.append(f"{table_}: expected {wanted} rows, found {counts[table_]}")
    for table_ in ("features", "predictions", "trades", "quotes"):
        for partition in ends:
            ((rows, unique),) = product.rows(
                f"SELECT count(), uniqExact(src_offset) FROM {table_} WHERE src_partition = {partition}"
            )
            if rows != unique:
                problems.append(f"{table_}[{partition}]: {rows - unique} rows are there twice")
    held = [f"(SELECT count() FROM {name})" for name in TABLES_OF[EVENTS]]
    counts["events_stored"] = int(product.rows(f"SELECT {' + '.join(held)}")[0][0])
    if counts["events_stored"] != records - doors["rejected"]:
        problems.append(f"rows of events: expected {records - doors['rejected']}, found {counts['events_stored']}")
    return problems + _audited(product), counts


def _audited(product: Product) -> list[str]:
    """What the auditor of the scoring process has to complain of."""
    command = Path(f"/proc/{_pids(product, {})['score']}/cmdline").read_text().split("\0")
    port = command[command.index("--metrics-port") + 1]
    lines = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=20).text.splitlines()
    told = [line.rsplit(" ", 1) for line in lines if line.startswith(AUDITED)]
    assert told, "the scoring process exports nothing of its auditor"
    return [f"{name} is {value}" for name, value in told if float(value) != 0]


def _told(soak: Soak, asked: argparse.Namespace, problems: list[str], counts: Mapping[str, int]) -> int:
    found = growth(soak.samples, asked.warm_up * 60)
    ours = [g for g in found if not g.process.startswith(("broker", "soak"))]  # the rest is the bench
    grew = [g.process for g in ours if not max(g.held.value, g.rest.value) < MOST_GROWTH or g.pids != 1]
    result = {
        "rate": asked.rate, "minutes": asked.minutes, "warm_up_minutes": asked.warm_up, "services": asked.services,
        "memory": as_rows(found), "grew": grew, "lag_p50": float(np.percentile(soak.lags, 50)),
        "lag_p99": float(np.percentile(soak.lags, 99)), "lag_max": max(soak.lags),
        "event_to_websocket_ms": {"p50": round(soak.latency_ms(0.5), 1), "p99": round(soak.latency_ms(0.99), 1)},
        "feed": {"messages": int(soak.latencies.sum()), "gaps": soak.gaps, "conflated": soak.conflated, "cut": soak.frames_lost},
        "counts": dict(counts), "problems": problems,
    }  # fmt: skip
    if asked.json:
        print(json.dumps(result))
    else:
        print(table(found))
        for name in ("lag_p50", "lag_p99", "lag_max", "event_to_websocket_ms", "feed", "counts"):
            print(f"{name:22} {result[name]}")
        print("problems:", *(problems or ["none"]), sep="\n  ")
        print(f"grew by {MOST_GROWTH:.2f} MiB/h or more, or nobody knows: {', '.join(grew) or 'none'}")
    return 1 if problems or grew else 0


if __name__ == "__main__":
    raise SystemExit(main())
