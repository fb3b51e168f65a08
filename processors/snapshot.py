"""Snapshots of a shard: the bytes of its arrays, and the names of their rows. No pickle."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from numpy.typing import NDArray

from processors.roster import Roster
from processors.scores import LineUp

VERSION: Final = 4
"""Stands in the name of the step: what another version wrote is not read, but folded again."""


class Remembered(msgspec.Struct, array_like=True):
    """What a snapshot holds; arrays in the order in which the shard lists them."""

    names: list[str]
    venues: list[str]
    venue_of: list[int]
    learner: bytes
    per_symbol: list[bytes]
    fixed: list[bytes]
    version: int = VERSION
    roster: Roster | None = None
    line_ups: list[LineUp] = []


_decoder = msgspec.msgpack.Decoder(Remembered)
_encoder = msgspec.msgpack.Encoder()


def encode_snapshot(remembered: Remembered) -> bytes:
    """As msgpack."""
    return _encoder.encode(remembered)


def decode_snapshot(raw: bytes) -> Remembered:
    """Back again; raises msgspec.DecodeError on anything else."""
    return _decoder.decode(raw)


def copy_rows(source: Sequence[NDArray[Any]], target: Sequence[NDArray[Any]]) -> None:
    """Copy the rows of every array into the longer one that takes its place."""
    for old, new in zip(source, target, strict=True):
        new[: len(old)] = old
