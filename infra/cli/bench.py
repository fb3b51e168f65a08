"""`tickwire bench`: how fast is this machine, on embedded services of its own."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from rich.table import Table as Grid
from rich.text import Text

from infra.bench.fold import BESIDE, Folded, fold_all
from infra.bench.latency import latencies
from infra.bench.machine import about
from infra.bench.workbench import Market, in_child, train_model, workbench, write_log
from infra.cli.plain import plain
from infra.settings import Settings
from schemas.errors import SettingsError

USUAL_EVENTS: Final = 100_000
"""Of the log, from its beginning, for the flow that is written per event."""
Told = Callable[[str], None]


def run(settings: Settings, what: str, *, events: int, as_json: bool) -> None:
    """Measure `flow`, `peers` or `latency`, and print it."""
    if what not in BENCHES:
        raise SettingsError(f"bench: expected {', '.join(BENCHES)}, was {what!r}")
    progress, out = plain(stderr=True), plain()
    measured = {
        "machine": about(),
        **BENCHES[what](settings, events, lambda step: progress.print(Text(step, style="dim"))),
    }
    if as_json:
        print(json.dumps(measured))
        return
    for grid in _grids(measured):
        out.print(grid)


def flow(settings: Settings, events: int, told: Told) -> dict[str, Any]:
    """From the topic to ClickHouse and the predictions topic, then event to WebSocket."""
    with workbench(settings) as bench:
        told(f"writing {events:,} events to the log")
        written = in_child(write_log, bench.settings.kafka, Market.of(events))
        told("training a model from them")
        in_child(train_model, bench.settings)
        told("folding, scoring and storing them")
        folded = fold_all(bench)
    write = {**asdict(written), "events_per_s": round(written.rate)}
    return {"write": write, "flow": _flow(folded), **latency(settings, events, told)}


def peers(settings: Settings, events: int, told: Told) -> dict[str, Any]:
    """Ours beside the same job written per event, on one log in one run."""
    from infra.bench.peers import run_usual  # noqa: PLC0415 (imports what only this one needs)

    first, rest = Market.of(events).split(USUAL_EVENTS)
    with workbench(settings) as bench:
        told(f"writing {first.last:,} events and training a model from them")
        in_child(write_log, bench.settings.kafka, first)
        in_child(train_model, bench.settings)
        told("scoring them the usual way, per event")
        usual = run_usual(bench)
        told(f"writing {events - first.last:,} more, and scoring all of them our way")
        in_child(write_log, bench.settings.kafka, rest)
        folded = fold_all(bench)
    return {
        "flow": _flow(folded),
        "usual": {**asdict(usual), "events_per_s": round(usual.rate)},
        "ratio": round(folded.rate / usual.rate, 1),
    }


def latency(settings: Settings, events: int, told: Told) -> dict[str, Any]:  # noqa: ARG001 (as the others)
    """Event to WebSocket, at two rates."""
    told("event to WebSocket: collector, scoring, API and one client, at 1,000 and 10,000 events/s")
    return {"latency": [asdict(each) for each in latencies(settings)]}


BENCHES: Final[Mapping[str, Callable[[Settings, int, Told], dict[str, Any]]]] = {
    "flow": flow, "peers": peers, "latency": latency,
}  # fmt: skip


def _flow(folded: Folded) -> dict[str, Any]:
    return {
        **asdict(folded),
        "events_per_s": round(folded.rate),
        "events_per_s_while_reading": round(folded.folded / folded.read_seconds),
        "stage_us_per_event": _per_event(folded.stages, folded.folded),
        "cpu_us_per_event": _per_event(folded.cpu, folded.folded),
    }


def _per_event(seconds: Mapping[str, float], events: int) -> dict[str, float]:
    return {name: round(1e6 * spent / events, 2) for name, spent in seconds.items()}


def _grids(measured: Mapping[str, Any]) -> Iterator[Grid | str]:
    """For people."""
    machine = measured["machine"]
    yield (
        f"{machine['date']}, {machine['cores']} cores of {machine['processor']}, Python {machine['python']}, "
        f"load {machine['load_1m']} before"
    )
    if "write" in measured:
        yield f"collector to log: {measured['write']['events_per_s']:,} events/s"
    if "flow" in measured:
        yield from _flow_grids(measured["flow"])
    if "usual" in measured:
        usual = measured["usual"]
        yield f"the usual way, per event: {usual['events_per_s']:,} events/s ({usual['scored']:,} events)"
        yield f"ratio: {measured['ratio']}"
    if "latency" in measured:
        yield _latency_grid(measured["latency"])


def _flow_grids(flow: Mapping[str, Any]) -> Iterator[Grid | str]:
    yield (
        f"log to ClickHouse, topics and Redis, both models: {flow['events_per_s']:,} events/s "
        f"({flow['folded']:,} events in {flow['seconds']:.2f} s; {flow['events_per_s_while_reading']:,}/s until all were read)"
    )
    stages = Grid(
        "stage", "s", "µs an event", title="where the main thread's time goes (wall clock)", title_justify="left"
    )
    for name, seconds in flow["stages"].items():
        beside = " (beside it)" if name in BESIDE else ""
        stages.add_row(name + beside, f"{seconds:.2f}", f"{flow['stage_us_per_event'][name]:.2f}")
    yield stages
    processors = Grid("process", "s", "µs an event", title="processor time", title_justify="left")
    for name, seconds in flow["cpu"].items():
        processors.add_row(name, f"{seconds:.2f}", f"{flow['cpu_us_per_event'][name]:.2f}")
    yield processors


def _latency_grid(measured: list[dict[str, Any]]) -> Grid:
    names = ("events/s", "messages/s", "p50 ms", "p99 ms", "max ms", "conflated", "gaps", "cores used")
    grid = Grid(*names, title="event to WebSocket", title_justify="left")
    for each in measured:
        cores = sum(each["cores"].values())
        numbers = (each["p50_ms"], each["p99_ms"], each["max_ms"], each["conflated"], each["gaps"], round(cores, 2))
        grid.add_row(f"{each['rate']:,}", f"{each['messages'] / each['seconds']:,.0f}", *map(str, numbers))
    return grid
