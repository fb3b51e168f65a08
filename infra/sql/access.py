"""Who may ask what of which ClickHouse, from the settings."""

from typing import Final

from api.sql.ports import SqlAccess
from infra.settings import Sql
from infra.sql.guard import Guard
from infra.sql.reader import ClickHouseSql, Limits
from infra.sql.vocabulary import FUNCTIONS
from schemas.tables import tables
from schemas.views import views

MIB: Final = 1 << 20
AT: Final = "_as_known"
"""How the names of views end that take a moment."""


def sql_access(settings: Sql, database: str) -> SqlAccess | None:
    """SQL over this database; None where no reader is named."""
    url = settings.url.get_secret_value()
    if not url:
        return None
    limits = Limits(
        time_s=settings.timeout.total_seconds(), memory=settings.memory_mib * MIB, rows=settings.read_rows,
        bytes=settings.read_mib * MIB,
    )  # fmt: skip
    guard = guard_of(database)
    return SqlAccess(
        engine=ClickHouseSql(url, database, limits), max_rows=settings.max_rows,
        check=guard.checked if settings.free else None, tables=guard.tables, functions=sorted(FUNCTIONS),
    )  # fmt: skip


def guard_of(database: str) -> Guard:
    """The guard of our tables and views in this database."""
    names = [*(table.name for table in tables(())), *views(database)]
    return Guard(
        database, [name for name in names if not name.endswith(AT)], [name for name in names if name.endswith(AT)]
    )
