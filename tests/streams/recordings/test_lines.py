"""Files plain, gzipped and zipped; and how a broken one is told."""

import gzip
import zipfile
from pathlib import Path

import pytest

from schemas.errors import InputError
from streams.recordings import lines
from streams.recordings.lines import LineFile
from tests.streams.recordings.files import gzipped, plain, zipped

ROWS = [f"{number},x" for number in range(1_000)]
AS_BYTES = [row.encode() for row in ROWS]


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_lines_are_the_same_however_the_file_is_packed_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(lines, "BLOCK", block)
    files = (
        plain(tmp_path / "a.csv", *ROWS), gzipped(tmp_path / "b.csv.gz", *ROWS),
        zipped(tmp_path / "c.zip", a__csv="\n".join(ROWS)), gzipped(tmp_path / "unnamed", *ROWS),
    )  # fmt: skip
    for path in files:
        file = LineFile(path)
        assert list(file.lines()) == AS_BYTES
        assert list(file.lines()) == AS_BYTES
        assert file.position == file.size == path.stat().st_size


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf1,x\n2,y\n")
    assert list(LineFile(path).lines()) == [b"1,x", b"2,y"]


def test_a_file_that_cannot_be_opened_any_more_is_told(tmp_path: Path) -> None:
    file = LineFile(plain(tmp_path / "t.csv", "1,x"))
    (tmp_path / "t.csv").unlink()
    with pytest.raises(InputError, match="expected a readable file: No such file"):
        list(file.lines())


def test_the_position_moves_while_a_large_file_is_read(tmp_path: Path) -> None:
    file = LineFile(plain(tmp_path / "large.csv", *(f"{number:0100d}" for number in range(50_000))))
    positions = {file.position for _ in file.lines()}
    assert len(positions) > 3


def test_a_gzip_that_breaks_off_names_the_line_after_the_last_good_one(tmp_path: Path) -> None:
    path = gzipped(tmp_path / "cut.csv.gz", *(f"{number * 7919 % 100_003},x" for number in range(300_000)))
    path.write_bytes(path.read_bytes()[:-2_000])
    seen: list[bytes] = []
    with pytest.raises(InputError, match="breaks off or is damaged") as caught:
        seen.extend(LineFile(path).lines())
    assert len(seen) > 0
    assert f"{path}:{len(seen) + 1}:" in str(caught.value)


def test_damaged_gzip_and_zip_are_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"1,2,3\n" * 1_000))
    packed[-8] ^= 0xFF
    damaged = tmp_path / "damaged.csv.gz"
    damaged.write_bytes(packed)
    with pytest.raises(InputError, match="damaged"):
        list(LineFile(damaged).lines())
    archive = zipped(tmp_path / "damaged.zip", a__csv="1,2,3\n" * 10)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(InputError, match="expected a zip, found a damaged one"):
        LineFile(archive)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "the file is empty"),
        ("a.csv.gz", b"34200000,1\n", "expected gzip as the name says, found first bytes"),
        ("a.zip", b"34200000,1\n", "expected zip as the name says"),
        ("a.parquet", b"34200000,1\n", "expected parquet as the name says"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        LineFile(path)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(InputError, match="expected a readable file"):
            LineFile(path)


@pytest.mark.parametrize("members", [{}, {"a__csv": "1\n", "b__csv": "2\n"}])
def test_a_zip_of_none_or_several_files_is_refused(tmp_path: Path, members: dict[str, str]) -> None:
    with pytest.raises(InputError, match=f"expected a zip with one file, found {len(members)}"):
        LineFile(zipped(tmp_path / "a.zip", **members))


def test_a_locked_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", a__csv="1\n" * 100)
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.start_dir
    raw[6] |= 1
    raw[at + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match="password"):
        list(LineFile(path).lines())


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1_000)
    monkeypatch.setattr(lines, "BLOCK", 500)
    path = tmp_path / "endless.csv"
    path.write_bytes(b"short\n" + b"x" * 5_000)
    with pytest.raises(InputError, match=r"endless.csv:2: a line of over 1000 bytes"):
        list(LineFile(path).lines())
