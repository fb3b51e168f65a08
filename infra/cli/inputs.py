"""Commands that write to the events log: play, sim, collect."""

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from infra.access.secret_values import secrets_of
from infra.clock import WallClock
from infra.instance import attached
from infra.kafka import create_topics
from infra.kafka_writer import KafkaWriter
from infra.logs import configure_logging
from infra.settings import Settings
from infra.telemetry import Telemetry
from schemas.errors import InputError, SettingsError

NS = 1_000_000_000


def stopping() -> Callable[[], bool]:
    """True once SIGTERM or SIGINT came."""
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    return stop.is_set


def speed_of(text: str) -> float:
    """`--speed` as a factor; infinite for max."""
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise InputError(f"--speed: expected 1, 10, any number above 0, or max, was {text!r}")
    return speed


def play(
    settings: Settings, paths: list[Path], *, speed: str, symbols: str, loop: bool, mapping: str, as_json: bool
) -> None:
    """Play recordings into the log, with a progress bar and final counts."""
    from streams.play import PlayOptions  # noqa: PLC0415
    from streams.play import play as run  # noqa: PLC0415
    from streams.recordings.column_map import column_map  # noqa: PLC0415

    options = PlayOptions(
        speed=speed_of(speed), symbols=frozenset(filter(None, symbols.split(","))), loop=loop,
        columns=column_map(mapping) if mapping else None,
    )  # fmt: skip
    settings = attached(settings)
    create_topics(settings.kafka)
    bar = Progress(
        TextColumn("playing {task.fields[events]:,} events"), BarColumn(), DownloadColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), disable=as_json,
    )  # fmt: skip
    began = time.monotonic()
    with bar:
        task = bar.add_task("", total=None, events=0)
        played = run(
            paths, KafkaWriter(settings.kafka), WallClock(), options,
            lambda p: bar.update(task, total=p.bytes_total, completed=p.bytes_read, events=p.events),
        )  # fmt: skip
    told = {
        "events": dict(played.events), "dead_letters": played.dead_letters, "first_ns": played.first_ns,
        "last_ns": played.last_ns, "laps": played.laps, "seconds": round(time.monotonic() - began, 3),
    }  # fmt: skip
    if as_json:
        print(json.dumps(told))
    else:
        Console().print(told)


def simulate(settings: Settings, *, rate: float, seed: int, seconds: float, as_json: bool) -> None:
    """The simulated exchange, live, until the time is over or told to stop."""
    settings = attached(settings)
    create_topics(settings.kafka)
    stop, until = stopping(), time.time() + seconds if seconds else math.inf
    telemetry = Telemetry()
    run_sim(
        settings,
        rate or settings.source.sim_rate,
        seed,
        time.time_ns(),
        telemetry,
        lambda: stop() or time.time() > until,
    )
    if as_json:
        print(json.dumps({"stopped": True}))


def run_sim(
    settings: Settings, rate: float, seed: int, start_ns: int, telemetry: Telemetry, stop: Callable[[], bool]
) -> None:
    """Let the simulated exchange happen from `start_ns` on; what lies before now comes first, at full speed."""
    from streams.collectors.runner import run_live  # noqa: PLC0415
    from streams.collectors.sim import SimExchange  # noqa: PLC0415

    exchange = SimExchange(seed, start_ns=start_ns // NS * NS, events_per_second=rate)
    writer = KafkaWriter(settings.kafka)
    run_live(exchange, writer, writer, WallClock(), telemetry, stop=stop)


def collect(settings: Settings, kind: str, history_s: float) -> None:
    """Listen to a source until told to stop."""
    configure_logging(settings.logging.level, json=settings.logging.json_lines, secrets=secrets_of(settings))
    settings = attached(settings)
    create_topics(settings.kafka)
    stop, telemetry = stopping(), Telemetry()
    if kind == "sim":
        start_ns = time.time_ns() - round(history_s * NS)
        run_sim(settings, settings.source.sim_rate, settings.source.sim_seed, start_ns, telemetry, stop)
    elif kind == "coinbase":
        run_coinbase(settings, telemetry, stop)
    else:
        raise SettingsError(f"--source: expected sim or coinbase, was {kind!r}")


def run_coinbase(settings: Settings, telemetry: Telemetry, stop: Callable[[], bool]) -> None:
    """Coinbase Exchange: recent trades first, then live."""
    from streams.collectors.backfill import CoinbaseRest, backfill, newest_ids  # noqa: PLC0415
    from streams.collectors.coinbase_feed import CoinbaseFeed  # noqa: PLC0415
    from streams.collectors.subscriber import Subscriber  # noqa: PLC0415

    source, clock, writer = settings.source, WallClock(), KafkaWriter(settings.kafka)
    rest = CoinbaseRest(source.coinbase_rest, clock)
    recent = backfill(rest, source.products, 1, clock.now_ns())
    writer.write(recent)
    feed = CoinbaseFeed(source.products, rest, telemetry, newest_ids(recent))
    try:
        Subscriber(source.coinbase_ws, feed, writer, clock, telemetry).run(stop)
    finally:
        rest.close()
        sys.stdout.flush()
