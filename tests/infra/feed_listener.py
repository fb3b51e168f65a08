"""A client of a hub, without a socket."""

import asyncio
from typing import Any

import msgspec

from api.feed.hub import FeedHub


class Listener:
    """What it hears of one subscription."""

    def __init__(self, hub: FeedHub) -> None:
        self.hub, self.client = hub, hub.join()
        self.heard: list[dict[str, Any]] = []

    async def subscribe(self, channel: str, resume: dict[str, int] | None = None) -> None:
        await self.hub.ask(self.client, {channel})
        self.client.subscriptions.add(channel, "*")
        self.hub.attach(self.client, channel, "*", snapshot=False, resume=resume)

    async def hear(self, n: int) -> list[dict[str, Any]]:
        """The next messages of streams."""
        async with asyncio.timeout(20):
            while len(self.heard) < n:
                frame = self.client.outbox.take(asyncio.get_running_loop().time())
                if frame is None:
                    await asyncio.sleep(0.01)
                else:
                    self.heard += [m for m in msgspec.json.decode(frame) if "seq" in m]
        taken, self.heard = self.heard[:n], self.heard[n:]
        return taken
