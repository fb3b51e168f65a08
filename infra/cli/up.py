"""`tickwire up`: everything on one machine, with progress, and nothing left behind."""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Final

import httpx2
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from infra.access.dev_key import FILE, key_of_run, own_headers, read
from infra.cli.catching_up import await_scoring
from infra.cli.plain import plain
from infra.cli.processes import NO_MODEL_YET
from infra.cli.source import SOURCES, source_of
from infra.embedded.ports import free_port
from infra.embedded.service import Service
from infra.embedded.services import ALL, CLICKHOUSE, KAFKA, REDIS, Embedded, WantedPorts, start_embedded
from infra.embedded.supervisor import Supervisor
from infra.instance import EMBEDDED_RETENTION, NICE, at, environment
from infra.private import private_folder
from infra.settings import Settings
from schemas.errors import BackendError, ModelError, SettingsError, TrainingError
from schemas.rows import ScoreStatus

NEXT: Final = """, in another terminal of this folder:
  .venv/bin/tickwire watch                        both models' scores as they move
  .venv/bin/tickwire sql                          the tables, and queries to paste
  curl -H "Authorization: Bearer {key}" {api}/v1/predictions/{symbol}
  .venv/bin/tickwire play PATH --speed 10         a recording of yours
  .venv/bin/tickwire doctor                       what works here, and what does not
Ctrl-C stops everything.
"""
KEY: Final = """
The page, with the key of this run: {api}/#key={key}
Programs show it as `Authorization: Bearer …`; `tickwire keys create` makes keys that last."""
NO_HISTORY_S: Final = 120.0
CAUGHT_UP_NS: Final = 3_000_000_000
QUIET_S: Final = 3.0
METRICS_PORT: Final = 9108
"""Wanted for the scoring process, the next one for delivery; others if they are taken."""


def run(settings: Settings, kind: str, *, fresh: bool, rebuild: bool = False) -> int:
    """Start, tell, wait; 0 after Ctrl-C."""
    if kind not in {*SOURCES, "none"}:
        raise SettingsError(f"--source: expected auto, sim, coinbase or none, was {kind!r}")
    console = plain(stderr=True)
    with Supervisor(settings.data, on_event=lambda what: console.log(what) if shown else None) as supervisor:
        shown: list[bool] = []
        supervisor.stop_on_signals()
        if fresh:
            supervisor.empty()
        if rebuild:
            from infra.recovery import ask_for_rebuild  # noqa: PLC0415

            ask_for_rebuild(settings.data)
        try:
            with key_of_run(settings):
                _Start(settings, supervisor, console).everything(kind)
                shown.append(True)
                supervisor.wait()
        except KeyboardInterrupt:
            console.print("\nstopping: writers first, the broker last")
    return 0


def model_at_hand(settings: Settings, console: Console, kind: str) -> bool:
    """Whether there is an ONNX model to score with; one that must not be used is put aside, and said.

    `ModelError` where it may be the device that is at fault: a new model would not change that.
    """
    from infra.composition import load_model, model_path  # noqa: PLC0415

    try:
        return load_model(settings) is not None
    except ModelError as error:
        if settings.models.provider != "cpu":
            raise
        path = model_path(settings)
        aside = path.replace(path.with_name(f"{path.name}.refused"))
        then = "a new one is trained" if kind != "none" else "the online model scores alone until `tickwire train`"
        console.print(
            Text(f"the model at hand is not used: {error}; its manifest is now {aside}; {then}", style="yellow")
        )
        return False


