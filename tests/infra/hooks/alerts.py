"""Alerts as the fold says them."""

from typing import Any

from schemas.rows import Alert

START = 1_795_357_800_000_000_000


def alert(number: int = 0, **changes: Any) -> Alert:
    """An alert whose id is a hash, as of the fold."""
    fields: dict[str, Any] = {
        "id": f"{number:064x}", "rule": "vwap-dev", "symbol": f"SIM{number % 7}", "state": ("fired", "cleared")[number % 2],
        "ts_event": START + number, "value": 1.25, "threshold": 1.0, "log_id": "log-1", "src_partition": 0, "src_offset": number,
        **changes,
    }  # fmt: skip
    return Alert(**fields)
