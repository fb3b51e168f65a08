"""What a client can subscribe to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from processors.features import FEATURE_NAMES
from schemas.events import Cancel, Correction, NewsSignal, Quote, Trade
from schemas.rows import Alert, Bar, Outcome, Prediction
from schemas.topics import ALERTS, BARS, EVENTS, OUTCOMES, PREDICTIONS

EVERY_SYMBOL: Final = "*"
TEST_SYMBOL: Final = "TEST"
"""Ticks each second by the server's own clock, is marked `test`, is never on the log, and no `*` includes it."""
OF_FEATURES: Final = ("symbol", "ts_event", "ts_ingest", "log_id", "src_partition", "src_offset")
"""What a message of features says of where they come from, as the newest row does."""
BAR_KINDS: Final = ("1s", "1m", "5m", "tick100", "volume10000", "value1000000")


@dataclass(frozen=True)
class Channel:
    """One kind of message.

    conflates: a newer message of a symbol makes the older one worthless.   linked: numbers have holes, `prev` links them.
    columns: names that `data` may have.            topic: empty where it is read elsewhere.            scope: who may hear it.
    """

    name: str
    topic: str
    scope: str
    conflates: bool
    linked: bool = False
    columns: Sequence[str] = ()


def _columns(*types: type) -> Sequence[str]:
    """Fields of the rows, and the tag of those that have one."""
    names = dict.fromkeys(name for each in types for name in each.__struct_fields__)  # type: ignore[attr-defined]
    return ("type", *names) if Trade in types else tuple(names)


CHANNELS: Final[Mapping[str, Channel]] = {
    channel.name: channel
    for channel in (
        Channel("predictions", PREDICTIONS.name, "signals:read", conflates=True, columns=_columns(Prediction)),
        Channel("bars", BARS.name, "market:read", conflates=False, columns=_columns(Bar)),
        Channel("outcomes", OUTCOMES.name, "signals:read", conflates=False, columns=_columns(Outcome)),
        Channel(
            "trades",
            EVENTS.name,
            "market:read",
            conflates=False,
            linked=True,
            columns=_columns(Trade, Correction, Cancel),
        ),
        Channel("quotes", EVENTS.name, "market:read", conflates=True, linked=True, columns=_columns(Quote)),
        Channel(
            "features",
            "",
            "market:read",
            conflates=True,
            linked=True,
            columns=(*OF_FEATURES, "features_id", "seq", *FEATURE_NAMES),
        ),
        Channel("alerts", ALERTS.name, "signals:read", conflates=False, linked=True, columns=_columns(Alert)),
        Channel("news", EVENTS.name, "market:read", conflates=False, linked=True, columns=_columns(NewsSignal)),
        *(
            Channel(f"bars.{kind}", BARS.name, "market:read", conflates=False, columns=_columns(Bar))
            for kind in BAR_KINDS
        ),
    )
}
CHANNEL_OF_TOPIC: Final[Mapping[str, str]] = {
    PREDICTIONS.name: "predictions", BARS.name: "bars", OUTCOMES.name: "outcomes", ALERTS.name: "alerts",
}  # fmt: skip
"""Of the topics that are always read."""
CHANNEL_OF_EVENT: Final[Mapping[str, str]] = {
    "trade": "trades", "correct": "trades", "cancel": "trades", "quote": "quotes", "news": "news",
}  # fmt: skip
"""Of the events on the log, which is read only while somebody wants one of them."""
