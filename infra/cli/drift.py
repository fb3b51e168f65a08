"""`tickwire watch-drift`: watch the model that scores, and have it trained again when it must be."""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass

import msgspec
import structlog

from infra.awaited import await_clickhouse, await_kafka
from infra.cli.processes import ready
from infra.drift import learn_reference, run_watch
from infra.kafka import create_topics
from infra.settings import Settings
from infra.stopping import Stop, ending
from models.drift import DriftRules
from schemas.drift import RetrainOrder, Verdict
from schemas.errors import SettingsError
from streams.drift_watch import WatchRules


@dataclass(frozen=True)
class CommandActions:
    """Programs that are given an order or a verdict as JSON on their standard input; an empty command is nobody.

    What `retrain` prints last is a JSON object, whose `challenger` names the model among the outcomes' scores. A program that
    fails has made nothing; that is said.
    """

    retrain_command: tuple[str, ...]
    promote_command: tuple[str, ...]

    def retrain(self, order: RetrainOrder) -> str:
        said = _told(self.retrain_command, msgspec.json.encode(order))
        try:
            found = json.loads((said or "{}").splitlines()[-1])
        except ValueError as error:
            structlog.get_logger().error("the training did not say what it made", reason=str(error))
            return ""
        return str(found.get("challenger", "")) if isinstance(found, dict) else ""

    def promote(self, verdict: Verdict) -> None:
        _told(self.promote_command, msgspec.json.encode(verdict))


def _told(command: tuple[str, ...], said: bytes) -> str:
    """Standard output; empty where there is no command or it failed."""
    if not command:
        return ""
    done = subprocess.run(command, input=said, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        structlog.get_logger().error("a command failed", command=shlex.join(command), status=done.returncode)
        return ""
    return done.stdout.decode().strip()


def run(
    settings: Settings, *, retrain: str, promote: str, learn_s: float, window_s: float, false_alarms: float, anew: bool
) -> None:
    """Watch until told to stop; with `learn_s` make the reference from what is stored, and end."""
    settings = ready(settings)
    if not 0 < false_alarms < 1:
        raise SettingsError(f"--false-alarms: expected a probability between 0 and 1, was {false_alarms}")
    await_clickhouse(settings)
    if learn_s:
        sys.stdout.write(f"{learn_reference(settings, learn_s, window_s)}\n")
        return
    await_kafka(settings)
    create_topics(settings.kafka)
    stop = Stop()
    stop.on_signals()
    actions = CommandActions(tuple(shlex.split(retrain)), tuple(shlex.split(promote)))
    rules = WatchRules(drift=DriftRules(false_alarms_per_day=false_alarms))
    with ending(stop):
        run_watch(settings, actions, stop.is_set, rules=rules, anew=anew)
