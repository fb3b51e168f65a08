"""Commands that run one process each, for production; `tickwire up` starts the same ones."""

import json
import sys
import time
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.access.secret_values import secrets_of
from infra.allocator import give_back, tidy
from infra.cli.plain import plain
from infra.instance import attached
from infra.logs import configure_logging
from infra.settings import Settings
from schemas.errors import SettingsError

NO_MODEL_YET: Final = "none-yet"


def ready(settings: Settings) -> Settings:
    """Logging and memory set up, and the addresses of what runs here filled in."""
    give_back()
    tidy()
    configure_logging(settings.logging.level, json=settings.logging.json_lines, secrets=secrets_of(settings))
    return attached(settings)


def score(
    settings: Settings,
    partitions: str,
    group: str,
    metrics_port: int,
    wait_for_model_s: float,
    *,
    rebuild: bool = False,
) -> None:
    """Fold and score until told to stop."""
    from infra.awaited import await_clickhouse, await_kafka  # noqa: PLC0415
    from infra.kafka import create_topics  # noqa: PLC0415
    from infra.score import run  # noqa: PLC0415
    from infra.start import Wanted  # noqa: PLC0415
    from infra.telemetry import Telemetry, serve_metrics  # noqa: PLC0415

    settings, telemetry = ready(settings), Telemetry()
    if metrics_port:
        serve_metrics(telemetry, metrics_port)
    await_kafka(settings)
    await_clickhouse(settings)
    create_topics(settings.kafka)
    _await_model(settings, wait_for_model_s)
    run(settings, partitions_of(partitions) or None, telemetry=telemetry, group=group, wanted=Wanted(rebuild=rebuild))


def _await_model(settings: Settings, within_s: float) -> None:
    """Return once a model is there, or it is said that there will be none yet, or the time is over."""
    from infra.composition import model_path  # noqa: PLC0415

    path, deadline = model_path(settings), time.monotonic() + within_s
    while not path.exists() and not path.with_name(NO_MODEL_YET).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def partitions_of(text: str) -> tuple[int, ...]:
    """`0-3,7` as numbers."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if not (part.isascii() and first.isdecimal() and (last or first).isdecimal()):
            raise SettingsError(f"--partitions: expected numbers and ranges such as 0-3,7, was {text!r}")
        if int(last or first) < int(first):
            raise SettingsError(f"--partitions: expected the smaller number first, as in 0-3, was {part!r}")
        found |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def news(settings: Settings) -> None:
    """Score raw news until told to stop."""
    from infra.access.faust_login import faust_credentials  # noqa: PLC0415
    from infra.clock import WallClock  # noqa: PLC0415
    from infra.telemetry import Telemetry  # noqa: PLC0415
    from models.sentiment import LexiconSentiment  # noqa: PLC0415
    from streams.agents.news import build_app  # noqa: PLC0415
    from streams.agents.worker import run  # noqa: PLC0415

    settings = ready(settings)
    brokers, datadir = settings.kafka.bootstrap.split(","), settings.data / "faust"
    partitions = settings.kafka.partitions
    run(
        build_app(
            brokers,
            datadir,
            LexiconSentiment(),
            WallClock(),
            Telemetry(),
            partitions=partitions,
            credentials=faust_credentials(settings.kafka),
        )
    )


def deliver(settings: Settings, metrics_port: int) -> None:
    """Deliver alerts until told to stop."""
    from infra.hooks.process import run  # noqa: PLC0415

    run(ready(settings), metrics_port)


def api(settings: Settings) -> None:
    """Serve until told to stop."""
    from infra.access.dev_key import told_where, wants_dev_key  # noqa: PLC0415
    from infra.api_process import run  # noqa: PLC0415

    if wants_dev_key(settings):
        plain(stderr=True).print(told_where(settings.data), soft_wrap=True)
    run(ready(settings))


def train(settings: Settings, *, as_json: bool) -> None:
    """Train from the log, with a progress bar."""
    from infra.training import train_from_log  # noqa: PLC0415

    settings = ready(settings)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), disable=as_json,
    )  # fmt: skip
    with bar:
        task = bar.add_task("folding history", total=None)
        path, manifest = train_from_log(
            settings, lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
        )
    told = {"manifest": str(path), "id": manifest.id, "metrics": manifest.metrics}
    if as_json:
        import msgspec  # noqa: PLC0415

        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    else:
        plain().print(json.dumps({"manifest": told["manifest"], "id": told["id"]}, indent=1), manifest.metrics)
