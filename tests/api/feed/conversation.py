"""A conversation with the feed over a real socket."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.api.fakes import World, serving

DATA = b'{"symbol":"SIMA","price":101.255,"p_up":0.53}'


def against(of: World, conversation: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Run a conversation against the world's API on a real socket."""
    with serving(of) as (address, _):
        asyncio.run(conversation(address))


async def publish(of: World, *messages: tuple[str, str, bytes]) -> None:
    """As a consumer's thread would."""
    await asyncio.to_thread(of.hub.publish_many, messages)
