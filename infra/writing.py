"""Becoming the writer of partitions, and staying it while a block of code runs."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from infra.clickhouse import connect
from infra.locks import locked
from infra.settings import Settings
from infra.stopping import Stop
from infra.tables import create_tables
from infra.writers import Claim, Lease
from processors.features import FEATURE_NAMES
from schemas.errors import TickwireError
from schemas.topics import EVENTS
from streams.ports import Meter


@contextmanager
def writing(settings: Settings, partitions: Sequence[int], group: str, stop: Stop, meter: Meter) -> Iterator[Lease]:
    """Hold the locks and the lease; a lease that is lost stops the process.

    `WriterHeld` where another process writes one of the partitions, `WriterError` at the end where this one lost them.
    """
    clickhouse, lease_s = settings.clickhouse, settings.fold.lease.total_seconds()
    with locked(settings.data / "recovery", EVENTS.name, partitions, group) as locks:
        database = connect(clickhouse.url.get_secret_value(), timeout_s=max(1.0, lease_s / 2), connect_timeout_s=2)
        create_tables(database, clickhouse.database, FEATURE_NAMES)
        claim = Claim(clickhouse.database, EVENTS.name, locks, settings.kafka.partitions)
        lease = Lease(database, claim, lease_s, meter, lambda _: stop.ask(os.EX_TEMPFAIL))
        lease.take()
        lease.keep()
        try:
            yield lease
        except BaseException as error:
            lease.ensure()
            raise ours(error) from error
        finally:
            lease.release()
            database.close()
        lease.ensure()


def ours(error: BaseException) -> BaseException:
    """What a dataflow ended of: Bytewax wraps what its steps raise."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TickwireError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error
