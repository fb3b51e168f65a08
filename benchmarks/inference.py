"""How many requests of the Open Inference Protocol does the API answer, how fast, and does anything else wait for them?

One process has the API with a network as `tickwire train` makes it (32 features); this process has the clients, each a thread
with a connection that it keeps, that ask again as soon as they are answered. Meanwhile another connection asks for
`/healthz` every 5 ms: what it waits for is what the feed would wait for, too. Latency: from the first byte sent to the last
byte read, in a Python client, whose own work is part of it.

    python -m benchmarks.inference --rows 1 64 --clients 1 4 --seconds 3 --json

Last numbers (2-core virtual machine, Linux 6, Python 3.11.7, other work at a load of 14 to 21 beside it, two seconds each):

| rows | clients | form | requests/s | rows/s | p50 ms | p99 ms | /healthz p99 ms |
|---|---|---|---|---|---|---|---|
| 1  | 1 | binary | 347   | 347    | 0.9 | 10.9 | 21.4 |
| 1  | 1 | JSON   | 645   | 645    | 0.8 | 8.2  | 9.5  |
| 1  | 4 | binary | 1,403 | 1,403  | 1.8 | 19.9 | 10.3 |
| 1  | 4 | JSON   | 2,069 | 2,069  | 1.8 | 5.1  | 4.8  |
| 64 | 1 | binary | 735   | 47,040 | 0.8 | 7.9  | 8.9  |
| 64 | 1 | JSON   | 480   | 30,752 | 1.5 | 8.5  | 7.5  |
| 64 | 4 | binary | 1,466 | 93,792 | 1.9 | 17.9 | 10.6 |
| 64 | 4 | JSON   | 462   | 29,536 | 6.5 | 25.5 | 11.6 |

On the same machine a quarter of an hour later, at a load of 13, the scheduler decided: 2 to 59 requests/s, p50 19 to
450 ms. What a request costs the server is the column to compare then, and it needs some seconds: Linux counts in 10 ms.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from api.app import create_app
from api.feed.hub import FeedHub
from api.ports import Ports
from api.server import listen, serve
from infra.models.on_demand import OnDemandModels
from infra.telemetry import Telemetry
from tests.api.access.keys import EVERYBODY
from tests.api.fakes import HistoryList, LatestList, StatusList
from tests.infra.served_models import save_network
from tests.models.rows import market

WARM_UP_S = 0.5
PROBE_S = 0.005
JSON_LENGTH = "Inference-Header-Content-Length"


def server(port: Any, directory: str) -> None:
    """The API over the models of a directory, until it is told to stop."""
    telemetry = Telemetry()
    hub = FeedHub(telemetry, time.time_ns)
    ports = Ports(
        LatestList(), HistoryList(), StatusList(), telemetry, telemetry.exposition, time.time_ns,
        EVERYBODY, OnDemandModels(Path(directory), telemetry),
    )  # fmt: skip
    listener = listen("127.0.0.1", 0)
    port.value = listener.getsockname()[1]
    serve(create_app(ports, hub, version="bench"), hub, listener)


def request_of(rows: int, *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers: float32 rows as bytes and scores as bytes, or both in JSON."""
    features, _ = market(rows, seed=1)
    one: dict[str, Any] = {"name": "features", "datatype": "FP32", "shape": [rows, features.shape[1]]}
    if not binary:
        return json.dumps({"inputs": [one | {"data": features.ravel().tolist()}]}).encode(), {}
    tail = features.astype("<f4").tobytes()
    one["parameters"] = {"binary_data_size": len(tail)}
    head = json.dumps({"inputs": [one], "parameters": {"binary_data_output": True}}).encode()
    return head + tail, {JSON_LENGTH: str(len(head))}


def ask(port: int, request: tuple[bytes, dict[str, str]], counted: tuple[float, float], found: list[float]) -> None:
    """One client: the seconds of each answer that came within `counted`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body, headers = request
    while (began := time.perf_counter()) < counted[1]:
        connection.request("POST", "/v2/models/mlp/infer", body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"answered {answer.status}")
        if began >= counted[0]:
            found.append(time.perf_counter() - began)
    connection.close()


def probe(port: int, until: float, found: list[float]) -> None:
    """The seconds that `/healthz` takes, asked for every 5 ms."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while (began := time.perf_counter()) < until:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        found.append(time.perf_counter() - began)
        time.sleep(PROBE_S)
    connection.close()


def await_ready(port: int, within_s: float = 60.0) -> None:
    """Return when the model is loaded."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=within_s)
    connection.request("GET", "/v2/health/ready")
    if connection.getresponse().status != http.client.OK:
        raise RuntimeError("the model cannot be used")
    connection.close()


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used: what its work costs, however many others want the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(where: tuple[int, int], rows: int, clients: int, seconds: float, *, binary: bool) -> dict[str, Any]:
    """One line of the table. `where`: process and port."""
    (pid, port), used = where, cpu_s(where[0])
    begin = time.perf_counter() + WARM_UP_S
    request, latencies, waits = request_of(rows, binary=binary), list[float](), list[float]()
    counted = (begin, begin + seconds)
    threads = [threading.Thread(target=ask, args=(port, request, counted, latencies)) for _ in range(clients)]
    threads.append(threading.Thread(target=probe, args=(port, counted[1], waits)))
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    p50, p99 = np.percentile(np.array(latencies) * 1e3, [50, 99])
    return {
        "rows": rows, "clients": clients, "form": "binary" if binary else "json",
        "requests_per_s": round(len(latencies) / seconds), "rows_per_s": round(len(latencies) * rows / seconds),
        "server_cpu_ms_per_request": round((cpu_s(pid) - used) * 1e3 * seconds / (seconds + WARM_UP_S) / len(latencies), 2),
        "p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2),
        "healthz_p99_ms": round(float(np.percentile(np.array(waits) * 1e3, 99)), 2),
    }  # fmt: skip


def main() -> None:
    """Train a small network, serve it, ask, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 64], help="in one request")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    port = context.Value("i", 0)
    with tempfile.TemporaryDirectory() as directory:
        save_network(Path(directory))
        process = context.Process(target=server, args=(port, directory))
        process.start()
        try:
            while port.value == 0 and process.is_alive():
                time.sleep(0.05)
            await_ready(port.value)
            where = (process.pid or 0, port.value)
            for rows in arguments.rows:
                for clients in arguments.clients:
                    for binary in (True, False):
                        told = measure(where, rows, clients, arguments.seconds, binary=binary)
                        print(json.dumps(told) if arguments.json else "  ".join(f"{k} {v}" for k, v in told.items()))
        finally:
            process.terminate()
            process.join(10)


if __name__ == "__main__":
    main()
