"""How much one client may ask for, and how long we wait for it."""

from dataclasses import dataclass
from typing import Final

MAX_MESSAGE_BYTES: Final = 64 * 1024
"""Of a message from a client."""


@dataclass(frozen=True)
class FeedLimits:
    """Limits of the feed; the welcome message tells the client those that it can hit."""

    max_clients: int = 1_000
    max_connections: int = 500
    """Of one key, token, or address where nobody needs a key."""
    max_subscriptions: int = 1_000
    """Pairs of channel and symbol of one client; `*` counts as one symbol."""
    max_conflate_ms: int = 10_000
    max_bad_messages: int = 10
    """Of one connection; the next one closes it."""
    heartbeat_s: float = 1.0
    heartbeat_pairs: int = 32
    """Sequence numbers a channel in one heartbeat; a client with more gets them in turn."""
    frame_chars: int = 128 * 1024
    """A frame is cut behind the message that reaches this."""
    behind_chars: int = 128 * 1024
    """A client with more than this in its queue gets only the newest of what may be conflated."""
    queue_chars: int = 256 * 1024
    """A client with more than this in its queue is too slow, and is let go."""
    send_timeout_s: float = 5.0
    """A client that takes nothing for so long is let go."""
    held_bytes: int = 64 * 1024 * 1024
    """Of messages that are held for clients that come back, all streams together; they are sent from there, as fast as each
    client takes them."""
    fill_timeout_s: float = 5.0
    """A client that subscribes waits so long for what was said before the server started."""
