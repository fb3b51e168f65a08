"""`tickwire replay`: progress while it runs, a summary with the hash, the list, and throwing one away."""

import json
import signal
import threading
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as Grid

from infra.cli.inputs import speed_of
from infra.cli.plain import plain
from infra.clickhouse import connect
from infra.instance import attached
from infra.replay.names import checked_name, database_of
from infra.replay.run import Progress as Done
from infra.replay.run import ReplayOptions, replay
from infra.replay.store import ReplayRecord, ReplayStore
from infra.replay.topics import drop_topics
from infra.settings import Settings
from streams.span_text import bound

BASE: Any = 1_000_000_000


def run(
    settings: Settings, into: str, first: str, end: str, speed: str, *, topics: bool, replace: bool, as_json: bool
) -> None:
    """Replay, and print what came of it."""
    options = ReplayOptions(
        into=checked_name(into), first=bound(first, "--from"), end=bound(end, "--to"), speed=speed_of(speed),
        topics=topics, replace=replace,
    )  # fmt: skip
    settings, stop = attached(settings), threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    columns = (
        TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[at]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as bar:
        task = bar.add_task("", total=None, rate="", at="")

        def told(done: Done) -> None:
            rate = done.records / max(time.monotonic() - began, 0.001)
            bar.update(
                task, total=done.records_total, completed=done.records, rate=f"{rate:,.0f}/s", at=_moment(done.event_ns)
            )

        record = replay(settings, options, told, stop.is_set)
    _tell(settings, record, as_json=as_json)


def _moment(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // BASE, UTC):%Y-%m-%d %H:%M:%S}" if ns else ""


def _tell(settings: Settings, record: ReplayRecord, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(record).decode())
        return
    rate = record.records / max(record.seconds, 0.001)
    doors = ", ".join(f"{name} {count:,}" for name, count in record.doors.items())
    rows = ", ".join(f"{name} {count:,}" for name, count in record.rows.items())
    print(f"{record.records:,} records in {record.seconds:.1f} s ({rate:,.0f}/s): {doors}")
    print(f"rows: {rows}")
    print(f"hash={record.hash}")
    print(_beside_live(record))
    print(f"its tables are in ClickHouse database {database_of(settings.clickhouse.database, record.name)}")


def _beside_live(record: ReplayRecord) -> str:
    if record.live_hash is None:
        return "live: not compared, since the replay began later than the log; what is remembered from before was not there"
    if record.live_hash == record.hash:
        return "live: the same bits"
    return f"live: differs in {', '.join(record.differs)} (hash={record.live_hash}); `tickwire verify` tells where"


def listed(settings: Settings, *, as_json: bool) -> None:
    """Print every replay there is."""
    store = _store(attached(settings))
    found = store.replays()
    if as_json:
        print(json.dumps({name: record and msgspec.to_builtins(record) for name, record in found.items()}))
        return
    grid = Grid("name", "records", "speed", "hash", "live", box=None, header_style="bold")
    for name, record in found.items():
        if record is None:
            grid.add_row(name, "not whole: run it again with --replace, or --drop it")
        else:
            live = (
                "not compared" if record.live_hash is None else "same" if record.live_hash == record.hash else "differs"
            )
            grid.add_row(name, f"{record.records:,}", record.speed, record.hash[:16], live)
    plain().print(grid)


def drop(settings: Settings, name: str) -> None:
    """Throw a replay away, its topics too, and these also where its database is gone already."""
    settings = attached(settings)
    drop_topics(settings.kafka, checked_name(name))
    _store(settings).drop(name)
    print(f"replay {name} is gone")


def _store(settings: Settings) -> ReplayStore:
    clickhouse = settings.clickhouse
    database = connect(clickhouse.url.get_secret_value(), timeout_s=clickhouse.timeout.total_seconds())
    return ReplayStore(database, clickhouse.database)
