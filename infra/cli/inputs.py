"""Commands that write to the events log: play, sim, collect."""

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from infra.access.secret_values import secrets_of
from infra.cli.source import SOURCES, source_of
from infra.clock import WallClock
from infra.instance import attached
from infra.kafka import create_topics
from infra.kafka_log import newest_event
from infra.kafka_writer import KafkaWriter
from infra.log_tail import trades_at_end
from infra.logs import configure_logging
from infra.settings import Settings
from infra.telemetry import Telemetry
from schemas.errors import InputError, SettingsError

NS = 1_000_000_000


def stopping() -> Callable[[], bool]:
    """True once SIGTERM or SIGINT came; a second Ctrl-C does not wait for anything, such as a broker that is away."""
    stop = threading.Event()

    def told(number: int, _: object) -> None:
        stop.set()
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, told)
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
    """Play recordings into the log until their end or told to stop, with a progress bar and final counts."""
    from streams.play import PlayOptions  # noqa: PLC0415
    from streams.play import play as run  # noqa: PLC0415
    from streams.recordings.column_map import column_map  # noqa: PLC0415

    options = PlayOptions(
        speed=speed_of(speed), symbols=frozenset(filter(None, map(str.strip, symbols.split(",")))), loop=loop,
        columns=column_map(mapping) if mapping else None,
    )  # fmt: skip
    settings = attached(settings)
    create_topics(settings.kafka)
    bar = Progress(
        TextColumn("playing {task.fields[events]:,} events"), BarColumn(), DownloadColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), disable=as_json,
    )  # fmt: skip
    began, stop = time.monotonic(), stopping()
    with bar:
        task = bar.add_task("", total=None, events=0)
        played = run(
            paths, KafkaWriter(settings.kafka), WallClock(), options,
            lambda p: bar.update(task, total=p.bytes_total, completed=p.bytes_read, events=p.events), stop=stop,
        )  # fmt: skip
    told = {
        "events": dict(played.events), "dead_letters": played.dead_letters, "first_ns": played.first_ns,
        "last_ns": played.last_ns, "laps": played.laps, "stopped": stop(), "seconds": round(time.monotonic() - began, 3),
    }  # fmt: skip
    if as_json:
        print(json.dumps(told))
    else:
        Console().print(told)


def simulate(settings: Settings, *, rate: float | None, seed: int, seconds: float, as_json: bool) -> None:
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
    if kind not in SOURCES:
        raise SettingsError(f"--source: expected {', '.join(SOURCES)}, was {kind!r}")
    configure_logging(settings.logging.level, json=settings.logging.json_lines, secrets=secrets_of(settings))
    settings = attached(settings)
    create_topics(settings.kafka)
    stop, telemetry = stopping(), Telemetry()
    kind, why = source_of(settings, kind)
    structlog.get_logger().info("listening", source=kind, why=why)
    if kind == "sim":
        run_sim(
            settings, settings.source.sim_rate, settings.source.sim_seed, _begin(settings, history_s), telemetry, stop
        )
    else:
        run_coinbase(settings, telemetry, stop)


def _begin(settings: Settings, history_s: float) -> int:
    """When the simulated history begins, ns: behind what is on the log already, else it would have two markets at once."""
    now = time.time_ns()
    if not history_s:
        return now
    said = [newest_event(settings.kafka, each) or 0 for each in range(settings.kafka.partitions)]
    return max(now - round(history_s * NS), min(now, max(said) + NS))


def run_coinbase(settings: Settings, telemetry: Telemetry, stop: Callable[[], bool]) -> None:
    """Coinbase Exchange: recent trades of products that the log does not know first, then live from its newest ones on."""
    from streams.collectors.backfill import CoinbaseRest, backfill, newest_of  # noqa: PLC0415
    from streams.collectors.coinbase import VENUE  # noqa: PLC0415
    from streams.collectors.coinbase_feed import CoinbaseFeed  # noqa: PLC0415
    from streams.collectors.subscriber import Subscriber  # noqa: PLC0415

    source, clock, writer = settings.source, WallClock(), KafkaWriter(settings.kafka)
    rest = CoinbaseRest(source.coinbase_rest, clock)
    written = trades_at_end(settings.kafka, VENUE, source.products)
    known = {each.symbol for each in written}
    recent = backfill(rest, [each for each in source.products if each not in known], 1, clock.now_ns)
    writer.write(recent)
    last = newest_of([*written, *recent])
    newest, traded = {s: each.seq for s, each in last.items()}, {s: each.ts_event for s, each in last.items()}
    feed = CoinbaseFeed(source.products, rest, telemetry, newest, traded)
    try:
        Subscriber(source.coinbase_ws, feed, writer, clock, telemetry).run(stop)
    finally:
        rest.close()
        sys.stdout.flush()
