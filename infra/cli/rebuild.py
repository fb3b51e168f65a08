"""`tickwire rebuild`: throw the state of a scoring process away, fold it again from the log, and go live."""

import sys

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.cli.plain import plain
from infra.cli.processes import partitions_of, ready
from infra.settings import Settings


def run(
    settings: Settings, partitions: str, group: str, *, accept_loss: bool, new_log: bool, live: bool, as_json: bool
) -> None:
    """Rebuild with a progress bar, tell what was done, then score until told to stop unless not `live`."""
    from infra.kafka import create_topics  # noqa: PLC0415
    from infra.rebuild import RebuildReport  # noqa: PLC0415
    from infra.score import run as score  # noqa: PLC0415
    from infra.start import Wanted  # noqa: PLC0415

    settings = ready(settings)
    create_topics(settings.kafka)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), disable=as_json, transient=live,
    )  # fmt: skip

    def done(report: RebuildReport) -> None:
        bar.stop()
        _tell(report, as_json=as_json)

    with bar:
        task = bar.add_task("folding the log", total=None)
        wanted = Wanted(
            rebuild=True, accept_loss=accept_loss, new_log=new_log, live=live, done=done,
            tell=lambda folded, total: bar.update(task, completed=folded, total=total),
        )  # fmt: skip
        score(settings, partitions_of(partitions) or None, group=group, wanted=wanted)


def _tell(report: object, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        sys.stdout.flush()
        return
    told = msgspec.to_builtins(report)
    lost = sum(end - first for _, first, end in told["lost"])
    rate = told["records"] / max(told["seconds"], 1e-9)
    plain().print(
        f"folded {told['records']:,} records ({told['archived']:,} of them from ClickHouse) in {told['seconds']:.1f} s, "
        f"{rate:,.0f}/s; lost {lost}; scoring goes on at "
        + ", ".join(f"{partition}@{offset}" for partition, offset in told["partitions"].items())
    )
