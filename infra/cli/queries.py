"""Commands that ask and print: sql, topics, settings."""

import json
import sys
from typing import Any
from urllib.parse import urlsplit

from rich.table import Table as Grid
from rich.text import Text

from infra.access.audited import record_command
from infra.cli.plain import finite, plain
from infra.clickhouse import connect
from infra.configured import explain
from infra.instance import attached
from infra.settings import Kafka, Settings
from schemas.errors import BackendError
from schemas.topics import TOPICS

LISTING = (
    "SELECT name AS table, total_rows AS rows, formatReadableSize(total_bytes) AS size, comment "
    "FROM system.tables WHERE database = {database:String} ORDER BY name"
)
EXAMPLES = """
  tickwire sql "SELECT symbol, count() AS trades, round(avg(price), 2) AS price FROM trades GROUP BY symbol ORDER BY trades DESC"
  tickwire sql "SELECT * FROM bars_latest WHERE kind = '1m' ORDER BY start DESC LIMIT 10"
  tickwire sql "SELECT horizon_ns, avg(label = (onnx > 0.5)) AS hit_rate FROM outcomes WHERE label IN (0, 1) GROUP BY horizon_ns"
  tickwire sql "SELECT reason, count() FROM dead_letters GROUP BY reason"
"""


def sql(settings: Settings, query: str, *, as_json: bool) -> None:
    """Run a statement and print its rows; without one, list the tables."""
    settings = attached(settings)
    if query:
        record_command(settings, "sql", statement=query)
    database = connect(
        _within(settings.clickhouse.url.get_secret_value(), settings.clickhouse.database),
        timeout_s=settings.clickhouse.timeout.total_seconds(),
    )
    listing = not query
    found = database.rows(query or LISTING, {} if query else {"database": settings.clickhouse.database})
    if as_json:
        for row in found.rows:
            print(json.dumps(finite(dict(zip(found.names, row, strict=True))), default=str))
        return
    grid = Grid(*found.names, box=None, header_style="bold")
    for row in found.rows:
        grid.add_row(*(_cell(value, type_) for value, type_ in zip(row, found.types, strict=True)))
    console = plain()
    console.print(grid)
    console.print(Text(f"{len(found.rows)} rows", style="dim"))
    if listing:
        console.print(f"\nFor example:{EXAMPLES}")


def _within(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def _cell(value: Any, type_: str) -> str:
    if type_.startswith("DateTime64(9") and isinstance(value, int):
        from datetime import UTC, datetime  # noqa: PLC0415

        return f"{datetime.fromtimestamp(value // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}.{value % 1_000_000_000:09d}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def topics(settings: Settings, *, as_json: bool) -> None:
    """Print every topic with how many records it holds. `BackendError` where the broker does not say."""
    settings = attached(settings)
    rows = []
    for topic in TOPICS:
        ends = _ends(settings.kafka, topic.name)
        records = sum(high - low for low, high in ends.values())
        rows.append(
            {
                "topic": topic.name,
                "schema": topic.schema,
                "partitions": len(ends),
                "records": records,
                "cleanup": topic.cleanup,
            }
        )
    if as_json:
        json.dump(rows, sys.stdout)
        print()
        return
    grid = Grid("topic", "value", "partitions", "records", "cleanup", box=None, header_style="bold")
    for row in rows:
        grid.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    plain().print(grid)


def _ends(kafka: Kafka, topic: str) -> dict[int, tuple[int, int]]:
    from confluent_kafka import KafkaException  # noqa: PLC0415

    from infra.kafka_log import end_offsets  # noqa: PLC0415

    try:
        return end_offsets(kafka, topic)
    except KafkaException as error:
        raise BackendError(
            f"Kafka at {kafka.bootstrap} does not say what {topic} holds: {error.args[0].str()}; is it running?"
        ) from error


def settings(*, as_json: bool) -> None:
    """Print every setting."""
    lines = explain()
    if as_json:
        json.dump([line.__dict__ for line in lines], sys.stdout)
        print()
        return
    grid = Grid("variable", "value", "from", box=None, header_style="bold")
    for line in lines:
        grid.add_row(line.variable, line.value, Text(line.origin, style="" if line.origin == "default" else "green"))
    plain().print(grid)
