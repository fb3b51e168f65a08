"""A Faust worker as all our agents have it: raw bytes in and out, offsets committed by acknowledgement, one member a place."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import faust
import msgspec
from faust.auth import Credentials

from schemas.errors import BackendError, SchemaError
from schemas.rows import DeadLetter

RAW: Final[dict[str, Any]] = {
    "key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"
}  # fmt: skip
"""Of a topic: bytes as they are."""
RAW_BYTES: Final = 65_536
SHUTDOWN_S: Final = 20.0
"""To finish what is in work and commit it."""
CRASHED_S: Final = 5.0
"""The same of a worker that crashed: its consumer may be gone, and would never answer. Nothing needs it: what was not
committed is read again."""


def worker_app(
    brokers: Sequence[str],
    datadir: Path,
    group: str,
    member: str,
    partitions: int,
    credentials: Credentials | None = None,
) -> faust.App:
    """The worker without agents, not started. Topics must exist.

    `member`: a name in the group, one for each that runs: a worker that was killed takes its place again at once (without
    a name, one that is killed blocks its group on the embedded broker for ever). `credentials`: how to reach brokers that
    want TLS or a login.
    """
    return faust.App(
        group, broker=";".join(f"kafka://{broker}" for broker in brokers), datadir=str(datadir), store="memory://",
        autodiscover=False, web_enabled=False, topic_allow_declare=False, topic_disable_leader=True,
        topic_partitions=partitions, key_serializer="raw", value_serializer="raw",
        consumer_auto_offset_reset="earliest", broker_max_poll_records=500, broker_commit_interval=1.0,
        broker_session_timeout=30.0, broker_heartbeat_interval=3.0, consumer_group_instance_id=f"{group}-{member}",
        stream_wait_empty=True, producer_acks=-1, broker_credentials=credentials,
    )  # fmt: skip


def dead_letter(source: str, raw: bytes, error: SchemaError, partition: int, offset: int, ts_ingest: int) -> DeadLetter:
    """The record of this topic that is not what it declares, with the reason."""
    wrong = isinstance(error.__cause__, msgspec.ValidationError)
    return DeadLetter(
        source=source, partition=partition, offset=offset, reason="invalid_value" if wrong else "undecodable",
        detail=str(error)[:1_000], ts_ingest=ts_ingest, raw=raw[:RAW_BYTES],
    )  # fmt: skip


def run(app: faust.App, beside: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
    """Work until SIGTERM or SIGINT; then finish what is in work, commit, and return.

    `beside`: runs in the same loop until the worker ends; the worker ends where it does.
    Raises: `BackendError` where the worker failed; nothing that was not acknowledged is counted as read.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_serve(app, beside))
    finally:
        loop.run_until_complete(_abandon())
        loop.close()


async def _serve(app: faust.App, beside: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(told.wait()), asyncio.create_task(app.wait_until_stopped())]
    other = [] if beside is None else [asyncio.create_task(beside())]
    try:
        await app.start()
        await asyncio.wait([*waits, *other], return_when=asyncio.FIRST_COMPLETED)
    finally:
        unfinished = await _stop(app)
        for wait in (*waits, *other):
            wait.cancel()
    for task in await asyncio.gather(*other, return_exceptions=True):
        if isinstance(task, Exception):
            raise task
    if app.crash_reason is not None:
        raise BackendError(f"the agent {app.conf.id} stopped: {app.crash_reason!r}") from app.crash_reason
    if unfinished is not None:
        raise BackendError(
            f"the agent {app.conf.id} did not finish its work ({unfinished!r}): what it had not acknowledged is read again"
        ) from unfinished


async def _stop(app: faust.App) -> Exception | None:
    """Finish and commit; what came in the way.

    Of a worker that crashed something often does: Faust has closed the loop of its consumer by then, or has not, by chance.
    """
    try:
        async with asyncio.timeout(SHUTDOWN_S if app.crash_reason is None else CRASHED_S):
            await app.stop()
    except Exception as error:
        return error
    return None


async def _abandon() -> None:
    """Cancel what still runs; a task that does not end is left (`asyncio.run` would wait for it for ever).

    Of a worker that crashed one of Faust's may not: it waits for an answer of the consumer that has gone.
    """
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=CRASHED_S)
