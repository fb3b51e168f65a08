"""Folding the partitions of a plan, in as many processes as are wanted; one partition is one process's work."""

import gc
import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaException

from infra.composition import calendars, rules, sessions
from infra.logs import configure_logging
from infra.nightly.matrix_store import PartitionPieces, warm_path
from infra.nightly.plan import Folded, PieceFile, replaced
from infra.nightly.reading import Reading, Spent, Work
from models.online import OnlineModel
from processors.features import FEATURE_NAMES
from processors.ledger import DOORS
from processors.sessions import Sessions
from processors.shard import FoldRules, Shard
from processors.snapshot import decode_snapshot
from schemas.errors import BackendError, LogError
from streams.nightly import MatrixSpan, PieceFold, Unlearnt, Unscored

LOOK_EVERY_S: Final = 0.1
Told = Callable[[int, int], None]
"""Told a partition and how many of its records were folded, in all."""


@dataclass(frozen=True)
class PartitionFolded:
    """One partition, folded to the end of its span; `now`: records that were folded in this very run."""

    folded: Folded
    pieces: Sequence[PieceFile]
    now: int
    spent: Spent


@dataclass(frozen=True)
class MatrixShards:
    """`streams.nightly.MakeShard`: shards that score nothing, and learn where a warm start is wanted."""

    fold_rules: FoldRules
    calendars: Sessions
    learning: bool

    def __call__(self, partition: int, snapshot: bytes | None = None) -> Shard:
        learner: Any = Unlearnt()
        if self.learning:
            model = (
                OnlineModel.restore(decode_snapshot(snapshot).learner, FEATURE_NAMES)
                if snapshot
                else OnlineModel(FEATURE_NAMES)
            )
            learner = Unscored(model)
        shard = Shard(partition, learner, None, rules=self.fold_rules, sessions=self.calendars)
        if snapshot:
            shard.restore(snapshot)
        return shard


@dataclass
class _Pieces(PartitionPieces):
    """Writes a piece while the next one is folded; no more than one, so that memory has an end."""

    spent: Spent = field(default_factory=Spent)
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "pieces"))
    _writing: "Future[None] | None" = None

    def put(self, *arguments: Any) -> None:
        self.settle()
        self._writing = self._writer.submit(self._write, *arguments)

    def settle(self) -> None:
        """Return when everything that was put is on disk. Raises what writing it died of."""
        writing, self._writing = self._writing, None
        if writing is not None:
            with self.spent.on("waiting for pieces"):
                writing.result()

    def close(self) -> None:
        """Whatever is being written is on disk, or has failed."""
        self._writer.shutdown(wait=True)

    def _write(self, *arguments: Any) -> None:
        began = time.thread_time()
        super().put(*arguments)
        self.spent.writing_cpu_seconds += time.thread_time() - began


def fold_partition(work: Work, span: MatrixSpan, tell: Callable[[int], None]) -> PartitionFolded:
    """Fold one span into its pieces, from behind the last one there is. `LogError` where the log cannot be read."""
    spent, began, began_cpu, done = Spent(), time.perf_counter(), time.thread_time(), [0, -1]

    def told(records: int) -> None:
        done[0] += records
        done[1] = records if done[1] < 0 else done[1]
        tell(done[0])

    store = _Pieces(work.directory, span.partition, work.plan, work.plan_id, spent=spent)
    fold_rules, kept = rules(work.settings.fold), sessions(work.settings.fold, calendars(work.settings))
    fold = PieceFold(
        MatrixShards(fold_rules, kept, bool(work.plan.learner)), Reading(work, spent).stretches,
        work.plan.symbols, work.plan.piece,
    )  # fmt: skip
    with _uncollected(), closing(store):
        reached = fold.fold(span, store, told)
        store.settle()
    learnt = ""
    if work.plan.learner:
        river = decode_snapshot(reached.snapshot).learner if reached.snapshot else OnlineModel(FEATURE_NAMES).snapshot()
        replaced(warm_path(work.directory, span.partition), river)
        learnt = hashlib.sha256(river).hexdigest()
    spent.seconds = time.perf_counter() - began
    spent.cpu_seconds = time.thread_time() - began_cpu + spent.writing_cpu_seconds
    doors = dict(zip(DOORS, reached.counts or (0,) * len(DOORS), strict=True))
    folded = Folded(
        partition=span.partition,
        records=reached.records,
        doors=doors,
        newest_ns=reached.newest_ns,
        learner_sha256=learnt,
    )
    return PartitionFolded(folded, store.pieces, done[0] - max(0, done[1]), spent)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Events are in no cycles, and looking for some among a block of them costs a tenth of the fold."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def fold_all(work: Work, processes: int, told: Told) -> list[PartitionFolded]:
    """Fold every span of the plan, the longest first; one process is this one. In order of partitions."""
    spans = sorted(work.plan.spans, key=lambda span: -span.records)
    if processes <= 1 or len(spans) <= 1:
        done = [fold_partition(work, span, lambda n, p=span.partition: told(p, n)) for span in spans]  # type: ignore[misc]
    else:
        done = _in_processes(work, spans, min(processes, len(spans)), told)
    return sorted(done, key=lambda each: each.folded.partition)


def _in_processes(work: Work, spans: Sequence[MatrixSpan], processes: int, told: Told) -> list[PartitionFolded]:
    context = multiprocessing.get_context("spawn")
    counts = context.Array("q", len(spans), lock=False)
    started = (counts, os.getpid())
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=started) as pool:
        futures: list[Future[PartitionFolded]] = [
            pool.submit(_fold_in_child, work, span, slot) for slot, span in enumerate(spans)
        ]
        left: set[Future[PartitionFolded]] = set(futures)
        while left:
            finished, left = wait(left, timeout=LOOK_EVERY_S)
            for slot, span in enumerate(spans):
                told(span.partition, counts[slot])
            if any(future.exception() is not None for future in finished):
                pool.shutdown(wait=True, cancel_futures=True)
                break
        try:
            return [future.result() for future in futures if not future.cancelled()]
        except BrokenProcessPool as error:
            raise BackendError(
                "a process of this replay was killed (out of memory?); run it again: it goes on behind the last piece of "
                "every partition"
            ) from error


_shared: list[Any] = []


def _begin(counts: Any, parent: int) -> None:
    _shared[:] = [counts, parent]
    configure_logging("warning")


def _fold_in_child(work: Work, span: MatrixSpan, slot: int) -> PartitionFolded:
    counts, parent = _shared

    def tell(records: int) -> None:
        counts[slot] = records
        if os.getppid() != parent:
            raise SystemExit(f"the process that began this replay is gone; partition {span.partition} stops here")

    try:
        return fold_partition(work, span, tell)
    except KafkaException as error:  # it cannot be sent to another process
        raise LogError(f"Kafka at {work.settings.kafka.bootstrap} did not answer: {error.args[0].str()}") from error