class _Start:
    def __init__(self, settings: Settings, supervisor: Supervisor, console: Console) -> None:
        self.settings, self.supervisor, self.console = settings, supervisor, console
        self.began = self.grown_at = time.monotonic()
        self.records = 0
        self.metrics_port = free_port(METRICS_PORT if settings.api.port else 0)
        self.hooks_port = free_port(self.metrics_port + 1 if settings.api.port else 0)

    def everything(self, kind: str) -> None:
        """Services, then the processes, history and a first model if there is none."""
        meanwhile = ThreadPoolExecutor(2)
        asked = meanwhile.submit(source_of, self.settings, kind)
        meanwhile.submit(import_module, "infra.training")  # a second and a half, while the services start
        embedded = self._services()
        self.settings = at(self.settings, embedded.as_dict() | {"api_port": str(free_port(self.settings.api.port))})
        services_s = time.monotonic() - self.began
        kind, why = asked.result()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            self._processes(kind, bar)
        self.supervisor.publish(
            {
                "kafka": self.settings.kafka.bootstrap, "log_file": str(self.settings.kafka.log_file or ""),
                "clickhouse_url": self.settings.clickhouse.url.get_secret_value(),
                "redis_url": self.settings.redis.url.get_secret_value(), "api_port": str(self.settings.api.port),
            }
        )  # fmt: skip
        self._tell(f"{kind}: {why}", services_s)

    def _services(self) -> Embedded:
        """The embedded ones that no setting replaces by a real server."""
        s = self.settings
        given = {
            KAFKA: s.kafka.bootstrap, REDIS: s.redis.url.get_secret_value(),
            CLICKHOUSE: s.clickhouse.url.get_secret_value(),
        }  # fmt: skip
        parts = ALL - {name for name, address in given.items() if address}
        topics = s.kafka.model_copy(update={"retention": s.kafka.retention or EMBEDDED_RETENTION})
        ports = WantedPorts(s.kafka.port, s.redis.port, s.clickhouse.port)
        return start_embedded(self.supervisor, ports, parts, topics, self._notice)

    def _notice(self, what: str) -> None:
        self.console.print(Text(what, style="bold yellow"))

    def _processes(self, kind: str, bar: Progress) -> None:
        from infra.composition import model_path  # noqa: PLC0415
        from infra.kafka import create_topics  # noqa: PLC0415

        create_topics(self.settings.kafka)
        training = not model_at_hand(self.settings, self.console, kind) and kind != "none"
        model_path(self.settings).with_name(NO_MODEL_YET).unlink(missing_ok=True)
        history_s = self.settings.models.history.total_seconds() if training else 0
        collect = [self._process("collect", "--source", kind, "--history", f"{history_s:g}")] if kind != "none" else []
        waiting = ["--wait-for-model", "180"] if training else []
        score = self._process("score", "--metrics-port", str(self.metrics_port), *waiting)
        self.supervisor.start(*collect, score, self._process("api", ready=self._answers("/healthz")))
        if training:
            self._train(bar)
        self.supervisor.start(self._process("news"), self._process("deliver", "--metrics-port", str(self.hooks_port)))
        if self.settings.nightly.at:
            self.supervisor.start(self._process("schedule"))
        self._await_rebuild()
        await_scoring(self._answers("/readyz"), self._scores(), bar)
        if self.settings.drift.watch:  # behind everything that a person waits for
            self.supervisor.start(self._process("watch-drift"))

    def _scores(self) -> Callable[[], Sequence[ScoreStatus]]:
        from redis import Redis  # noqa: PLC0415

        from infra.status import RedisStatus  # noqa: PLC0415

        return RedisStatus(Redis.from_url(self.settings.redis.url.get_secret_value(), socket_timeout=2)).scores

    def _await_rebuild(self) -> None:
        """Folding a long log again takes its time; it is over when its request is gone, or scoring was given up."""
        from infra.recovery import request_path  # noqa: PLC0415

        def given_up() -> bool:
            return any(each.service.name == "score" and each.phase == "failed" for each in self.supervisor.services())

        while request_path(self.settings.data).exists() and not given_up():
            time.sleep(0.1)

    def _train(self, bar: Progress) -> None:
        """Wait for the history, fold it, train the first model."""
        from infra.composition import model_path  # noqa: PLC0415
        from infra.training import train_from_log  # noqa: PLC0415

        task = bar.add_task("history is written to the log", total=None)
        while not self._caught_up():
            if time.monotonic() - self.grown_at > NO_HISTORY_S:
                raise BackendError(
                    f"nothing was written to the log for {NO_HISTORY_S:.0f} s; see collect.log in logs/ under the data directory"
                )
            time.sleep(0.05)
        try:
            train_from_log(
                self.settings, lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
            )
        except TrainingError as error:
            no_model = model_path(self.settings).with_name(NO_MODEL_YET)
            private_folder(no_model.parent)
            no_model.touch()
            told = f"no ONNX model yet: {error}. The online model scores alone; run `tickwire train` when there is more history"
            self.console.print(Text(f"{told}, then start again", style="yellow"))

    def _caught_up(self) -> bool:
        """The newest event is of now, or nothing has come for a while."""
        from infra.kafka_log import end_offsets, newest_event  # noqa: PLC0415

        records = sum(high for _, high in end_offsets(self.settings.kafka).values())
        if records != self.records:
            self.records, self.grown_at = records, time.monotonic()
        newest = newest_event(self.settings.kafka)
        recent = newest is not None and newest > time.time_ns() - CAUGHT_UP_NS
        return recent or (records > 0 and time.monotonic() - self.grown_at > QUIET_S)

    def _process(self, name: str, *arguments: str, ready: Callable[[], bool] | None = None) -> Service:
        import os  # noqa: PLC0415

        return Service(
            name=name,
            command=[sys.executable, "-m", "infra.cli", name, *arguments],
            ready=ready or (lambda: True),
            env={**os.environ, **environment(self.settings)},
            nice=NICE.get(name, 0),
        )

    def _answers(self, path: str) -> Callable[[], bool]:
        url = f"http://{self.settings.api.address}{path}"

        def ready() -> bool:
            try:
                return httpx2.get(url, timeout=2).status_code == httpx2.codes.OK
            except httpx2.TransportError:
                return False

        return ready

    def _tell(self, source: str, services_s: float) -> None:
        s, api = self.settings, f"http://{self.settings.api.address}"
        grid = Grid("service", "where", "pid", header_style="bold", title="tickwire")
        pids = {watched.service.name: str(watched.pid) for watched in self.supervisor.services()}
        for name, where in (
            ("kafka", s.kafka.bootstrap), ("redis", _bare(s.redis.url.get_secret_value())),
            ("clickhouse", _bare(s.clickhouse.url.get_secret_value())), ("score", "Bytewax: fold, score, store"),
            ("news", "Faust: news into signals"), ("deliver", "Faust: alerts to endpoints"), ("collect", source),
            ("watch-drift", "the champion: drift, trials, orders" if s.drift.watch else "not watched"), ("api", api),
            ("feed", f"ws://{s.api.address}/v1/stream"), ("page", f"{api}/"), ("metrics", f"{api}/metrics"),
            *(("", f"http://127.0.0.1:{port}/metrics") for port in (self.metrics_port, self.hooks_port)),
        ):  # fmt: skip
            grid.add_row(name, where, pids.get(name, ""))
        out = plain()
        out.print(grid)
        ready: dict[str, Any] = httpx2.get(f"{api}/readyz", timeout=5).json()
        symbols = httpx2.get(f"{api}/v1/symbols", headers=own_headers(s), timeout=5).json().get("data") or ["SYMBOL"]
        for score in ready.get("scores", []):
            models = ", ".join(f"{name} {id_}" for name, id_ in score["models"].items())
            out.print(f"models: {models}; ONNX on {score['provider'] or 'nothing yet'}; logs in {s.data / 'logs'}")
        out.print(f"services up after {services_s:.1f} s, scoring after {time.monotonic() - self.began:.1f} s")
        if key := read(s.data):
            out.print(KEY.format(api=api, key=key), soft_wrap=True, highlight=False)
        shown = f"$(cat {shlex.quote(str(s.data / FILE))})" if key else "$KEY"
        out.print(Text("\nNext", style="bold"), end="")
        out.print(NEXT.format(api=api, key=shown, symbol=symbols[0]), soft_wrap=True)


def _bare(url: str) -> str:
    """Without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
