"""Signatures of Standard Webhooks 1.0: symmetric, one secret an endpoint, two while one replaces the other."""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks import Webhook

SECRET_BYTES: Final = 32
PREFIX: Final = "whsec_"


def new_secret() -> str:
    """A secret that nobody has seen."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(message_id: str, body: bytes, keys: Sequence[str], now_ns: int) -> dict[str, str]:
    """The three headers of one attempt: the id stays, the time is the attempt's, every key signs."""
    seconds = now_ns // 1_000_000_000
    moment = datetime.fromtimestamp(seconds, UTC)  # the package takes any zone for UTC: give it no other
    text = body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(Webhook(key).sign(message_id, moment, text) for key in keys),
    }
