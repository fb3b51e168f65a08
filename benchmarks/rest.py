"""How long does REST take beside a flow that is busy?

    TICKWIRE_SOURCE__SIM_RATE=5000 tickwire up --source sim        # in a folder of its own
    python -m benchmarks.rest --rate 200 --seconds 20 --json       # in the same folder

Requests leave at the times of a schedule over connections that stay open, whatever the answers take: a slow answer does not make
the next request come later, and there are connections enough that none waits for one. Latency, from when a request was due, and
from when it left, until its last byte has come: the first has in it what this process itself waits for a core, the second what
the API makes a caller wait. The share of requests that left more than a millisecond late is told.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, Final
from urllib.parse import quote
from urllib.request import Request, urlopen

import numpy as np
import uvloop

from infra.access.dev_key import read
from infra.configured import load
from infra.instance import attached

CONNECTIONS: Final = 200
SHARES: Final = {"prediction": 1.0, "features": 0.25, "predict": 0.1, "trades": 0.05}
"""Of the rate, by kind of request."""
LATE_S: Final = 0.001
"""Beyond it a request counts as sent late."""


def asked(symbols: Sequence[str], what: str) -> Iterator[tuple[str, str, bytes]]:
    """Method, path and body of one request after the other."""
    for symbol in cycle(map(quote, symbols)):
        yield {
            "prediction": ("GET", f"/v1/predictions/{symbol}", b""),
            "features": ("GET", f"/v1/features/{symbol}", b""),
            "predict": ("POST", "/v1/predict", json.dumps({"symbols": [symbol]}).encode()),
            "trades": ("GET", f"/v1/trades/{symbol}?limit=100", b""),
        }[what]


class Connections:
    """Keep-alive connections; a request takes the one that was used last, and a new one where none is free."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._waiting = 0

    async def open(self) -> None:
        """As many as requests may wait at a time."""
        addresses = [asyncio.open_connection("127.0.0.1", self._port) for _ in range(CONNECTIONS)]
        self._free = await asyncio.gather(*addresses)

    async def _taken(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()  # the server closes those that nobody has used for some seconds
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, method: str, path: str, body: bytes) -> tuple[int, float]:
        """The status, once the last byte has come, and when the request left."""
        if self._waiting >= CONNECTIONS:
            raise RuntimeError(
                f"more than {CONNECTIONS} requests wait for their answer: a request would leave late by our fault"
            )
        self._waiting += 1
        left = time.perf_counter()  # a new connection is part of what the API makes a caller wait
        reader, writer = await self._taken()
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length:"))
        await reader.readexactly(length)
        self._free.append((reader, writer))
        self._waiting -= 1
        return int(head.split()[1]), left


async def measure(
    connections: Connections, requests: Iterator[tuple[str, str, bytes]], rate: float, seconds: float
) -> dict[str, Any]:
    """Latency of a schedule of so many requests a second."""
    took: list[tuple[float, float]] = []
    statuses: dict[int, int] = {}
    late, tasks = 0, []

    async def one(due: float, request: tuple[str, str, bytes]) -> None:
        status, left = await connections.ask(*request)
        ended = time.perf_counter()
        took.append((ended - due, ended - left))
        statuses[status] = statuses.get(status, 0) + 1

    begin = time.perf_counter()
    for number in range(round(rate * seconds)):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        late += time.perf_counter() - due > LATE_S
        tasks.append(asyncio.create_task(one(due, next(requests))))
    await asyncio.gather(*tasks)
    found: dict[str, Any] = {"requests": len(took), "statuses": statuses, "sent_late": round(late / len(took), 4)}
    for which, column in (("due", 0), ("left", 1)):
        quantiles = np.percentile(np.array(took)[:, column] * 1e3, [50, 90, 99, 100])
        named = zip(("p50_ms", "p90_ms", "p99_ms", "max_ms"), quantiles, strict=True)
        found[f"from_{which}"] = {name: round(float(value), 2) for name, value in named}
    return found


def scored(port: int) -> int:
    """Records scored so far, over all partitions, as readiness tells."""
    with urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
        return sum(sum(one["offsets"].values()) for one in json.load(answer)["scores"])


async def run(
    port: int, key: str, symbols: Sequence[str], rates: Mapping[str, float], seconds: float
) -> dict[str, Any]:
    """Every kind of request for itself, and how fast the flow was meanwhile."""
    found: dict[str, Any] = {}
    for what, at in rates.items():
        connections = Connections(port, key)
        await connections.open()
        await measure(connections, asked(symbols, what), at, 1)
        before, since = scored(port), time.perf_counter()
        found[what] = {"rate": at, **await measure(connections, asked(symbols, what), at, seconds)}
        found[what]["events_per_s"] = round((scored(port) - before) / (time.perf_counter() - since))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second for the newest prediction")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", choices=SHARES, action="append", help="one kind of request; may be given again")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    settings = attached(load())
    port, key = settings.api.port, settings.api.key.get_secret_value() or read(settings.data)
    asking = Request(f"http://127.0.0.1:{port}/v1/symbols", headers={"Authorization": f"Bearer {key}"})
    with urlopen(asking) as answer:
        symbols = json.load(answer)["data"]
    rates = {what: share * wanted.rate for what, share in SHARES.items() if what in (wanted.only or SHARES)}
    found = uvloop.run(run(port, key, symbols, rates, wanted.seconds))
    print(json.dumps(found) if wanted.json else "\n".join(f"{name:12} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
