"""Commands that start one process each, as process managers do, and what is done to their state."""

from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
PROCESSES = "Processes"

app = typer.Typer()


def _settings() -> Any:
    from infra.configured import load  # noqa: PLC0415

    return load()


@app.command(rich_help_panel=PROCESSES)
def collect(
    source: Annotated[str, typer.Option(help="auto, sim or coinbase; TICKWIRE_SOURCE__KIND if left out.")] = "",
    history: Annotated[float, typer.Option(help="Seconds that the simulator says first, at full speed.", min=0)] = 0,
) -> None:
    """Listen to a source and write what it says to the events log."""
    from infra.cli.inputs import collect as run  # noqa: PLC0415

    found = _settings()
    run(found, source or found.source.kind, history)


@app.command(rich_help_panel=PROCESSES)
def score(
    partitions: Annotated[
        str, typer.Option(help="Partitions of the events log, for example 0-3,7; all of them if left out.")
    ] = "",
    group: Annotated[str, typer.Option(help="Name of this process's state and status.")] = "0",
    metrics_port: Annotated[int, typer.Option(help="Prometheus metrics on loopback; 0 for none.")] = 0,
    wait_for_model: Annotated[float, typer.Option(help="Seconds to wait for a first ONNX model.", min=0)] = 0,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Fold the state again from the log first.")] = False,
) -> None:
    """Fold, score and store what is on the log."""
    from infra.cli.processes import score as run  # noqa: PLC0415

    run(_settings(), partitions, group, metrics_port, wait_for_model, rebuild=rebuild)


@app.command(rich_help_panel=PROCESSES)
def rebuild(
    partitions: Annotated[
        str, typer.Option(help="Partitions of the scoring process, for example 0-3,7; all of them if left out.")
    ] = "",
    group: Annotated[str, typer.Option(help="Name of the scoring process's state.")] = "0",
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on where neither the topic nor ClickHouse has a record.")
    ] = False,
    new_log: Annotated[
        bool, typer.Option("--new-log", help="Go on under the log that the broker has now; the old history stays.")
    ] = False,
    live: Annotated[bool, typer.Option("--live/--no-live", help="Score when it is done.")] = True,
    json: Json = False,
) -> None:
    """Throw the state of a scoring process away, fold it again from the log and ClickHouse, then go live."""
    from infra.cli.rebuild import run  # noqa: PLC0415

    run(_settings(), partitions, group, accept_loss=accept_loss, new_log=new_log, live=live, as_json=json)


@app.command(rich_help_panel=PROCESSES)
def news() -> None:
    """Turn raw news into signals on the events log (Faust)."""
    from infra.cli.processes import news as run  # noqa: PLC0415

    run(_settings())


@app.command(rich_help_panel=PROCESSES)
def deliver(
    metrics_port: Annotated[int, typer.Option(help="Prometheus metrics on loopback; 0 for none.")] = 0,
) -> None:
    """Take alerts off their topic (Faust) and deliver them to the endpoints of `tickwire hooks`."""
    from infra.cli.processes import deliver as run  # noqa: PLC0415

    run(_settings(), metrics_port)


@app.command(rich_help_panel=PROCESSES)
def api() -> None:
    """REST, the WebSocket feed, health and metrics."""
    from infra.cli.processes import api as run  # noqa: PLC0415

    run(_settings())


@app.command(rich_help_panel=PROCESSES)
def train(json: Json = False) -> None:
    """Fold what is on the log and train the ONNX model from it."""
    from infra.cli.processes import train as run  # noqa: PLC0415

    run(_settings(), as_json=json)
