"""The command `tickwire`: what users and process managers start. Heavy imports happen inside the commands."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from infra.cli.access import audit, keys
from infra.cli.batch import app as batch
from infra.cli.hooks import app as hooks
from infra.cli.models import app as models
from infra.cli.process_commands import app as processes
from infra.cli.rules import app as rules
from schemas.errors import SettingsError, TickwireError, WriterError

app = typer.Typer(
    name="tickwire",
    help="Market ticks and news in, scored predictions out, with a history that can be proven.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(processes)
app.add_typer(batch)
app.add_typer(audit, name="audit", rich_help_panel="Access")
app.add_typer(keys, name="keys", rich_help_panel="Access")
app.add_typer(models, name="models", rich_help_panel="Models")
app.add_typer(rules, name="rules", rich_help_panel="Use")
app.add_typer(hooks, name="hooks", rich_help_panel="Use")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _settings() -> Any:
    from infra.configured import load  # noqa: PLC0415

    return load()


@app.command(rich_help_panel="Run")
def up(
    source: Annotated[
        str, typer.Option(help="auto, sim, coinbase or none; auto asks Coinbase and falls back to the simulator.")
    ] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw all state of this directory away first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --fresh.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Fold the state of scoring again from the log.")] = False,
) -> None:
    """Start everything on this machine: services, collector, scoring, API. Ctrl-C stops all of it."""
    from infra.cli.up import run  # noqa: PLC0415

    settings = _settings()
    if fresh and not yes and settings.data.exists():
        typer.confirm(f"Delete {settings.data.resolve()} with all its history?", abort=True)
    raise typer.Exit(run(settings, source or settings.source.kind, fresh=fresh, rebuild=rebuild))


@app.command(rich_help_panel="Use")
def play(
    paths: Annotated[
        list[Path], typer.Argument(help="Recordings: LEAN equity or forex ticks, Binance captures, CSV or Parquet.")
    ],
    speed: Annotated[
        str, typer.Option(help="1 keeps the recorded gaps, 10 is ten times as fast, max does not wait.")
    ] = "max",
    symbols: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    loop: Annotated[
        bool, typer.Option("--loop", help="Begin again at the end, shifted by whole weeks, up to the present.")
    ] = False,
    mapping: Annotated[
        str,
        typer.Option(
            "--map", help="Columns of a CSV or Parquet: kind=trade,ts=time,price=px,size=qty,symbol=sym,venue=X."
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Write recordings to the events log, at their own pace or as fast as it goes."""
    from infra.cli.inputs import play as run  # noqa: PLC0415

    run(_settings(), paths, speed=speed, symbols=symbols, loop=loop, mapping=mapping, as_json=json)


