"""The work behind `tickwire hooks`: done, and printed."""

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from rich.table import Table as Grid
from rich.text import Text

from api.times import from_rfc3339, to_rfc3339
from infra.access.audited import record_command
from infra.cli.files import read_text
from infra.cli.plain import plain
from infra.clock import WallClock
from infra.hooks.addresses import why_refused
from infra.hooks.desk import Desk
from infra.hooks.listen import Listener
from infra.settings import Settings
from schemas.errors import InputError, SettingsError, TargetRefused
from schemas.hooks import Delivery, DeliveryDetails, NewEndpoint, Secret

ASK_EVERY_S: Final = 0.1
STATES: Final = ("", "pending", "sent", "dead")


class HookWork:
    """Works on the outbox of the data directory; the delivery process need not run."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._allowed_here = settings, settings.hooks.loopback
        self._desk, self._console = Desk(settings.data, settings.hooks, WallClock()), plain()

    def add(self, wanted: dict[str, Any], *, as_json: bool) -> None:
        try:
            new = msgspec.convert(wanted, NewEndpoint)
        except msgspec.ValidationError as error:
            raise SettingsError(f"tickwire hooks add: {error}") from error
        self._record("add", channel=new.channel, host=_host(new.target), description=new.description)
        try:
            endpoint, secret = self._desk.add(new)
        except TargetRefused as error:
            if self._allowed_here or not (host := _here(new.target)):
                raise
            raise TargetRefused(
                f"expected another machine than this one, found {host}; TICKWIRE_HOOKS__LOOPBACK=true allows it, here and "
                "where `tickwire up` or `tickwire deliver` runs"
            ) from error
        if as_json:
            _print({"endpoint": endpoint, "secret": secret.secret})
            return
        self._console.print(f"{endpoint.id} gets alerts at {endpoint.target}", soft_wrap=True, highlight=False)
        self._tell_secret(secret)

    def _record(self, what: str, **detail: str) -> None:
        record_command(self._settings, f"hooks {what}", **detail)

    def _tell_secret(self, secret: Secret) -> None:
        if secret.secret:
            self._console.print(f"its secret, shown this once: {secret.secret}", soft_wrap=True, highlight=False)
        if secret.old_valid_until is not None:
            self._console.print(f"the old one signs, too, until {to_rfc3339(secret.old_valid_until)}", highlight=False)

    def list(self, *, as_json: bool) -> None:
        found = self._desk.endpoints()
        if as_json:
            _print(found)
            return
        grid = Grid("id", "channel", "target", "rules", "state", "description", box=None, header_style="bold")
        for each in found:
            state = Text(f"disabled: {each.disabled}", style="red") if each.disabled else _health(each.failing_since)
            grid.add_row(each.id, each.channel, each.target, " ".join(each.rules) or "all", state, each.description)
        self._console.print(grid if found else "no endpoint yet: tickwire hooks add https://…")

    def remove(self, endpoint: str, *, as_json: bool) -> None:
        self._record("remove", endpoint=endpoint)
        self._desk.remove(endpoint)
        self._say({"removed": endpoint}, f"{endpoint} is forgotten", as_json)

    def rotate(self, endpoint: str, overlap: timedelta, *, as_json: bool) -> None:
        self._record("rotate", endpoint=endpoint)
        secret = self._desk.rotate(endpoint, overlap)
        if as_json:
            _print(secret)
        else:
            self._tell_secret(secret)

    def enable(self, endpoint: str, *, as_json: bool) -> None:
        self._record("enable", endpoint=endpoint)
        self._desk.enable(endpoint)
        self._say(
            {"enabled": endpoint},
            f"{endpoint} gets alerts from now on; `tickwire hooks replay` sends older ones",
            as_json,
        )

    def ping(self, endpoint: str, wait_s: float, *, as_json: bool) -> int:
        """0 it arrived, 1 it did not (yet)."""
        delivery = self._desk.ping(endpoint)
        deadline = time.monotonic() + wait_s
        while not (found := self._desk.delivery(delivery)).attempts and time.monotonic() < deadline:
            time.sleep(ASK_EVERY_S)
        if as_json:
            _print(found)
        elif found.attempts:
            self._show(found)
        else:
            self._console.print("no attempt yet: does the delivery process run? `tickwire up`, or `tickwire deliver`")
        return 0 if found.delivery.state == "sent" else 1

    def deliveries(self, delivery: int, endpoint: str, state: str, limit: int, *, as_json: bool) -> None:
        if state not in STATES:
            raise SettingsError(f"--state: expected pending, sent or dead, was {state!r}")
        if delivery:
            found = self._desk.delivery(delivery)
            if as_json:
                _print(found)
            else:
                self._show(found)
            return
        page = self._desk.deliveries(endpoint, state, None, limit)
        if as_json:
            _print(page)
        else:
            self._show_page(page)

    def replay(self, delivery: int, endpoint: str, since: str, *, every: bool, as_json: bool) -> None:
        if bool(delivery) == bool(endpoint):
            raise SettingsError(
                "tickwire hooks replay: expected the id of one delivery, or --endpoint for all of its dead letters"
            )
        count = 1
        if delivery:
            self._desk.replay(delivery)
        else:
            try:
                from_ns = from_rfc3339(since) if since else 0
            except ValueError as error:
                raise SettingsError(f"--since: {error}") from error
            count = self._desk.replay_all(endpoint, from_ns, every=every)
        self._say({"replayed": count}, f"{count} will be delivered again", as_json)

    def listen(self, port: int, endpoint: str, secret_file: Path | None, *, as_json: bool) -> None:
        """Until Ctrl-C."""
        if bool(endpoint) == bool(secret_file):
            raise SettingsError(
                "tickwire hooks listen: expected --endpoint ID of an endpoint here, or --secret-file FILE"
            )
        keys = [read_text(secret_file).strip()] if secret_file else list(self._desk.keys(endpoint))
        try:
            listener = Listener(keys, lambda received: self._say(received, received["line"], as_json), port=port)
        except OSError as error:
            raise InputError(f"--port: cannot listen on 127.0.0.1:{port}: {error.strerror}") from error
        print(f"listening on {listener.url}; Ctrl-C ends", file=sys.stderr)
        listener.serve()

    def _show_page(self, page: Sequence[Delivery]) -> None:
        grid = Grid(
            "id", "made", "endpoint", "message", "state", "tries", "next attempt", box=None, header_style="bold"
        )
        for each in page:
            due = to_rfc3339(each.due)[:19] if each.state == "pending" else ""
            grid.add_row(
                str(each.id), to_rfc3339(each.made)[:19], each.endpoint, each.message, each.state, str(each.tries), due
            )
        self._console.print(grid if page else "no deliveries")

    def _show(self, found: DeliveryDetails) -> None:
        each = found.delivery
        self._console.print(f"{each.id}: {each.message} to {each.endpoint}, {each.state}", highlight=False)
        self._console.print(found.body, soft_wrap=True, highlight=False)
        for attempt in found.attempts:
            told = f"{attempt.number}. {to_rfc3339(attempt.at)[:23]} {attempt.outcome} {attempt.status or ''}"
            self._console.print(f"{told} in {attempt.took_s * 1e3:.0f} ms: {attempt.detail[:200]}", highlight=False)

    def _say(self, told: object, words: str, as_json: bool) -> None:
        if as_json:
            _print(told)
        else:
            self._console.print(words, soft_wrap=True, highlight=False)


def _health(failing_since: int | None) -> Text:
    if failing_since is None:
        return Text("in use")
    return Text(f"failing since {to_rfc3339(failing_since)[:19]}", style="yellow")


def _here(target: str) -> str:
    """The host of this URL where it is this machine, by its form alone; else empty."""
    host = _host(target)
    return host if host == "localhost" or (why_refused(host) and not why_refused(host, loopback=True)) else ""


def _host(target: str) -> str:
    """Of a URL, whose path may be a secret; empty where it has none."""
    try:
        return urlsplit(target).hostname or ""
    except ValueError:
        return ""


def _print(told: object) -> None:
    print(msgspec.json.encode(told).decode(), flush=True)
