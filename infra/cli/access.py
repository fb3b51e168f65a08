"""`tickwire keys …`: who may call the API. Heavy imports happen inside."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

keys = typer.Typer(help="API keys: who may call the API.", no_args_is_help=True)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is or what for, for example grafana.")],
    role: Annotated[str, typer.Option(help="viewer, analyst, operator or admin.")] = "viewer",
    days: Annotated[float, typer.Option(help="It ends after so many; 0: never.", min=0, max=36_500)] = 90,
    json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    from infra.cli import keys as command  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    command.create(load(), name, role, days, as_json=json)


@keys.command("list")
def list_(json: Json = False) -> None:
    """Every key with its role and state; the secrets are known to nobody."""
    from infra.cli import keys as command  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    command.listed(load(), as_json=json)


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="As `tickwire keys list` shows it.")], json: Json = False
) -> None:
    """End a key; its open connections are closed within two seconds."""
    from infra.cli import keys as command  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    command.revoke(load(), key, as_json=json)


audit = typer.Typer(help="The audit log: who did what.", no_args_is_help=True)


@audit.callback()
def _group() -> None:
    """Keep `verify` a command of its own."""


@audit.command()
def verify(
    head: Annotated[str, typer.Option(help="N:SEAL as an earlier run printed it; that line must still be there.")] = "",
    json: Json = False,
) -> None:
    """Whether every line of the audit log is as it was written, and none is missing. 0 whole, 1 not."""
    from infra.cli import audit as command  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    raise typer.Exit(command.verify(load(), head, as_json=json))
