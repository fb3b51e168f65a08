"""`tickwire keys`: make, list and revoke API keys."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from rich.table import Table as Grid

from infra.access.audited import record_command
from infra.access.keys import Key, key_file
from infra.cli.plain import plain
from infra.clock import WallClock
from infra.settings import Settings


def create(settings: Settings, name: str, role: str, days: float, *, as_json: bool) -> None:
    """Make a key and show it, this once."""
    key, credential = key_file(settings).create(
        name, role, timedelta(days=days) if days else None, partial(_record, settings, "key create")
    )
    if as_json:
        print(json.dumps(_told(key) | {"key": credential}))
        return
    print(credential)
    until = f"until {_time(key.expires)}" if key.expires else "until it is revoked"
    plain(stderr=True).print(
        f"key {key.id} of the role {key.role}, {until}. It is shown only now: keep it, and show it to the API as\n"
        "  Authorization: Bearer KEY", soft_wrap=True, highlight=False,
    )  # fmt: skip


def listed(settings: Settings, *, as_json: bool) -> None:
    """Every key, without its secret, which nobody has."""
    told = [_told(key) for key in key_file(settings).all()]
    if as_json:
        print(json.dumps(told))
        return
    columns = ("id", "name", "role", "state", "created", "expires")
    grid = Grid(*columns, header_style="bold")
    for key in told:
        grid.add_row(*(str(key[column] or "") for column in columns))
    plain().print(grid)


def revoke(settings: Settings, id_: str, *, as_json: bool) -> None:
    """End a key for good."""
    key = key_file(settings).revoke(id_, partial(_record, settings, "key revoke"))
    print(json.dumps(_told(key)) if as_json else f"key {key.id} ({key.name}) is revoked")


def _record(settings: Settings, what: str, key: Key) -> None:
    record_command(settings, what, id=key.id, name=key.name, role=key.role)


def _told(key: Key) -> dict[str, Any]:
    return {
        "id": key.id, "name": key.name, "role": key.role, "state": key.state(WallClock().now_ns()),
        "created": _time(key.created), "expires": _time(key.expires), "revoked": _time(key.revoked),
    }  # fmt: skip


def _time(ns: int | None) -> str | None:
    return None if ns is None else datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="seconds")
