"""What is said about an alert: one body, made once, whose id is the alert's."""

import re
from hashlib import blake2b
from typing import Any, Final

import msgspec

from api.times import to_rfc3339
from infra.hooks.channel import Message
from schemas.rows import Alert

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)


def message_of(alert: Alert) -> Message:
    """The message of an alert; the same alert makes the same bytes under the same id in every process."""
    body = {
        "type": f"alert.{alert.state}",
        "timestamp": to_rfc3339(alert.ts_event),
        "data": msgspec.to_builtins(alert) | {"ts_event": to_rfc3339(alert.ts_event)},
    }
    return Message(message_id(alert), f"alert.{alert.state}", msgspec.json.encode(body))


def message_id(alert: Alert) -> str:
    """`ALERT-STATE`, or a hash of it where the alert's id has letters that the header must not have."""
    name = f"{alert.id}-{alert.state}"
    return name if _ID.fullmatch(name) else blake2b(name.encode(), digest_size=16).hexdigest()


def ping(endpoint: str, number: str, now_ns: int) -> Message:
    """A message that says only that messages arrive."""
    body = {"type": "ping", "timestamp": to_rfc3339(now_ns), "data": {"endpoint": endpoint}}
    return Message(f"ping-{number}", "ping", msgspec.json.encode(body))


def in_words(message: Message) -> str:
    """The message as a line for people.

    >>> in_words(Message("1", "ping", b'{"type":"ping","timestamp":"2026-01-01T00:00:00Z","data":{"endpoint":"e"}}'))
    'tickwire: a test of this channel'
    """
    said: dict[str, Any] = msgspec.json.decode(message.body)
    if message.kind == "ping":
        return "tickwire: a test of this channel"
    data = said["data"]
    return (
        f"{data['symbol']}: {data['rule']} {data['state']} at {data['value']:g} (threshold {data['threshold']:g}), "
        f"{data['ts_event']}"
    )
