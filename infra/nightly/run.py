"""`tickwire nightly` put together: which offsets, the fold into a matrix, its checks, and the model trained on it.

Each step is done once: run again with the same arguments, it goes on where it was killed, or finds everything finished.
"""

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
from confluent_kafka import KafkaException

from infra.log_identity import LogIdentity, all_logs, spans
from infra.nightly.data_checks import CheckLimits, checked
from infra.nightly.data_report import report
from infra.nightly.fold import PartitionFolded, fold_all
from infra.nightly.matrix import verified
from infra.nightly.matrix_store import open_directory
from infra.nightly.plan import MANIFEST, MatrixManifest, Plan, canonical, plan_of, replaced
from infra.nightly.reading import Archive, Work, archive_of, save_events
from infra.session_log import offsets_at
from infra.settings import Settings
from models.manifest import Manifest
from schemas.errors import InputError, LogError, WriterHeld
from streams.nightly import PIECE, MatrixSpan
from streams.span_text import Bound

REPORT: Final = "report.md"
ANYWHERE: Final = Bound()
DEFAULT_LIMITS: Final = CheckLimits()
Told = Callable[[str, int, int], None]
"""(what is being done, how much of it, of how much)"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a nightly is to do; every default means: all of it.

    into       where the matrix goes, `DATA/nightly/ID` if None        events   a Parquet archive of the log
    save_events   keep what the topic holds in such an archive first   horizon  of the settings if None
    """

    begin: Bound = ANYWHERE
    end: Bound = ANYWHERE
    log_id: str = ""
    symbols: Sequence[str] = ()
    horizon: timedelta | None = None
    train: bool = True
    warm_start: bool = False
    processes: int = 1
    into: Path | None = None
    events: Path | None = None
    save_events: Path | None = None
    limits: CheckLimits = DEFAULT_LIMITS
    accept_loss: bool = False
    piece: int = PIECE


@dataclass(frozen=True)
class Night:
    """What there is now, and what this run did for it: nothing, if `folded` is empty and `trained` is false."""

    directory: Path
    manifest: MatrixManifest
    model: Manifest | None
    folded: Sequence[PartitionFolded]
    trained: bool
    seconds: float
    """Of the fold."""

    @property
    def passed(self) -> bool:
        """Whether the matrix kept to its limits."""
        return self.manifest.checked is not None and self.manifest.checked.passed


def nightly(settings: Settings, request: Request, told: Told = lambda *_: None) -> Night:
    """Do what is left to do. `settings` name the services (`infra.instance.attached`).

    Raises `InputError` for a stretch or directory that cannot be, `LogError` where the log cannot be read, `TrainingError`.
    A matrix that breaks its limits is no error here: the night has not `passed`, and nothing was trained.
    """
    try:
        return _nightly(_with_horizon(settings, request.horizon), request, told)
    except KafkaException as error:
        raise LogError(f"Kafka at {settings.kafka.bootstrap} did not answer: {error.args[0].str()}") from error


def _nightly(settings: Settings, request: Request, told: Told) -> Night:
    log = chosen(all_logs(settings.kafka), request.log_id)
    held = spans(settings.kafka, log)
    if request.save_events is not None:
        save_events(settings, log, held, request.save_events, told)
    with archive_of(settings, log.log_id, request.events) as archive:
        wanted = matrix_spans(settings, log, held, archive, request)
    plan = plan_of(
        settings, log.log_id, wanted, symbols=request.symbols, warm_start=request.warm_start, piece=request.piece
    )
    plan_id = plan.id
    directory = request.into or settings.data / "nightly" / plan_id
    work = Work(settings, plan, plan_id, directory, request.events, request.accept_loss)
    with _alone(directory):
        return _Night(work, request, told).go()


