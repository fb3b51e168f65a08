"""One writer a partition, on whatever machine: a lease in ClickHouse that is renewed while it is held.

Taking over is an insert with a token that names partition and epoch: ClickHouse stores the first one only, so one newcomer
wins. No clocks are compared between machines: a newcomer watches, by its own, whether the holder still renews. A holder
that could not renew for a lease's time (its clock goes on while it is stopped or the machine sleeps) writes nothing more
before it has made sure that it still is the holder.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final
from uuid import uuid4

from infra.clickhouse import Database
from infra.failpoints import hit
from infra.fences import shut_out
from infra.locks import boot_id
from infra.native_format import Column
from schemas.errors import BackendError, DatabaseUnavailable, WriterError, WriterHeld
from schemas.tables import DEDUPLICATION_WINDOW
from streams.ports import Meter

TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS `{name}`.writers (\n"
    "  topic String, src_partition UInt16, epoch UInt64, renewals UInt64, holder String, lock String, boot_id String,\n"
    "  pid UInt32, log_id String, partitions UInt16, lease_ms UInt32, released Bool\n"
    ") ENGINE = ReplacingMergeTree(renewals) ORDER BY (topic, src_partition, epoch)\n"
    "SETTINGS non_replicated_deduplication_window = {window}"
)
"""A claim is a token: of two processes that want one epoch, one gets it. Who is stopped for so long that its token is forgotten
finds a row with more renewals than its own."""
HELD: Final = "tickwire_writer_lease_held"
RENEWALS: Final = "tickwire_writer_renewals_total"
log: Final = logging.getLogger(__name__)


def create_writers(database: Database, name: str) -> None:
    """The table of leases."""
    database.command(TABLE.format(name=name, window=DEDUPLICATION_WINDOW))


@dataclass(frozen=True)
class Claim:
    """What a process wants to write. `locks`: by partition, as `infra.locks` names them. `partitions`: of the whole topic."""

    name: str
    topic: str
    locks: Mapping[int, str]
    partitions: int


@dataclass(frozen=True)
class Held:
    """A partition's newest row of `writers`."""

    epoch: int
    renewals: int
    holder: str
    lock: str
    boot_id: str
    pid: int
    lease_ms: int
    released: bool


