"""`tickwire rules`: the alert rules that stand, and how one would have done. Heavy imports happen inside."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Id = Annotated[str, typer.Argument(help="Its id, as `tickwire rules list` lists it.")]
File = Annotated[Path, typer.Argument(help="A rule as JSON, `-` for stdin: fields and words in schemas/rules.py.")]
By = Annotated[str, typer.Option(help="Who decides.")]
Why = Annotated[str, typer.Option(help="For the record.")]

app = typer.Typer(
    help="Alert rules: what is watched on every update, and said on the alerts topic.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)


@app.command(name="list")
def listed(json: Json = False) -> None:
    """Every rule that stands, by what scoring has stored."""
    from infra.cli.rule_commands import listed as run  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    run(load(), as_json=json)


@app.command()
def show(rule: Id, json: Json = False) -> None:
    """One rule, and the newest alerts of it. 1 if there is none of this id."""
    from infra.cli.rule_commands import show as run  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    raise typer.Exit(run(load(), rule, as_json=json))


@app.command()
def add(
    file: File,
    change: Annotated[bool, typer.Option("--change", help="In place of the rule of this id that stands.")] = False,
    by: By = "",
    why: Why = "",
    json: Json = False,
) -> None:
    """Let a rule stand from the next record on. 0 done, 1 refused, 2 nobody scores."""
    from infra.cli.rule_commands import add as run  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    raise typer.Exit(run(load(), file, "change" if change else "add", by, why, as_json=json))


@app.command()
def remove(rule: Id, by: By = "", why: Why = "", json: Json = False) -> None:
    """Let a rule stand no longer. 0 done, 1 refused, 2 nobody scores."""
    from infra.cli.rule_commands import remove as run  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    raise typer.Exit(run(load(), rule, by, why, as_json=json))


@app.command()
def backtest(
    file: File,
    begin: Annotated[
        str,
        typer.Option("--from", help="PARTITION:OFFSET[,…], or a time of the broker's clock; all there is if left out."),
    ] = "",
    end: Annotated[
        str, typer.Option("--to", help="The same, and not included; the log's present end if left out.")
    ] = "",
    within: Annotated[float, typer.Option(help="Seconds that it may take.", min=1)] = 300,
    json: Json = False,
) -> None:
    """How often a rule would have fired, with the times: the log through the fold that live runs.

    0 done, 1 failed, 2 an option or a setting is wrong, 65 the rule or the stretch cannot be judged, 75 out of time.
    """
    from infra.cli.rule_commands import backtest as run  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    raise typer.Exit(run(load(), file, begin, end, within, as_json=json))
