"""What is written down of nightly runs: a file a date, and a lock that lets one run at a time."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal

import msgspec

from infra.locks import hold
from infra.private import private_folder
from schemas.errors import TickwireError

Spans = Mapping[int, tuple[int, int]]
"""Partition to (first offset, next offset)."""
State = Literal["planned", "done", "failed"]
LOCK: Final = "lock"


class RunHeld(TickwireError):
    """Another nightly run is at work on this data directory."""


class NightRun(msgspec.Struct, frozen=True, kw_only=True):
    """The run of one date: its stretch is written down before it begins, so that a second try is given the same one.

    `exit_code`: of the last try that ended; None before. `began_ns`, `ended_ns`: of the last try, our clock.
    """

    day: date
    calendar: str
    log_id: str
    spans: dict[int, tuple[int, int]]
    state: State = "planned"
    tries: int = 0
    exit_code: int | None = None
    began_ns: int = 0
    ended_ns: int = 0


_DECODER: Final = msgspec.json.Decoder(NightRun)


class NightRunError(TickwireError):
    """A file that should tell of a nightly run does not."""


@dataclass(frozen=True, slots=True)
class NightRuns:
    """The runs of one data directory."""

    directory: Path

    def path(self, calendar: str, day: date) -> Path:
        """Where the run of this date is told."""
        return self.directory / f"{calendar.replace('/', '-')}-{day}.json"

    def read(self, calendar: str, day: date) -> NightRun | None:
        """What was written down; None where nothing was. `NightRunError` for a file that cannot be read."""
        path = self.path(calendar, day)
        try:
            return _DECODER.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise NightRunError(
                f"{path}: expected what is known of a nightly run, found something else ({error}); delete it to run that "
                "date anew"
            ) from error

    def write(self, run: NightRun) -> None:
        """Replace the file as a whole; it is on the disk when this returns."""
        path = self.path(run.calendar, run.day)
        private_folder(self.directory)
        draft = path.with_suffix(".new")
        with draft.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Be the only run; yields the lock, held for as long as a process has it open. `RunHeld` where another has it."""
        private_folder(self.directory)
        path = self.directory / LOCK

        def refused(holder: str) -> RunHeld:
            return RunHeld(f"process {holder} or its child makes a nightly run now and holds {path}: wait for its end")

        with hold(path, refused) as lock:
            yield lock.fileno()
