"""How a client sees messages: its format, and which columns of `data` it asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec

Piece = str | bytes
"""One encoded message: text for JSON, bytes for msgpack."""
PACKED: Final = "tickwire.v1.msgpack"
PLAIN: Final = "tickwire.v1.json"
SUBPROTOCOLS: Final = (PACKED, PLAIN)
"""Those that a client can ask for; without one it gets JSON."""
_JSON, _MSGPACK = msgspec.json.Encoder(), msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class View:
    """One format and one choice of columns; get one from `view_of`, so that equal ones are the same object."""

    packed: bool = False
    columns: tuple[str, ...] = ()
    """All where there are none."""

    def encode(self, message: Any) -> Piece:
        """A message in this format."""
        return _MSGPACK.encode(message) if self.packed else _JSON.encode(message).decode()

    def chosen(self, payload: str) -> Any:
        """`data` from the topic's JSON: the wanted columns."""
        row = msgspec.json.decode(payload)
        if not self.columns or not isinstance(row, dict):
            return row
        return {name: row[name] for name in self.columns if name in row}


JSON: Final = View()
_WHOLE: Final = {False: JSON, True: View(packed=True)}
CHOICES: Final = 256
"""Of columns, that are remembered; another one is a view of its own, and costs no more than to be encoded once more."""


def view_of(packed: bool, columns: tuple[str, ...] = ()) -> View:
    """The view of this format and these columns."""
    return _chosen(packed, columns) if columns else _WHOLE[packed]


@lru_cache(maxsize=CHOICES)
def _chosen(packed: bool, columns: tuple[str, ...]) -> View:
    return View(packed, columns)


def framed(parts: Sequence[Any]) -> Piece:
    """A frame: an array of messages that are encoded already, all in one format."""
    if isinstance(parts[0], str):
        return f"[{','.join(parts)}]"
    n = len(parts)
    if n < 16:
        head = bytes([0x90 | n])
    elif n < 65_536:
        head = b"\xdc" + n.to_bytes(2, "big")
    else:
        head = b"\xdd" + n.to_bytes(4, "big")
    return head + b"".join(parts)