@dataclass
class Lease:
    """The right to write some partitions; `take`, then `keep` it in a thread until `release`.

    `lost`: told once, from another thread, when another process has taken a partition.
    """

    database: Database
    claim: Claim
    lease_s: float
    meter: Meter
    lost: Callable[[str], None]
    holder: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        self.epochs: dict[int, int] = {}
        self.lineage = ""
        self._numbers, self._renewals, self._log_id = count(), 0, ""
        self._until, self._gone = 0.0, ""
        self._changed = threading.Condition()
        self._hurry, self._closed = False, False
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def epoch(self) -> int:
        """Rises with every writer of the topic."""
        return max(self.epochs.values(), default=0)

    def of_log(self, log_id: str) -> None:
        """Say which log is folded; told with the next renewal, to people."""
        self._log_id = log_id

    def query_id(self) -> str:
        """A new one, by which ClickHouse knows whose insert it is."""
        return f"tickwire-{self.holder}-{next(self._numbers)}"

    def take(self) -> None:
        """Become the writer; returns when no insert of the writer before can be stored any more. WriterHeld if it is alive."""
        hit("lease.before_take")
        self.lineage = self._lineage()
        self._outwait(self._newest())
        first = 1 + self._highest()
        for partition in self.claim.locks:
            self.epochs[partition] = self._claimed(partition, first)
        shut_out(self.database, self.claim.name, self._predecessors(), self.holder)
        self._renew()
        self.meter.gauge(HELD, 1)

    def keep(self) -> None:
        """Renew from now on."""
        self._thread.start()

    def ensure(self) -> None:
        """WriterError if the lease was lost, whatever is known of it now."""
        if self._gone:
            raise WriterError(self._gone)

    def check(self) -> None:
        """Return if this process may write. WriterError when it may not any more, DatabaseUnavailable while that is unknown."""
        self.ensure()
        if _now() >= self._until:
            with self._changed:
                self._hurry = True
                self._changed.notify_all()
            raise DatabaseUnavailable(
                f"the lease could not be renewed for {self.lease_s:g} s: nothing is written until ClickHouse answers"
            )

    def wait(self, within_s: float = 600.0) -> None:
        """The same, but wait for ClickHouse's answer first."""
        deadline = _now() + within_s
        while True:
            try:
                self.check()
                return
            except DatabaseUnavailable:
                if _now() > deadline:
                    raise
            with self._changed:
                self._changed.wait_for(lambda: bool(self._gone) or _now() < self._until, 0.25)

    def release(self) -> None:
        """Let the next one in at once; the caller writes nothing afterwards."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self.meter.gauge(HELD, 0)
        self._until = 0.0
        if self.epochs and not self._gone:
            try:
                self._put(self.epochs, released=True)
            except BackendError as error:
                log.warning("the lease was not given back, the next writer elsewhere waits for it to pass: %s", error)

    def _keep(self) -> None:
        pause = self.lease_s / 4
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._hurry or self._closed, pause)
                self._hurry = False
                if self._closed:
                    return
            try:
                self._renew()
                pause = self.lease_s / 4
            except WriterError as error:
                self._lose(str(error))
                return
            except BackendError as error:
                log.warning("the lease was not renewed: %s", error)
                self.meter.count(RENEWALS, outcome="failed")
                pause = min(1.0, self.lease_s / 8)
                time.sleep(pause / 4)  # however often somebody asks meanwhile

    def _lose(self, why: str) -> None:
        with self._changed:
            self._gone = why
            self._changed.notify_all()
        self.meter.gauge(HELD, 0)
        self.lost(why)

    def _renew(self) -> None:
        began = _now()
        hit("lease.before_renew")
        self._put(self.epochs)
        for partition, held in self._newest().items():
            if held.holder != self.holder:
                raise WriterError(
                    f"{self.claim.topic}[{partition}] has another writer since epoch {held.epoch} (process {held.pid}); this "
                    "process, which was stopped or cut off for longer than its lease, stores nothing more and ends"
                )
        with self._changed:
            self._until = began + self.lease_s
            self._changed.notify_all()
        self.meter.count(RENEWALS, outcome="renewed")

    def _outwait(self, newest: Mapping[int, Held]) -> None:
        """Dead is who released, or whose lock on this machine is ours now; everybody else, who does not renew for a lease."""
        alive = {p: held for p, held in newest.items() if not held.released and held.lock != self.claim.locks[p]}
        if not alive:
            return
        longest = max(self.lease_s, *(held.lease_ms / 1000 for held in alive.values()))
        log.warning("partitions %s have a writer elsewhere; watching it for %g s", sorted(alive), longest)
        deadline = _now() + longest
        while _now() < deadline:
            time.sleep(min(0.5, longest / 20))
            now = self._newest()
            for partition, held in alive.items():
                if now[partition] != held and not now[partition].released:
                    raise self._is_held(partition, now[partition])

    def _claimed(self, partition: int, epoch: int) -> int:
        """The epoch that this process has now. A token whose row is gone (killed between the two) leaves an epoch unused."""
        while True:
            self._put({partition: epoch}, token=f"{self.claim.topic}/{partition}/{epoch}")
            held = self._newest().get(partition)
            if held is not None and held.holder == self.holder:
                return epoch
            if held is not None and held.epoch >= epoch:
                self.release()
                raise self._is_held(partition, held)
            epoch += 1

    def _is_held(self, partition: int, held: Held) -> WriterHeld:
        where = "on this machine" if held.boot_id == boot_id() else "on another machine"
        return WriterHeld(
            f"{self.claim.topic}[{partition}] is written by process {held.pid} {where} (epoch {held.epoch}, lease renewed); "
            "two writers of one partition would race: stop that one, or give this one other --partitions"
        )

    def _put(self, epochs: Mapping[int, int], *, token: str | None = None, released: bool = False) -> None:
        self._renewals += 1
        rows, claim = len(epochs), self.claim
        columns: dict[str, Column] = {
            "topic": [claim.topic] * rows, "src_partition": list(epochs), "epoch": list(epochs.values()),
            "renewals": [self._renewals] * rows, "holder": [self.holder] * rows, "lock": [claim.locks[p] for p in epochs],
            "boot_id": [boot_id()] * rows, "pid": [os.getpid()] * rows, "log_id": [self._log_id] * rows,
            "partitions": [claim.partitions] * rows, "lease_ms": [round(self.lease_s * 1000)] * rows,
            "released": [released] * rows,
        }  # fmt: skip
        self.database.insert(f"{claim.name}.writers", columns, token=token)

    def _newest(self) -> dict[int, Held]:
        found = self.database.rows(
            "SELECT src_partition, epoch, renewals, holder, lock, boot_id, pid, lease_ms, released "  # noqa: S608
            f"FROM `{self.claim.name}`.writers WHERE topic = {{topic:String}} AND src_partition IN {{p:Array(UInt16)}} "
            "ORDER BY epoch DESC, renewals DESC LIMIT 1 BY src_partition",
            {"topic": self.claim.topic, "p": list(self.claim.locks)},
        )
        return {row[0]: Held(*row[1:]) for row in found.rows}

    def _lineage(self) -> str:
        """Another one when the table of leases was made anew, and epochs begin again."""
        found = self.database.rows(
            "SELECT toString(uuid) FROM system.tables WHERE database = {d:String} AND name = 'writers'",
            {"d": self.claim.name},
        )
        return str(found.rows[0][0])

    def _highest(self) -> int:
        found = self.database.rows(
            f"SELECT max(epoch) FROM `{self.claim.name}`.writers WHERE topic = {{topic:String}}",  # noqa: S608
            {"topic": self.claim.topic},
        )
        return int(found.rows[0][0])

    def _predecessors(self) -> Sequence[str]:
        """Not one that has claimed a later epoch meanwhile: it shuts this process out, and both would be."""
        found = self.database.rows(
            f"SELECT holder FROM `{self.claim.name}`.writers WHERE topic = {{topic:String}} "  # noqa: S608
            "AND src_partition IN {p:Array(UInt16)} AND holder != {me:String} "
            "GROUP BY holder HAVING max(epoch) < {mine:Int64}",
            {"topic": self.claim.topic, "p": list(self.claim.locks), "me": self.holder, "mine": self.epoch},
        )
        return [str(row[0]) for row in found.rows]


def _now() -> float:
    """Goes on while the process is stopped and while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
