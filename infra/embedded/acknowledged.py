"""How far the events log reached as its writers were told, in a file that outlives whoever is killed.

The relay writes it before it passes an acknowledgement on, through memory that the kernel keeps: a SIGKILL of the relay, the
broker or all of them at once takes nothing from it. What the broker holds less than this after a crash is lost.
"""

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FILE: Final = "acknowledged"
MOST_PARTITIONS: Final = 1024
_OPENED, _PENDING, _BLIND, _ENDS = 0, 1, 2, 3
_CELLS: Final = _ENDS + MOST_PARTITIONS


class Acknowledged:
    """The file's cells of 64 bits: whether a relay has begun, its open requests, whether it may have missed one, the ends."""

    def __init__(self, data: Path) -> None:
        descriptor = os.open(data / FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, 8 * _CELLS)
            self._map = mmap.mmap(descriptor, 8 * _CELLS)
        finally:
            os.close(descriptor)
        self._cells = memoryview(self._map).cast("q")

    def begin(self) -> None:
        """A relay begins; one that follows another on the same broker does not know what its predecessor had passed on."""
        self._cells[_BLIND] |= self._cells[_OPENED]
        self._cells[_OPENED], self._cells[_PENDING] = 1, 0

    def asked(self) -> None:
        """Records are on their way to the broker."""
        self._cells[_PENDING] += 1

    def answered(self, ends: Mapping[int, int]) -> None:
        """The broker has answered; `ends`: partition to the offset behind the last record it took."""
        for partition, end in ends.items():
            if partition < MOST_PARTITIONS and end > self._cells[_ENDS + partition]:
                self._cells[_ENDS + partition] = end
        self._cells[_PENDING] -= 1

    def missed(self) -> None:
        """Records went to the broker of which we shall not hear whether it took them."""
        self._cells[_BLIND] = 1

    @property
    def complete(self) -> bool:
        """Whether every record that the broker was given is counted in `ends`."""
        return not self._cells[_PENDING] and not self._cells[_BLIND]

    def ends(self) -> dict[int, int]:
        """Partition to the offset behind the last acknowledged record, for those that have one."""
        return {p: self._cells[_ENDS + p] for p in range(MOST_PARTITIONS) if self._cells[_ENDS + p]}

    def reset(self, ends: Mapping[int, int]) -> None:
        """Begin again from what was found on the broker, before anybody writes."""
        for partition in range(MOST_PARTITIONS):
            self._cells[_ENDS + partition] = ends.get(partition, 0)
        self._cells[_OPENED] = self._cells[_PENDING] = self._cells[_BLIND] = 0

    def close(self) -> None:
        self._cells.release()
        self._map.close()
