"""Which market is listened to."""

from typing import Final

from infra.settings import Settings

SOURCES: Final = ("auto", "sim", "coinbase")
ANSWERS_WITHIN_S: Final = 3.0


def source_of(settings: Settings, kind: str) -> tuple[str, str]:
    """What is listened to, and why; `auto` is Coinbase where it answers, else the simulator."""
    if kind != "auto":
        return kind, "as asked for"
    from streams.collectors.backfill import reachable  # noqa: PLC0415

    if reachable(settings.source.coinbase_rest, ANSWERS_WITHIN_S):
        return "coinbase", "Coinbase Exchange answers"
    return "sim", f"Coinbase Exchange does not answer within {ANSWERS_WITHIN_S:g} s, so the market is simulated"
