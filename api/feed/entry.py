"""Who may open the feed and hear which channel, and until when.

A key or token is shown in a header (`Authorization: Bearer …`, `X-API-Key: …`), as a subprotocol `tickwire.key.…` beside
`tickwire.v1.json` (for browsers, which cannot set headers; ours never echoes it), or in the first message within 5 s:
`{"op":"auth","key":"…"}`. The server says nothing before it knows who asks; then the welcome comes. Who is too late is sent
away with another code than who shows nothing good: a server that stalls must not make anybody throw a key away.
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec
from fastapi import WebSocket
from msgspec import Struct
from starlette.websockets import WebSocketDisconnect

from api.access.gate import Gate, address_of
from api.feed.channels import Channel
from api.feed.hub import FeedHub
from api.feed.messages import AUTH_TOO_LATE, CLOSE_CODES, KEY_ENDED, TOO_MANY, UNAUTHENTICATED
from api.feed.session import Session
from api.feed.views import SUBPROTOCOLS
from api.problems import Problem

KEY_SUBPROTOCOL: Final = "tickwire.key."
AUTH_WITHIN_S: Final = 5.0
MAX_WAITING: Final = 100
"""Connections that have not said who they are; the next one is told to come back."""
CHECK_S: Final = 1.0
"""Between two looks at whether the keys of open connections are still good."""


class Auth(Struct, frozen=True, kw_only=True, tag_field="op", tag="auth"):
    """The first message of a client that showed nothing in its headers."""

    key: str


@dataclass(frozen=True, slots=True)
class Guest:
    """Who was let in, under which name its messages are counted, and the channels it may hear.

    credential   what was shown; None where nobody needs to
    """

    name: str
    credential: str | None
    channels: Collection[str]


class Door:
    """Lets clients in, and out again when what they have shown is no longer good."""

    def __init__(self, hub: FeedHub, gate: Gate) -> None:
        self._hub, self._gate = hub, gate
        self._open: dict[Session, str] = {}
        self._connections = Counter[str]()
        self._waiting = 0

    async def greet(self, websocket: WebSocket) -> Guest | int:
        """Whoever shows something good in the handshake, else the first message; where it was closed, with which code.

        Accepts the connection. Raises: `Problem`, before it is accepted, for a handshake that is refused.
        """
        credential = _in_subprotocol(websocket) or await self._gate.shown(websocket)
        guest = self._anybody(websocket) if credential is None else await self._guest(websocket, credential)
        if guest is None and self._waiting >= MAX_WAITING:
            raise Problem("too-many-clients", "too many connections have not said who they are")
        if guest is not None and self._has_enough(guest):
            raise Problem(
                "too-many-clients", f"{guest.name} has {self._hub.limits.max_connections} connections already"
            )
        await websocket.accept(subprotocol=_subprotocol(websocket))
        if guest is None:
            return await self._first_message(websocket)
        # others may have come while it was accepted; from here to `serve` nobody can
        return await self._closed(websocket, TOO_MANY) if self._has_enough(guest) else guest

    async def serve(self, guest: Guest, session: Session) -> None:
        """The conversation, until either side ends it or the guest's key does."""
        self._connections[guest.name] += 1
        if guest.credential is not None:
            self._open[session] = guest.credential
        try:
            await session.run()
        finally:
            self._open.pop(session, None)
            self._connections[guest.name] -= 1
            if not self._connections[guest.name]:
                del self._connections[guest.name]

    def _has_enough(self, guest: Guest) -> bool:
        return self._connections[guest.name] >= self._hub.limits.max_connections

    async def run(self) -> None:
        """Close connections whose key was revoked or is over, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            for session, credential in list(self._open.items()):
                if not self._gate.holds(credential):
                    session.close(KEY_ENDED)

    async def permits(self, guest: Guest) -> bool:
        """Whether the guest may say one more thing now."""
        allowance = await self._gate.spend(guest.name, "message")
        return allowance is None or allowance.allowed

    def _anybody(self, websocket: WebSocket) -> Guest | None:
        channels = _heard_with(self._gate.anonymous, self._hub.channels.values())
        return Guest(address_of(websocket), None, channels) if channels else None

    async def _guest(self, websocket: WebSocket, credential: str) -> Guest:
        principal = await self._gate.identify(websocket, credential)
        channels = _heard_with(principal.scopes, self._hub.channels.values())
        if not channels:
            raise Problem("forbidden", f"the role {principal.role} may hear no channel")
        return Guest(principal.name, credential, channels)

    async def _first_message(self, websocket: WebSocket) -> Guest | int:
        self._waiting += 1
        try:
            async with asyncio.timeout(AUTH_WITHIN_S):
                auth = msgspec.json.decode(await websocket.receive_text(), type=Auth)
                guest = await self._guest(websocket, auth.key)
            if not self._has_enough(guest):
                return guest
            code = TOO_MANY
        except WebSocketDisconnect:
            return UNAUTHENTICATED
        except TimeoutError:
            code = AUTH_TOO_LATE
        except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, Problem):
            code = UNAUTHENTICATED
        finally:
            self._waiting -= 1
        return await self._closed(websocket, code)

    async def _closed(self, websocket: WebSocket, code: int) -> int:
        """The code, with which the connection has been closed; who does not take it is left without."""
        with suppress(WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(self._hub.limits.send_timeout_s):
                await websocket.close(code, CLOSE_CODES[code])
        return code


def _heard_with(scopes: Collection[str], channels: Collection[Channel]) -> Collection[str]:
    return frozenset(channel.name for channel in channels if channel.scope in scopes)


def _in_subprotocol(websocket: WebSocket) -> str | None:
    offered = [name for name in websocket.scope["subprotocols"] if name.startswith(KEY_SUBPROTOCOL)]
    return (offered[0].removeprefix(KEY_SUBPROTOCOL) or "none") if offered else None


def _subprotocol(websocket: WebSocket) -> str | None:
    """The first of ours that the client offers: a browser that offers any wants one back, and the one with the key must
    not be it. Remembered in the scope, where the session looks.
    """
    chosen = next((name for name in websocket.scope["subprotocols"] if name in SUBPROTOCOLS), None)
    websocket.scope["subprotocol"] = chosen
    return chosen
