"""Snapshots of a shard: the bytes of its arrays, and the names of their rows. No pickle."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from processors.roster import Roster
from processors.rules import Standing
from processors.scores import LineUp

VERSION: Final = 5
"""Stands in the name of the step: what another version wrote is not read, but folded again."""


class Remembered(msgspec.Struct, array_like=True):
    """What a snapshot holds; arrays in the order in which the shard lists them."""

    names: list[str]
    venues: list[str]
    venue_of: list[int]
    learner: bytes
    per_symbol: list[bytes]
    per_venue: list[bytes]
    fixed: list[bytes]
    version: int = VERSION
    roster: Roster | None = None
    line_ups: list[LineUp] = []
    rules: list[Standing] = []
    of_rules: list[bytes] = []


_decoder = msgspec.msgpack.Decoder(Remembered)
_encoder = msgspec.msgpack.Encoder()


def encode_snapshot(remembered: Remembered) -> bytes:
    """As msgpack."""
    return _encoder.encode(remembered)


def decode_snapshot(raw: bytes) -> Remembered:
    """Back again; raises msgspec.DecodeError on anything else."""
    return _decoder.decode(raw)


def rows_of(arrays: Iterable[NDArray[Any]], used: int) -> list[bytes]:
    """The bytes of the rows that are in use."""
    return [np.ascontiguousarray(array[:used]).tobytes() for array in arrays]


def put_rows(arrays: Iterable[NDArray[Any]], used: int, kept: Iterable[bytes]) -> None:
    """`rows_of` back into arrays that have at least as many rows."""
    for array, raw in zip(arrays, kept, strict=True):
        array[:used] = np.frombuffer(raw, array.dtype).reshape((used, *array.shape[1:]))


def copy_rows(source: Sequence[NDArray[Any]], target: Sequence[NDArray[Any]]) -> None:
    """Copy the rows of every array into the longer one that takes its place."""
    for old, new in zip(source, target, strict=True):
        new[: len(old)] = old
