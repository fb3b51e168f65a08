"""Small matrices for tests, written as the nightly writes them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from infra.nightly.matrix_store import PartitionPieces, open_directory
from infra.nightly.plan import MANIFEST, Folded, MatrixManifest, Plan, canonical, plan_of, replaced
from infra.settings import Settings
from processors.batch import NS
from processors.features import FEATURE_NAMES
from processors.ledger import DOORS
from streams.nightly import MatrixRows, MatrixSpan, Reached
from tests.logs import START

PER_PIECE = 1_000


def plan(partitions: int = 1, pieces: int = 2, **changed: Any) -> Plan:
    spans = [MatrixSpan(partition=p, first=0, start=0, end=pieces * PER_PIECE) for p in range(partitions)]
    return plan_of(Settings(), "log-1", spans, piece=PER_PIECE, **changed)


def rows(partition: int, number: int, n: int = 400, *, seed: int = 3) -> MatrixRows:
    """Plausible rows of two symbols, a second apart, with features within their bounds; times overlap between partitions."""
    rng = np.random.default_rng([seed, partition, number])
    before = rng.uniform(20, 30, n)
    after = before * (1 + rng.choice([-1e-3, 0.0, 1e-3], n))
    features = rng.uniform(0.0, 1.0, (n, len(FEATURE_NAMES)))
    features[:, FEATURE_NAMES.index("high_dist_300s")] *= -1.0
    features[rng.random(features.shape) < 0.1] = np.nan
    return MatrixRows(
        partition=partition,
        offset=number * PER_PIECE + np.sort(rng.choice(PER_PIECE, n, replace=False)),
        symbol=np.array([f"S{partition}{k}" for k in (np.arange(n) % 2).tolist()], object),
        ts=START + (number * n + rng.permutation(n)) * NS,
        price=np.column_stack([before, after]),
        label=np.where(after == before, 0.5, np.where(after > before, 1.0, 0.0)),
        features=features,
    )


def changed(given: MatrixRows, at: int, **values: Any) -> MatrixRows:
    """The rows with row `at` changed; a feature by its name."""
    columns = {name: getattr(given, name).copy() for name in ("offset", "symbol", "ts", "price", "label", "features")}
    for name, value in values.items():
        if name in FEATURE_NAMES:
            columns["features"][at, FEATURE_NAMES.index(name)] = value
        else:
            columns[name][at] = value
    return replace(given, **columns)


def written(
    directory: Path, pieces: list[MatrixRows], *, newest_ns: int | None = None, lost: int = 0, **planned: Any
) -> MatrixManifest:
    """A matrix of these pieces, numbered by their order within a partition; not checked yet."""
    partitions = sorted({piece.partition for piece in pieces})
    made = plan(len(partitions), len(pieces), **planned)
    open_directory(directory, made)
    stores = {p: PartitionPieces(directory, p, made, made.id) for p in partitions}
    newest = newest_ns if newest_ns is not None else max(int(piece.ts.max(initial=START)) for piece in pieces)
    for piece in pieces:
        store, number = stores[piece.partition], len(stores[piece.partition].pieces)
        store.put(
            number,
            piece,
            Reached(next_offset=(number + 1) * PER_PIECE, records=PER_PIECE, newest_ns=newest, counts=(), snapshot=b""),
        )
    doors = dict.fromkeys(DOORS, 0)
    manifest = MatrixManifest(
        id=made.id,
        plan=made,
        rows=sum(map(len, pieces)),
        pieces=tuple(piece for p in partitions for piece in stores[p].pieces),
        partitions=tuple(
            Folded(partition=span.partition, records=span.records - lost, doors=doors, newest_ns=newest)
            for span in made.spans
        ),
    )
    replaced(directory / MANIFEST, canonical(manifest))
    return manifest
