"""What a client can subscribe to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.topics import BARS, OUTCOMES, PREDICTIONS

EVERY_SYMBOL: Final = "*"


@dataclass(frozen=True)
class Channel:
    """One kind of message. `scope`: who may hear it. `conflates`: a newer message of a symbol makes the older one worthless."""

    name: str
    topic: str
    scope: str
    conflates: bool


CHANNELS: Final[Mapping[str, Channel]] = {
    channel.name: channel
    for channel in (
        Channel("predictions", PREDICTIONS.name, "signals:read", conflates=True),
        Channel("bars", BARS.name, "market:read", conflates=False),
        Channel("outcomes", OUTCOMES.name, "signals:read", conflates=False),
    )
}
CHANNEL_OF_TOPIC: Final[Mapping[str, str]] = {channel.topic: channel.name for channel in CHANNELS.values()}
