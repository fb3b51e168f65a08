"""What a client can subscribe to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.topics import BARS, OUTCOMES, PREDICTIONS

EVERY_SYMBOL: Final = "*"


@dataclass(frozen=True)
class Channel:
    """One kind of message. `conflates`: a newer message of a symbol makes the older one worthless."""

    name: str
    topic: str
    conflates: bool


CHANNELS: Final[Mapping[str, Channel]] = {
    channel.name: channel
    for channel in (
        Channel("predictions", PREDICTIONS.name, conflates=True),
        Channel("bars", BARS.name, conflates=False),
        Channel("outcomes", OUTCOMES.name, conflates=False),
    )
}
CHANNEL_OF_TOPIC: Final[Mapping[str, str]] = {channel.topic: channel.name for channel in CHANNELS.values()}
