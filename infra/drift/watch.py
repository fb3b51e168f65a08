"""Watching whichever model serves by the log's word: waits for its reference, and goes over to another when that one serves."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import structlog

from infra.clickhouse import Database, connect
from infra.drift.actions import Actions
from infra.drift.live import Live, live_models
from infra.drift.process import DriftProcess, watched_model
from infra.drift.reference import NEEDED, learnt_if_enough, window_of
from infra.feature_rows import ClickHouseFeatureRows
from infra.kafka_writer import KafkaWriter
from infra.locks import locked
from infra.log_identity import current_log
from infra.settings import Settings
from schemas.errors import ModelError, RecoveryError
from streams.drift_watch import FeatureRows, Watched, WatchRules

SAVE_EVERY_S: Final = 5.0
LOOK_EVERY_S: Final = 10.0
IDLE_S: Final = 0.2


@dataclass
class Following:
    """Watches whichever model serves by the log's word."""

    settings: Settings
    database: Database
    writer: KafkaWriter
    actions: Actions | None
    rules: WatchRules
    stop: Callable[[], bool]
    anew: bool = False
    _said: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Until told to stop."""
        ordered: tuple[int, ...] = ()
        features = ClickHouseFeatureRows(self.database, self.settings.clickhouse.database)
        while (watched := self._awaited()) is not None:
            process = self._process(watched, features, ordered)
            self.anew = False
            self._say_once("watching", model=watched.id, window_s=watched.reference.window_ns / 1e9)
            try:
                self._until_another(process)
                process.save()
            finally:
                process.close()
            ordered = process.watch.standing.ordered

    def _process(self, watched: Watched, features: FeatureRows, ordered: tuple[int, ...]) -> DriftProcess:
        """A state that cannot be used is no reason not to watch: what was learnt is learnt anew, and that is said."""

        def made(*, anew: bool) -> DriftProcess:
            return DriftProcess(
                self.settings, watched, features, self.writer, self.live, self.actions, self.rules, anew, ordered
            )  # fmt: skip

        try:
            return made(anew=self.anew)
        except RecoveryError as error:
            structlog.get_logger().warning("watching begins anew", reason=str(error))
            return made(anew=True)

    def live(self) -> Live:
        """Who scores now."""
        return live_models(self.settings, self.database, current_log(self.settings.kafka).log_id)

    def _awaited(self) -> Watched | None:
        """The model that serves, once it has a reference; None where told to stop before."""
        while not self.stop():
            serving = self.live().serving
            try:
                watched = watched_model(self.settings, serving) if serving else None
                if watched is not None:
                    return watched
                self._learn(serving)
            except ModelError as error:
                self._say_once("the model that serves cannot be watched", serving, reason=str(error))
            self._rest()
        return None

    def _learn(self, serving: str) -> None:
        """The reference, once there is enough to learn it from."""
        if not serving:
            self._say_once("nothing to watch yet: no outcome of a model's prediction")
            return
        window_s = window_of(self.settings) / 1e9
        found = learnt_if_enough(self.settings, self.database, serving)
        if found < NEEDED:
            left = (NEEDED - found) * window_s / 60
            self._say_once(
                "no drift reference yet: it is learnt from live outcomes", model=serving, windows=NEEDED, window_s=window_s,
                minutes_left=left,
            )  # fmt: skip

    def _rest(self) -> None:
        began = time.monotonic()
        while not self.stop() and time.monotonic() - began < LOOK_EVERY_S:
            time.sleep(IDLE_S)

    def _say_once(self, what: str, model: str = "", **more: object) -> None:
        if what + model not in self._said:
            self._said.add(what + model)
            structlog.get_logger().info(what, model=model, **more)

    def _until_another(self, process: DriftProcess) -> None:
        saved = looked = time.monotonic()
        while not self.stop():
            if not process.turn():
                time.sleep(IDLE_S)
            now = time.monotonic()
            if now - saved > SAVE_EVERY_S:
                process.save()
                saved = now
            if now - looked > LOOK_EVERY_S:
                looked = now
                if not process.look():
                    return


def run_watch(
    settings: Settings, actions: Callable[[Database], Actions] | None, stop: Callable[[], bool], *, rules: WatchRules,
    anew: bool = False,
) -> None:  # fmt: skip
    """Watch the model that serves until `stop`; when another takes its place, watch that one."""
    database = connect(settings.clickhouse.url.get_secret_value())
    with closing(database), locked(settings.data / "locks", "drift", [], "drift"):
        made = None if actions is None else actions(database)
        Following(settings, database, KafkaWriter(settings.kafka), made, rules, stop, anew).run()