@app.command(rich_help_panel="Use")
def sim(
    rate: Annotated[
        float | None, typer.Option(help="Events per second; TICKWIRE_SOURCE__SIM_RATE if left out.", min=0.1)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed says the same.", min=0)] = 0,
    seconds: Annotated[float, typer.Option(help="Stop after so long; 0 goes on until Ctrl-C.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Write a simulated exchange (venue SIM) to the events log, live."""
    from infra.cli.inputs import simulate as run  # noqa: PLC0415

    run(_settings(), rate=rate, seed=seed, seconds=seconds, as_json=json)


@app.command(rich_help_panel="Use")
def replay(  # noqa: PLR0913, PLR0917 - one argument an option
    into: Annotated[str, typer.Option(help="Name of the replay: its rows go to database tickwire_replay_NAME.")] = "",
    first: Annotated[
        str,
        typer.Option(
            "--from", help="An offset, partitions with offsets (0:100,3:50), or a time; the log's first if left out."
        ),
    ] = "",
    end: Annotated[
        str, typer.Option("--to", help="The same, and not included; the log's present end if left out.")
    ] = "",
    speed: Annotated[
        str, typer.Option(help="1 keeps the gaps with which records came, 10 is ten times as fast, max does not wait.")
    ] = "max",
    topics: Annotated[
        bool, typer.Option("--topics", help="Also to topics replay.NAME.…; TICKWIRE_API__NAMESPACE=NAME serves them.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Throw a replay of this name away first.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Show the replays there are.")] = False,
    drop: Annotated[str, typer.Option(help="Throw this replay away.")] = "",
    json: Json = False,
) -> None:
    """The log through the same flow again, into tables of its own, while live goes on; the same bits at every speed."""
    from infra.cli import replay as command  # noqa: PLC0415

    if listed:
        command.listed(_settings(), as_json=json)
    elif drop:
        command.drop(_settings(), drop)
    else:
        command.run(_settings(), into, first, end, speed, topics=topics, replace=replace, as_json=json)


@app.command(rich_help_panel="Use")
def watch(
    symbols: Annotated[str, typer.Argument(help="Symbols separated by commas; all of them if left out.")] = "*",
    seconds: Annotated[float, typer.Option(help="Stop after so long; 0 goes on until Ctrl-C.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Live table: price, indicators, scores of both models, rate, lag and p99."""
    from infra.cli.watch import run  # noqa: PLC0415

    run(_settings(), symbols, seconds=seconds, as_json=json)


@app.command(rich_help_panel="Use")
def sql(
    query: Annotated[str, typer.Argument(help="One statement; the tables and examples are listed if left out.")] = "",
    json: Json = False,
) -> None:
    """Ask ClickHouse."""
    from infra.cli.queries import sql as run  # noqa: PLC0415

    run(_settings(), query, as_json=json)


@app.command(rich_help_panel="Use")
def topics(json: Json = False) -> None:
    """Every topic with its partitions, records and what it carries."""
    from infra.cli.queries import topics as run  # noqa: PLC0415

    run(_settings(), as_json=json)


@app.command(rich_help_panel="Understand")
def settings(json: Json = False) -> None:
    """Every setting, its value and where it came from; secrets are masked."""
    from infra.cli.queries import settings as run  # noqa: PLC0415

    run(as_json=json)


@app.command(rich_help_panel="Understand")
def doctor(json: Json = False) -> None:
    """What works here, what does not, and what to do about it."""
    from infra.cli.doctor import run  # noqa: PLC0415

    raise typer.Exit(run(_settings(), as_json=json))


@app.command(rich_help_panel="Understand")
def verify(
    begin: Annotated[
        str,
        typer.Option(
            "--from",
            help="Judge from here on: PARTITION:OFFSET[,…], and only these partitions, or a time of the broker's clock (UTC "
            "unless it says). The fold still begins at the log's first record.",
        ),
    ] = "",
    end: Annotated[
        str, typer.Option("--to", help="Judge up to here, as in --from; to what is stored of the log if left out.")
    ] = "",
    log: Annotated[str, typer.Option(help="Id of the log; the current one if left out.")] = "",
    capture: Annotated[
        Path | None, typer.Option(help="What a client of the feed received, one frame a line, to be compared too.")
    ] = None,
    kills: Annotated[int | None, typer.Option(help="Told by a fault bench, and printed again.", min=0)] = None,
    json: Json = False,
) -> None:
    """Fold the log afresh and compare every row, bar, bit and score that was served. 0 clean, 1 differs, 2 could not be done."""
    from infra.cli.verify import run  # noqa: PLC0415

    raise typer.Exit(run(_settings(), bounds=(begin, end), log_id=log, capture=capture, kills=kills, as_json=json))


@app.command(rich_help_panel="Understand")
def bench(
    what: Annotated[
        str,
        typer.Argument(
            help="flow: log to ClickHouse, topics and feed. latency: the feed alone. peers: beside the same job per event."
        ),
    ] = "flow",
    events: Annotated[int, typer.Option(help="How many events are folded.", min=1_000)] = 500_000,
    json: Json = False,
) -> None:
    """Measure this machine, on embedded services of its own."""
    from infra.cli.bench import run  # noqa: PLC0415

    run(_settings(), what, events=events, as_json=json)


USAGE: Final = 2
"""As for an option that there is not: nothing was done. Commands whose 1 means something else rely on it."""


def main() -> None:
    """Entry point: our own errors are one line, not a traceback."""
    try:
        app()
    except TickwireError as error:
        print(f"error: {error}", file=sys.stderr)
        code = {WriterError: os.EX_TEMPFAIL, SettingsError: USAGE}
        raise SystemExit(next((told for kind, told in code.items() if isinstance(error, kind)), 1)) from None


if __name__ == "__main__":
    main()
