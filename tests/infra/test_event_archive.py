"""The Parquet archive of the events log."""

from pathlib import Path

import pytest

from infra.event_archive import ParquetArchive
from schemas.errors import InputError, LogError
from schemas.topics import EVENTS
from streams.decode import Poll
from tests.logs import market

VALUES: list[bytes | None] = [EVENTS.encode(event) for event in market(300)]
VALUES[120] = None
VALUES[121] = b"\xff not an event"


def poll(first: int, end: int) -> Poll:
    return Poll(2, VALUES[first:end], list(range(first, end)), [1_000 + at for at in range(first, end)])


def archive(directory: Path) -> ParquetArchive:
    found = ParquetArchive(directory, "log-1")
    directory.mkdir(exist_ok=True)
    return found


def records(found: ParquetArchive, first: int, end: int) -> dict[int, object]:
    """Offset to the event, or to the reason why there is none."""
    told: dict[int, object] = {}
    for part in found.read(2, first, end):
        told |= dict(zip(part.stretch.offsets.tolist(), part.stretch.events, strict=True))
        told |= {letter.offset: letter.reason for letter in part.stretch.rejected}
    return told


def test_every_record_comes_back_in_order_also_what_is_no_event(tmp_path: Path) -> None:
    found = archive(tmp_path / "a")
    assert found.keep(2, [poll(10, 100), poll(100, 300)]) == 290
    assert (found.first(2), found.end(2), found.first(0)) == (10, 300, None)
    told = records(found, 50, 200)
    assert sorted(told) == list(range(50, 200))
    assert (told[120], told[121]) == ("not_a_message", "undecodable")
    assert told[130] == EVENTS.decode(VALUES[130] or b"")
    assert [part.missing for part in found.read(2, 50, 200)] == [[]]


def test_files_that_overlap_give_every_record_once(tmp_path: Path) -> None:
    found = archive(tmp_path / "a")
    for first, end in ((0, 100), (60, 180), (150, 300)):
        found.keep(2, [poll(first, end)])
    at = [offset for part in found.read(2, 0, 300) for offset in part.stretch.offsets.tolist()]
    assert at == [offset for offset in range(300) if offset not in {120, 121}]


def test_a_file_that_reaches_over_later_ones_is_read_wherever_reading_begins(tmp_path: Path) -> None:
    found = archive(tmp_path / "a")
    for first, end in ((0, 50), (50, 240), (100, 150), (120, 130), (250, 300)):
        found.keep(2, [poll(first, end)])
    for first in (0, 60, 125, 140, 160, 245, 250, 290):
        told, missing = records(found, first, 300), [gap for part in found.read(2, first, 300) for gap in part.missing]
        assert sorted(told) == [at for at in range(first, 300) if not 240 <= at < 250]
        assert missing == ([(max(first, 240), 250)] if first < 250 else [])
    assert [part.missing for part in found.read(2, 242, 248)] == [[(242, 248)]]


def test_what_nobody_has_is_told(tmp_path: Path) -> None:
    found = archive(tmp_path / "a")
    found.keep(2, [poll(0, 100)])
    found.keep(2, [poll(110, 200)])
    assert [gap for part in found.read(2, 0, 250) for gap in part.missing] == [(100, 110), (200, 250)]


def test_another_log_and_a_torn_file_are_refused(tmp_path: Path) -> None:
    found = archive(tmp_path / "a")
    found.keep(2, [poll(0, 100)])
    with pytest.raises(LogError, match="expected records of log log-2, found those of log-1"):
        list(ParquetArchive(tmp_path / "a", "log-2").read(2, 0, 100))
    (file,) = (tmp_path / "a").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(InputError, match="cannot be read"):
        list(found.read(2, 0, 100))
    with pytest.raises(InputError, match="no directory"):
        ParquetArchive(tmp_path / "gone", "log-1").first(0)
