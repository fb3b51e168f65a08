"""`tickwire watch-drift`: watch the model that serves, and have it trained again when it must be."""

import shlex
import sys
from contextlib import closing
from datetime import timedelta

from pydantic import ValidationError

from infra.awaited import await_clickhouse, await_kafka
from infra.cli.processes import ready
from infra.clickhouse import Database, connect
from infra.drift.actions import Actions, ByItself, Programs
from infra.drift.live import live_models
from infra.drift.reference import learn_reference
from infra.drift.watch import run_watch
from infra.kafka import create_topics
from infra.log_identity import current_log
from infra.settings import Drift, Settings
from infra.stopping import Stop, ending
from infra.tables import create_tables
from models.drift import DriftRules
from processors.features import FEATURE_NAMES
from schemas.errors import ModelError, SettingsError
from streams.drift_watch import WatchRules


def chosen(settings: Settings, *, promotion: str, window_s: float, false_alarms: float) -> Settings:
    """The settings with what the options say; `SettingsError` for what cannot be."""
    told = settings.drift.model_dump()
    told |= {"promotion": promotion} if promotion else {}
    told |= {"window": timedelta(seconds=window_s)} if window_s else {}
    told |= {"false_alarms_per_day": false_alarms} if false_alarms else {}
    try:
        return settings.model_copy(update={"drift": Drift.model_validate(told)})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise SettingsError(f"--{'-'.join(map(str, wrong['loc']))}: {wrong['msg']}, was {wrong['input']!r}") from error


def run(settings: Settings, *, retrain: str, promote: str, learn_s: float, anew: bool) -> None:
    """Watch until told to stop; with `learn_s` make the reference from what is stored, and end."""
    settings = ready(settings)
    await_clickhouse(settings)
    await_kafka(settings)
    if learn_s:
        sys.stdout.write(f"{_learnt(settings, learn_s)}\n")
        return
    create_topics(settings.kafka)
    stop = Stop()
    stop.on_signals()

    def actions(database: Database) -> Actions:
        create_tables(database, settings.clickhouse.database, FEATURE_NAMES)  # we may be here before scoring is
        by_itself = ByItself.of(settings, database, settings.drift.promotion)
        return Programs(shlex.split(retrain), shlex.split(promote), by_itself)

    rules = WatchRules(drift=DriftRules(false_alarms_per_day=settings.drift.false_alarms_per_day))
    with ending(stop):
        run_watch(settings, actions, stop.is_set, rules=rules, anew=anew)


def _learnt(settings: Settings, seconds: float) -> str:
    with closing(connect(settings.clickhouse.url.get_secret_value())) as database:
        serving = live_models(settings, database, current_log(settings.kafka).log_id).serving
        if not serving:
            raise ModelError("expected a model that serves, found no outcome of any; let `tickwire score` run with one")
        return str(learn_reference(settings, database, serving, seconds))
