"""A finished matrix as a dataset: in order of time, and on disk where it is larger than memory."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.nightly.plan import MANIFEST, MatrixManifest, read_manifest
from models.dataset import Dataset, Integers
from models.model import Column, Matrix
from schemas.errors import InputError
from streams.matrix_files import read_piece

KEYS: Final = ("partition", "offset", "ts_event", "symbol", "label", "log_return")


def load(directory: Path) -> Dataset:
    """The matrix that `tickwire nightly` has finished there, sorted by time (then partition and offset).

    The features are a memory map of `sorted/ID.npy`, made at the first call; everything else takes 40 bytes a row of memory.
    `InputError` where the matrix is not finished, or a piece is not what the manifest says.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise InputError(f"{directory}: expected a finished matrix, found no {MANIFEST}; run `tickwire nightly`")
    keys, symbols = _keys(directory, manifest)
    order = np.lexsort((keys["offset"], keys["partition"], keys["ts_event"]))
    return Dataset(
        features=_features(directory, manifest, order), label=keys["label"][order], returns=keys["log_return"][order],
        ts=keys["ts_event"][order], symbol=keys["symbol"][order], symbols=symbols, names=manifest.plan.features,
        horizon_ns=manifest.plan.horizon_ns,
    )  # fmt: skip


def verified(directory: Path, manifest: MatrixManifest) -> None:
    """Read every piece and hold it against its sha256; `InputError` for one that is another."""
    for piece in manifest.pieces:
        path = directory / piece.file
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != piece.sha256:
            raise InputError(
                f"{path}: expected the piece with sha256 {piece.sha256[:12]}…, found another one or none; throw {directory} "
                "away and run `tickwire nightly` again"
            )


def _keys(directory: Path, manifest: MatrixManifest) -> tuple[dict[str, NDArray[Any]], Sequence[str]]:
    """Everything but the features, in the order of the pieces; symbols as rows of their sorted names."""
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in KEYS}
    coded: list[tuple[Integers, list[str]]] = []
    for piece in manifest.pieces:
        table = read_piece(directory / piece.file, KEYS)
        for name in KEYS:
            if name != "symbol":
                parts[name].append(table[name].to_numpy())
        symbol = table["symbol"].combine_chunks().dictionary_encode()
        coded.append((symbol.indices.to_numpy().astype(np.int64), symbol.dictionary.to_pylist()))
    symbols = sorted({name for _, names in coded for name in names})
    row = {name: at for at, name in enumerate(symbols)}
    parts["symbol"] = [np.array([row[name] for name in names], np.int64)[codes] for codes, names in coded]
    kinds = {"label": np.float64, "log_return": np.float64}
    return {
        name: np.concatenate(each) if each else np.empty(0, kinds.get(name, np.int64)) for name, each in parts.items()
    }, symbols


def _features(directory: Path, manifest: MatrixManifest, order: Integers) -> Matrix:
    """The features in this order, [n, F], mapped from disk."""
    path = directory / "sorted" / f"{manifest.id}.npy"
    if len(order) == 0:
        return np.empty((0, len(manifest.plan.features)))
    if not path.exists():
        verified(directory, manifest)
        _sort(directory, manifest, order, path)
    mapped: Matrix = np.load(path, mmap_mode="r")
    if mapped.shape != (len(order), len(manifest.plan.features)):
        raise InputError(f"{path}: expected {len(order)} rows, found {mapped.shape}; delete it, it is made again")
    return mapped


def _sort(directory: Path, manifest: MatrixManifest, order: Integers, path: Path) -> None:
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    names = manifest.plan.features
    written: Column = np.lib.format.open_memmap(draft, "w+", np.float64, (len(order), len(names)))
    at = 0
    for piece in manifest.pieces:
        table = read_piece(directory / piece.file, names)
        rows = np.column_stack([table[name].to_numpy() for name in names])
        written[place[at : at + len(rows)]] = rows
        at += len(rows)
    written.flush()  # type: ignore[attr-defined]
    del written
    draft.replace(path)
