"""The load: writes a seeded market through the product's own producer, and notes each block that was acknowledged.

    python -m tests.faults.generator --bootstrap HOST:PORT --partitions 4 --seed 7 --rate 1500 --notes FILE

It may be killed at any moment: started again with the same notes, it says the block it was in once more, with the same
identities. SIGTERM ends it after a last trade of every symbol. The checker reads the notes.
"""

import argparse
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from infra.kafka_writer import KafkaWriter
from infra.settings import Kafka
from schemas.topics import EVENTS
from tests.faults.market import Garbage, Market, Said


class Notes(msgspec.Struct, frozen=True):
    """The market and how much of it was acknowledged: blocks 0 to `blocks`, the last trades too where `closed`."""

    market: Market
    blocks: int = 0
    closed: bool = False
    starts: int = 0


@dataclass
class NoteBook:
    """A file of one line a block; a line is written when the block was acknowledged."""

    path: Path

    def open(self, market: Market) -> None:
        """Begin, unless somebody has."""
        if not self.path.exists():
            self.path.write_bytes(msgspec.json.encode(market) + b"\n")

    def add(self, line: str) -> None:
        """One write call: a killed process leaves a whole line or none."""
        with self.path.open("ab", buffering=0) as out:
            out.write(f"{line}\n".encode())

    def read(self) -> Notes:
        """What is known."""
        first, *lines = self.path.read_bytes().split(b"\n")[:-1]
        blocks = [int(line) for line in lines if line.isdigit()]
        return Notes(
            msgspec.json.decode(first, type=Market), max(blocks, default=-1) + 1, b"closed" in lines,
            sum(line == b"start" for line in lines),
        )  # fmt: skip


class Generator:
    """Says one block after the other, each at its time."""

    def __init__(self, writer: KafkaWriter, book: NoteBook, limit: int | None = None) -> None:
        self.writer, self.book, self.notes, self.limit = writer, book, book.read(), limit

    def run(self, stop: threading.Event) -> None:
        """Until told to stop, or the limit is reached, or the broker refuses (`DeliveryError`: start it again)."""
        market, block = self.notes.market, self.notes.blocks
        self.book.add("start")
        while not stop.is_set() and (self.limit is None or block < self.limit):
            wait = (market.due_ns(block + 1) - time.time_ns()) / 1e9
            if wait > 0 and stop.wait(wait):
                break
            self._say(market.block(block))
            self.writer.write_news([replace(item, ts_ingest=time.time_ns()) for item in market.items(block)])
            self.writer.flush()
            self.book.add(str(block))
            block += 1
        self._say(list(market.closing(block)))
        self.writer.flush()
        self.book.add("closed")

    def _say(self, said: list[Said]) -> None:
        for each in said:
            if isinstance(each, Garbage):
                self.writer.send(EVENTS, each.partition, [("", each.raw)])
            else:
                self.writer.write([replace(each, ts_ingest=time.time_ns())])


def command(bootstrap: str, market: Market, notes: Path, **more: Any) -> list[str]:
    """How to start one."""
    arguments = {
        "bootstrap": bootstrap, "partitions": market.partitions, "seed": market.seed, "rate": market.rate, "notes": notes,
        **more,
    }  # fmt: skip
    return [
        sys.executable, "-m", "tests.faults.generator",
        *(text for name, value in arguments.items() for text in (f"--{name}", str(value))),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, kind in (("bootstrap", str), ("partitions", int), ("seed", int), ("rate", float), ("notes", Path)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--blocks", type=int, default=None, help="end after so many")
    told = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    book = NoteBook(told.notes)
    book.open(Market(told.seed, time.time_ns(), told.rate, told.partitions))
    writer = KafkaWriter(Kafka(bootstrap=told.bootstrap, partitions=told.partitions))
    Generator(writer, book, told.blocks).run(stop)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
