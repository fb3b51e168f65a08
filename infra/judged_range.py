"""What of a log is to be verified, as a user says it: offsets of partitions, or times."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import SettingsError


@dataclass(frozen=True)
class Request:
    """What to verify. begin, end: offsets of the partitions to look at, or one time in ns since 1970; else everything."""

    log_id: str = ""
    """The current log where empty."""
    begin: Mapping[int, int] | int = field(default_factory=dict)
    end: Mapping[int, int] | int | None = None
    capture: Path | None = None
    patience_s: float = 60.0
    """How long the scoring process may take to reach the log's present end."""


def check_range(
    request: Request, begins: Mapping[int, int], bounds: Mapping[int, int], held: Mapping[int, tuple[int, int]]
) -> None:
    """`SettingsError` for a range without a record of the log: to have judged nothing is not to have found nothing wrong.

    begins, bounds   what the request's range means in offsets; `held`: first and next offset of each partition of the log
    """
    named: set[int] = set()
    for option, given in (("--from", request.begin), ("--to", request.end)):
        for partition in given if isinstance(given, Mapping) else ():
            named.add(partition)
            if partition not in held:
                raise SettingsError(
                    f"{option}: expected partitions among {', '.join(map(str, sorted(held)))}, was {partition} "
                    "(a time is written with its date, 2026-01-31T09:30)"
                )
    ranges = {p: (begins.get(p, held[p][0]), min(bounds.get(p, held[p][1]), held[p][1])) for p in sorted(named or held)}
    empty = [p for p, (begin, end) in ranges.items() if begin >= end]
    if empty and (named or len(empty) == len(ranges)):
        told = "; ".join(
            f"partition {p}: {ranges[p][0]} to {ranges[p][1]} of {held[p][0]} to {held[p][1]}" for p in empty
        )
        raise SettingsError(f"--from, --to: expected a range that has records of the log, was {told}")


def parse_bound(text: str, option: str) -> Mapping[int, int] | int | None:
    """`0:1200,3:7` as offsets by partition, or a time (ISO 8601, UTC where no zone is named) in ns. `SettingsError` else."""
    if not text:
        return None
    try:
        if all(part.replace(":", "", 1).isdigit() and ":" in part for part in text.split(",")):
            pairs = [part.split(":") for part in text.split(",")]
            return {int(partition): int(offset) for partition, offset in pairs}
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"{option}: expected PARTITION:OFFSET[,…] or a time such as 2026-01-31T09:30:00, was {text!r}"
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1e6) * 1_000
