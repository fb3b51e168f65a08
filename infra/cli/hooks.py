"""`tickwire hooks`: where alerts are delivered to, and what became of each delivery. Heavy imports happen inside."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
MOST = 2**63 - 1
"""What SQLite can count."""
Id = Annotated[str, typer.Argument(help="Its id, as `tickwire hooks list` shows it.")]

app = typer.Typer(
    help="Deliver alerts: signed webhooks, Slack, mail, SNS.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _work() -> Any:
    from infra.cli.hook_work import HookWork  # noqa: PLC0415
    from infra.configured import load  # noqa: PLC0415

    return HookWork(load())


@app.command()
def add(
    target: Annotated[
        str, typer.Argument(help="https://… for webhook and slack, an address for mail and ses, an ARN for sns.")
    ],
    channel: Annotated[str, typer.Option(help="webhook, slack, mail, ses or sns.")] = "webhook",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    rule: Annotated[list[str] | None, typer.Option(help="Alerts of this rule alone; may be repeated.")] = None,
    concurrency: Annotated[int, typer.Option(help="Attempts at once; 1 keeps the order of the alerts.", min=1)] = 1,
    json: Json = False,
) -> None:
    """Add an endpoint. Its secret is printed this once."""
    _work().add(
        {
            "target": target, "channel": channel, "description": description, "rules": rule or [],
            "concurrency": concurrency,
        },
        as_json=json,
    )  # fmt: skip


@app.command("list")
def list_(json: Json = False) -> None:
    """Every endpoint, and whether it is in use."""
    _work().list(as_json=json)


@app.command()
def remove(endpoint: Id, json: Json = False) -> None:
    """Forget an endpoint with all its deliveries."""
    _work().remove(endpoint, as_json=json)


@app.command()
def rotate(
    endpoint: Id,
    overlap_hours: Annotated[float, typer.Option(help="So long the old secret signs, too.", min=0, max=720)] = 24,
    json: Json = False,
) -> None:
    """A new secret, printed this once; the old one goes on signing beside it for a while."""
    _work().rotate(endpoint, timedelta(hours=overlap_hours), as_json=json)


@app.command()
def enable(endpoint: Id, json: Json = False) -> None:
    """Use an endpoint again that was disabled."""
    _work().enable(endpoint, as_json=json)


@app.command()
def ping(
    endpoint: Id,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the answer.", min=0)] = 20,
    json: Json = False,
) -> None:
    """Send a test through the outbox. 0 it arrived, 1 it did not."""
    raise typer.Exit(_work().ping(endpoint, wait, as_json=json))


@app.command()
def deliveries(
    delivery: Annotated[int, typer.Argument(help="One of them, with its body and all attempts.", min=0, max=MOST)] = 0,
    endpoint: Annotated[str, typer.Option(help="Of this endpoint alone.")] = "",
    state: Annotated[str, typer.Option(help="pending, sent or dead.")] = "",
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1, max=MOST)] = 50,
    json: Json = False,
) -> None:
    """The newest deliveries, or one of them; dead letters are in the state dead."""
    _work().deliveries(delivery, endpoint, state, limit, as_json=json)


@app.command()
def replay(
    delivery: Annotated[int, typer.Argument(help="One delivery.", min=0, max=MOST)] = 0,
    endpoint: Annotated[str, typer.Option(help="Or all dead letters of this endpoint.")] = "",
    since: Annotated[str, typer.Option(help="Made since then, RFC 3339.")] = "",
    every: Annotated[bool, typer.Option("--every", help="Those that arrived, too.")] = False,
    json: Json = False,
) -> None:
    """Deliver again, under the same ids: what the receiver knows already, it drops."""
    _work().replay(delivery, endpoint, since, every=every, as_json=json)


@app.command()
def listen(
    port: Annotated[int, typer.Option(help="Of 127.0.0.1; 0 for any.", min=0, max=65_535)] = 8484,
    endpoint: Annotated[str, typer.Option(help="Verify with the secrets of this endpoint of ours.")] = "",
    secret_file: Annotated[Path | None, typer.Option(help="Or with the secret in this file.")] = None,
    json: Json = False,
) -> None:
    """Receive webhooks, verify their signatures, print each id once. To get some: TICKWIRE_HOOKS__LOOPBACK=1."""
    _work().listen(port, endpoint, secret_file, as_json=json)
