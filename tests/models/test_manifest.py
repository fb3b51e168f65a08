"""The manifest: what it says survives the file, and a file that is not what it says is refused."""

import math
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models import manifest as manifests
from models.manifest import Canary, Manifest, content_id
from schemas.errors import ModelError
from tests.models.rows import described, logistic

ROWS = ([1.0, 2.0, 3.0], [math.nan, 0.1, -1e300])
MANIFEST = described(logistic(), ROWS, [0.25, 0.75])


def saved(directory: Path, manifest: Manifest = MANIFEST) -> Path:
    return manifests.save(manifest, logistic(), directory)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path / "new" / "models")
    assert path.name == "mine.manifest.json"
    assert manifests.load(path) == MANIFEST
    assert manifests.load_content(path, MANIFEST, 1 << 20) == logistic()
    kept = f"{MANIFEST.id}.manifest.json"
    assert sorted(x.name for x in path.parent.iterdir()) == sorted([MANIFEST.file, kept, "mine.manifest.json"])


def test_a_model_stays_under_its_id_when_another_takes_its_name(tmp_path: Path) -> None:
    saved(tmp_path)
    content = logistic(0.125)
    other = described(content, ROWS, [0.25, 0.75])
    assert manifests.load(manifests.save(other, content, tmp_path)).id == other.id
    kept = tmp_path / manifests.manifest_name(MANIFEST.id)
    assert manifests.load(kept) == MANIFEST
    assert manifests.load_content(kept, MANIFEST, 1 << 20) == logistic()


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "a" * 200, "x\n"])
def test_an_id_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="name or id of a model"):
        manifests.manifest_name(name)


def test_canary_rows_keep_their_missing_values_and_every_bit() -> None:
    canary = Canary.of(np.array(ROWS), np.array([0.1, 1 / 3]))
    back = msgspec.json.decode(msgspec.json.encode(canary), type=Canary)
    assert np.array_equal(back.rows(), np.array(ROWS), equal_nan=True)
    assert back.p_up == (0.1, 1 / 3)


def test_the_id_follows_the_content_and_the_meaning_of_its_columns() -> None:
    ids = [
        content_id("m", b"x", ("a", "b"), "f1"),
        content_id("m", b"y", ("a", "b"), "f1"),
        content_id("m", b"x", ("b", "a"), "f1"),
        content_id("m", b"x", ("a", "b"), "f2"),
    ]
    assert len(set(ids)) == 4
    assert ids[0] == content_id("m", b"x", ("a", "b"), "f1")


def test_a_crash_before_the_switch_leaves_the_previous_model_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    other = logistic() + b"\x7a\x00"  # protobuf: an empty metadata field, so other bytes for the same network
    rename = Path.replace

    def crash(source: Path, target: Path) -> Path:
        if target.name.endswith(".json"):
            raise KeyboardInterrupt
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        manifests.save(described(other, ROWS, [0.25, 0.75]), other, tmp_path)
    assert manifests.load(path) == MANIFEST
    assert manifests.load_content(path, MANIFEST, 1 << 20) == logistic()


def test_content_that_the_manifest_does_not_name_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not what the manifest's sha256 names"):
        manifests.save(MANIFEST, logistic() + b"x", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_altered_or_truncated_model_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    for content in (logistic()[:-1], b"", logistic()[:40] + b"\x01" + logistic()[41:]):
        (tmp_path / MANIFEST.file).write_bytes(content)
        with pytest.raises(ModelError, match="altered or torn"):
            manifests.load_content(path, MANIFEST, 1 << 20)


def test_a_model_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(ModelError, match="larger than the 100 bytes"):
        manifests.load_content(path, MANIFEST, 100)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.manifest\.json: cannot be read"):
        manifests.load(tmp_path / "none.manifest.json")
    path = saved(tmp_path)
    (tmp_path / MANIFEST.file).unlink()
    with pytest.raises(ModelError, match=rf"{MANIFEST.file}: cannot be read"):
        manifests.load_content(path, MANIFEST, 1 << 20)


@pytest.mark.parametrize("file", ["../x.onnx", "/etc/passwd", "a/b.onnx", "", ".", ".."])
def test_a_manifest_cannot_point_out_of_its_directory(tmp_path: Path, file: str) -> None:
    path = saved(tmp_path)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(MANIFEST, file=file)))
    with pytest.raises(ModelError, match="plain file name"):
        manifests.load(path)


def test_a_symbolic_link_is_no_model_file(tmp_path: Path) -> None:
    path = saved(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / MANIFEST.file).rename(elsewhere)
    os.symlink(elsewhere, tmp_path / MANIFEST.file)
    with pytest.raises(ModelError, match="symbolic link"):
        manifests.load_content(path, MANIFEST, 1 << 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "manifest format 2, this program reads 1"),
        ({"sha256": "short"}, "sha256"),
        ({"features": ()}, "features"),
        ({"features": ("a", "b")}, "does not fit 2 features"),
        ({"canary": Canary(features=(), p_up=())}, "canary's shape"),
        ({"canary": Canary(features=((1.0, 2.0, 3.0),), p_up=())}, "canary's shape"),
        ({"canary": Canary(features=((1.0, 2.0, 3.0),), p_up=(math.nan,))}, "p_up"),
        ({"size": -1}, "size"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_an_impossible_manifest_is_refused_by_the_field_that_is_wrong(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = saved(tmp_path)
    path.write_bytes(msgspec.json.encode(msgspec.to_builtins(MANIFEST) | change))
    with pytest.raises(ModelError, match=message):
        manifests.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x04\x95pickle", b" " * (2 << 20)])
def test_what_is_no_manifest_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.manifest.json"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        manifests.load(path)
