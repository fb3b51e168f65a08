"""The data checks as a report that a person can read, in Markdown, beside the matrix."""

from collections.abc import Iterable
from datetime import UTC, datetime

from infra.nightly.plan import Check, MatrixManifest


def report(manifest: MatrixManifest) -> str:
    """All of it; the same manifest gives the same text."""
    checked = manifest.checked
    assert checked is not None
    failed = [check for check in checked.checks if not check.passed]
    verdict = "a model may be trained on it" if not failed else f"refused: {len(failed)} checks failed"
    parts = [f"# Matrix {manifest.id}: {verdict}", "", *_head(manifest), "", *_partitions(manifest)]
    if failed:
        parts += ["", "## What failed", "", *_table(failed)]
        parts += [
            "",
            *(f"- {check.name}, {check.subject}: {'; '.join(check.examples)}" for check in failed if check.examples),
        ]
    missing = [check for check in checked.checks if check.name == "missing share"]
    others = [check for check in checked.checks if check.name != "missing share"]
    parts += ["", "## All checks", "", *_table(others), "", "## Features that rows lack", "", *_table(missing)]
    parts += ["", "## Limits", "", "```json", checked.limits.strip(), "```"]
    return "\n".join(parts) + "\n"


def _head(manifest: MatrixManifest) -> Iterable[str]:
    plan = manifest.plan
    yield f"- log `{plan.log_id}`, features `{plan.features_id}` ({len(plan.features)}), code `{plan.code}`"
    yield f"- horizon {plan.horizon_ns / 1e9:g} s, seed {plan.seed}, symbols: {', '.join(plan.symbols) or 'all'}"
    yield f"- {manifest.rows:,} rows in {len(manifest.pieces)} pieces; {_learner(manifest)}"


def _learner(manifest: MatrixManifest) -> str:
    return f"`{manifest.plan.learner}` learnt along" if manifest.plan.learner else "no model learnt along"


def _partitions(manifest: MatrixManifest) -> Iterable[str]:
    yield "| partition | folded from | rows from | to | records | where they went | rows | newest event |"
    yield "|---|---|---|---|---|---|---|---|"
    spans = {span.partition: span for span in manifest.plan.spans}
    for folded in manifest.partitions:
        span = spans[folded.partition]
        rows = sum(piece.rows for piece in manifest.pieces if piece.partition == folded.partition)
        doors = ", ".join(f"{count:,} {door}" for door, count in folded.doors.items() if count)
        yield (
            f"| {folded.partition} | {span.first} | {span.start} | {span.end} | {folded.records:,} | {doors} | {rows:,} | "
            f"{_moment(folded.newest_ns)} |"
        )


def _table(checks: Iterable[Check]) -> Iterable[str]:
    yield "| | check | of | found | limit | rows |"
    yield "|---|---|---|---|---|---|"
    for check in checks:
        found = "none" if check.found is None else f"{check.found:.6g}"
        yield (
            f"| {'ok' if check.passed else '**failed**'} | {check.name} | {check.subject} | {found} | {check.limit:g} | "
            f"{check.broken or ''} |"
        )


def _moment(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}Z" if ns >= 0 else "none"