@dataclass(frozen=True)
class _Night:
    work: Work
    request: Request
    told: Told

    def go(self) -> Night:
        directory, began = self.work.directory, time.perf_counter()
        manifest, folded = open_directory(directory, self.work.plan), list[PartitionFolded]()
        if manifest is None:
            folded = self._fold()
            manifest = manifest_of(self.work.plan, self.work.plan_id, folded)
            replaced(directory / MANIFEST, canonical(manifest))
        seconds = time.perf_counter() - began
        manifest = self._checked(manifest)
        model, trained = None, False
        if self.request.train and manifest.checked is not None and manifest.checked.passed:
            model, trained = self._trained(manifest)
        return Night(directory, manifest, model, folded, trained, seconds)

    def _fold(self) -> list[PartitionFolded]:
        done: dict[int, int] = {}
        total = sum(span.records for span in self.work.plan.spans)

        def told(partition: int, records: int) -> None:
            done[partition] = records
            self.told("folding the log", sum(done.values()), total)

        return fold_all(self.work, self.request.processes, told)

    def _checked(self, manifest: MatrixManifest) -> MatrixManifest:
        """With checks against the limits of the request; those that there are need no second look."""
        directory, limits = self.work.directory, self.request.limits
        if manifest.checked is not None and manifest.checked.limits == canonical(limits).decode():
            return manifest
        self.told("checking the matrix", 0, manifest.rows)
        verified(directory, manifest)
        manifest = msgspec.structs.replace(manifest, checked=checked(directory, manifest, limits))
        self.told("checking the matrix", manifest.rows, manifest.rows)
        replaced(directory / REPORT, report(manifest).encode())
        replaced(directory / MANIFEST, canonical(manifest))
        return manifest

    def _trained(self, manifest: MatrixManifest) -> tuple[Manifest, bool]:
        from infra.nightly.training import found_model, train_matrix  # noqa: PLC0415 (scikit-learn costs seconds)

        found = found_model(self.work.directory)
        if found is not None:
            return found, False
        return train_matrix(self.work.directory, manifest, lambda n, most: self.told("training", n, most)), True


def manifest_of(plan: Plan, plan_id: str, folded: Sequence[PartitionFolded]) -> MatrixManifest:
    """The manifest of what was folded; checks are still to come."""
    pieces = tuple(piece for each in folded for piece in sorted(each.pieces, key=lambda piece: piece.first))
    return MatrixManifest(
        id=plan_id, plan=plan, rows=sum(piece.rows for piece in pieces), pieces=pieces,
        partitions=tuple(each.folded for each in folded),
    )  # fmt: skip


def matrix_spans(
    settings: Settings, log: LogIdentity, held: Mapping[int, tuple[int, int]], archive: Archive, request: Request
) -> list[MatrixSpan]:
    """What to fold of each partition. The fold begins where the log does, or where its archive does, whatever is asked for:
    labels are sampled and duplicates known by what came before. Times are the broker's, and mean the first record that the
    topic still holds where they are older. `InputError` for offsets that nobody has.
    """  # fmt: skip
    begins, ends = (_offsets(settings, held, asked) for asked in (request.begin, request.end))
    found = []
    for partition in sorted(held):
        if not _named(partition, request):
            continue
        low, high = held[partition]
        first = low if low <= log.start(partition) else _first(archive, partition, low)
        start, end = begins.get(partition, first), ends.get(partition, high)
        if isinstance(request.begin.everywhere, int):
            start = min(max(start, first), high)
        if isinstance(request.end.everywhere, int):
            end = min(max(end, start), high)
        if not first <= start <= end <= high:
            raise InputError(
                f"partition {partition}: expected a stretch within offsets {first} to {high}, which the log and its archive "
                f"hold, found {start} to {end}"
            )
        found.append(MatrixSpan(partition=partition, first=first, start=start, end=end))
    if not found:
        raise InputError(f"--from and --to name no partition of the log, which has {min(held)} to {max(held)}")
    return found


def _first(archive: Archive, partition: int, low: int) -> int:
    first = archive.first(partition)
    return low if first is None else min(first, low)


def _named(partition: int, request: Request) -> bool:
    given = [bound.by_partition for bound in (request.begin, request.end) if bound.by_partition is not None]
    return all(partition in each for each in given)


def _offsets(settings: Settings, held: Mapping[int, tuple[int, int]], asked: Bound) -> Mapping[int, int]:
    if asked.everywhere is not None:
        return dict.fromkeys(held, asked.everywhere)
    if asked.at_ms is not None:
        found = offsets_at(settings.kafka, asked.at_ms)
        return {p: high if (at := found[p]) is None else min(max(at, low), high) for p, (low, high) in held.items()}
    return asked.by_partition or {}


def chosen(logs: Sequence[LogIdentity], log_id: str) -> LogIdentity:
    """The log of this id, the current one where it is empty."""
    found = [log for log in logs if log.log_id == log_id] if log_id else [logs[-1]]
    if not found:
        raise LogError(f"--log: expected one of {', '.join(log.log_id for log in logs)}, was {log_id}")
    return found[0]


def _with_horizon(settings: Settings, horizon: timedelta | None) -> Settings:
    """A matrix has one horizon; the others that live labels have beside it decide nothing that is in it."""
    fold = settings.fold.model_copy(update={"horizon": horizon or settings.fold.horizon, "other_horizons": ()})
    return settings.model_copy(update={"fold": fold})


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Be the only process that writes this matrix; `WriterHeld` where another one does."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    path = directory.with_name(f".{directory.name}.lock")
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WriterHeld(f"another `tickwire nightly` is writing {directory}: wait for it, or stop it") from error
        yield
