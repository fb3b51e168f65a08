"""`tickwire models`: what there is to score with, and where; registering, pulling and verifying. Heavy imports happen inside."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Model = Annotated[str, typer.Argument(help="Its id, as `tickwire models` lists it.")]
By = Annotated[str, typer.Option(help="Who decides.")]
Why = Annotated[str, typer.Option(help="For the record.")]

app = typer.Typer(
    help="The models of this machine and of the registry.",
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)


@app.callback()
def models(context: typer.Context, json: Json = False) -> None:
    """Every model: id, kind, what it was trained on, how it did, its alias, and where it is."""
    if context.invoked_subcommand is None:
        from infra.cli.model_shop import listed  # noqa: PLC0415
        from infra.configured import load  # noqa: PLC0415

        listed(load(), as_json=json)


@app.command()
def register(
    file: Annotated[Path, typer.Argument(help="An ONNX file: input `features` float32 [None, F], output `p_up`.")],
    name: Annotated[str, typer.Option(help="What it is called; its id is NAME-HASH.")] = "",
    json: Json = False,
) -> None:
    """Take a model that was made elsewhere into the cache, and into the registry. It scores when it is promoted."""
    from infra.cli.model_shop import registered  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    registered(load(), file, name or file.stem, as_json=json)


@app.command()
def pull(
    wanted: Annotated[str, typer.Argument(help="champion, challenger, a version, or an id.")] = "champion",
    json: Json = False,
) -> None:
    """Fetch a model from the registry into the cache. 0 fetched or there already, 1 refused or no answer."""
    from infra.cli.model_shop import pulled  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    raise typer.Exit(pulled(load(), wanted, as_json=json))


@app.command()
def verify(json: Json = False) -> None:
    """Check every model of the cache: sha256, signature, canary, pace. 0 all are well, 1 one is not."""
    from infra.cli.model_shop import verified  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    raise typer.Exit(verified(load(), as_json=json))


@app.command()
def promote(model: Model, by: By = "", why: Why = "", json: Json = False) -> None:
    """Let a model serve clients from the next record on; `online` for the one that learns. 0 done, 1 refused, 2 nobody scores."""
    _change("promote", model, by, why, json)


@app.command()
def challenge(model: Model, by: By = "", why: Why = "", json: Json = False) -> None:
    """Let a model score beside the champion, in the shadow."""
    _change("challenge", model, by, why, json)


@app.command()
def retire(model: Model, by: By = "", why: Why = "", json: Json = False) -> None:
    """Let a challenger score no longer."""
    _change("retire", model, by, why, json)


@app.command()
def rollback(model: Model, by: By = "", why: Why = "", json: Json = False) -> None:
    """Take back the promotion of the model that serves now: the one before it serves again."""
    _change("rollback", model, by, why, json)


@app.command()
def quarantine(model: Model, by: By = "", why: Why = "", json: Json = False) -> None:
    """Never use a model again; where it serves, the one before it does."""
    _change("quarantine", model, by, why, json)


@app.command()
def warm(
    night: Annotated[Path, typer.Argument(help="Directory of a finished `tickwire nightly --warm-start`.")],
    by: By = "",
    why: Why = "",
    json: Json = False,
) -> None:
    """Let the online model go on from what a night has learnt, in every partition, from the next record on."""
    from infra.cli.model_changes import warm as warmed  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    raise typer.Exit(warmed(load(), night, by, why, as_json=json))


def _change(action: str, model: str, by: str, why: str, as_json: bool) -> None:
    from infra.cli.model_changes import change  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    raise typer.Exit(change(load(), action, model, by, why, as_json=as_json))


@app.command()
def scoreboard(
    hours: Annotated[
        float, typer.Option(help="So many hours of event time, back from the newest outcome.", min=0.01)
    ] = 24,
    group: Annotated[
        list[str] | None, typer.Option(help="Symbols separated by commas that are judged together; may be repeated.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(help="symbol or venue: each of them for itself too. Groups of your own: TICKWIRE_MODELS__GROUPS."),
    ] = "all",
    horizon: Annotated[float, typer.Option(help="Seconds; every horizon if 0.", min=0)] = 0,
    json: Json = False,
) -> None:
    """How every model did live, by outcomes that matured, with confidence intervals."""
    from infra.cli.model_changes import show_scoreboard  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    show_scoreboard(load(), hours, group or (), by, horizon, as_json=json)
