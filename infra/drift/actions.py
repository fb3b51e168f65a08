"""What follows from what the drift watch notices: by default a guarded training, and a promotion by policy; or programs."""

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

import msgspec
import structlog

from infra.access.audited import record_command
from infra.clickhouse import Database
from infra.clock import WallClock
from infra.drift.live import Live, live_models
from infra.drift.training import Spans, Training, nightly_child
from infra.log_identity import current_log
from infra.models.changes import ask, write_change
from infra.session_log import session_log
from infra.settings import Settings
from schemas.control import ModelChange
from schemas.drift import RetrainOrder, Verdict

Policy: TypeAlias = Literal["person", "verdict"]
BY: Final = "watch-drift"


class Actions(Protocol):
    """What follows from what is noticed. All may be called again with the same argument after a crash."""

    def retrain(self, order: RetrainOrder) -> str | None:
        """Carry the order on: the id of its challenger, empty where nothing came of it, None while it is under way."""

    def judged(self, verdict: Verdict) -> None:
        """A trial has ended."""

    def stop(self) -> None:
        """Leave what is under way; it is carried on after the next start."""


@dataclass(frozen=True)
class RunningLog:
    """`infra.drift.training.Log` of the services that `settings` name."""

    settings: Settings
    database: Database

    def spans(self, begin_ns: int, end_ns: int) -> tuple[str, Spans]:
        with session_log(self.settings) as log:
            return log.log_id, log.spans(begin_ns, end_ns)

    def live(self) -> Live:
        return live_models(self.settings, self.database, current_log(self.settings.kafka).log_id)

    def challenge(self, model: str, order: RetrainOrder) -> int:
        why = f"order {order.id}: {'; '.join(order.reasons)}"
        return ask(self.settings, ModelChange(action="challenge", model=model, by=BY, why=why[:1_000]))

    def change(self, action: Literal["promote", "retire"], model: str, why: str) -> None:
        """Say it on the log, once it is recorded."""
        record_command(self.settings, f"model {action}", model=model, by=BY)
        change = ModelChange(action=action, model=model, by=BY, why=why)
        write_change(self.settings.kafka, change, WallClock())

    def answer(self, asked_ns: int) -> str | None:
        found = self.database.rows(
            f"SELECT count(), max(refused) FROM `{self.settings.clickhouse.database}`.model_changes "  # noqa: S608
            "WHERE ts_event = fromUnixTimestamp64Nano({at:Int64})",
            {"at": asked_ns},
        ).rows
        ((count, refused),) = found
        return str(refused) if count else None


@dataclass(frozen=True)
class ByItself:
    """The default: orders train a challenger; a challenger that has lost is retired; one that has won is promoted by policy."""

    log: RunningLog
    training: Training | None
    """None where drift leads to no training."""
    policy: Policy = "person"

    @classmethod
    def of(cls, settings: Settings, database: Database, policy: Policy) -> "ByItself":
        """As the settings say."""
        log, drift = RunningLog(settings, database), settings.drift
        train_on_ns = round(drift.train_on.total_seconds() * 1e9)
        folder = (settings.data / "drift" / "orders").resolve()
        return cls(log, Training(folder, train_on_ns, log, nightly_child) if drift.retrain else None, policy)

    def retrain(self, order: RetrainOrder) -> str | None:
        return "" if self.training is None else self.training.step(order)

    def judged(self, verdict: Verdict) -> None:
        """A person decides what is undecided, and whatever the champion has changed since."""
        live, model = self.log.live(), verdict.challenger
        if verdict.kind == "reject" and model in live.challengers:
            self.log.change("retire", model, told(verdict))
        if verdict.kind != "promote" or live.serving == model:
            return
        if self.policy == "verdict" and live.serving == verdict.champion and model in live.challengers:
            self.log.change("promote", model, told(verdict))
        else:
            structlog.get_logger().warning(
                "a challenger has won; promoting it is up to you",
                run=f"tickwire models promote {model}",
                why=told(verdict),
            )

    def stop(self) -> None:
        if self.training is not None:
            self.training.stop()


def told(verdict: Verdict) -> str:
    """The evidence in one line, for the record."""
    bounds = (
        f"[{verdict.low:.5f}, {verdict.high:.5f}]" if verdict.low is not None and verdict.high is not None else "none"
    )
    return (
        f"{verdict.kind}: gain of log loss over {verdict.champion} {verdict.gain:.5f}, interval {bounds}, "
        f"{verdict.labels} labels in {verdict.blocks} blocks"
    )


@dataclass(frozen=True)
class Programs:
    """Programs that are given an order or a verdict as JSON on their standard input, in place of what is done by default.

    What `retrain` prints last is a JSON object, whose `challenger` names the model. A program that fails has made nothing;
    that is said. An empty one leaves it to `otherwise`.
    """

    retrain_command: Sequence[str]
    promote_command: Sequence[str]
    otherwise: Actions

    def retrain(self, order: RetrainOrder) -> str | None:
        if not self.retrain_command:
            return self.otherwise.retrain(order)
        said = _answer(self.retrain_command, msgspec.json.encode(order))
        try:
            found = json.loads((said or "{}").splitlines()[-1])
        except ValueError as error:
            structlog.get_logger().error("the training did not say what it made", reason=str(error))
            return ""
        return str(found.get("challenger", "")) if isinstance(found, dict) else ""

    def judged(self, verdict: Verdict) -> None:
        if self.promote_command and verdict.kind == "promote":
            _answer(self.promote_command, msgspec.json.encode(verdict))
        else:
            self.otherwise.judged(verdict)

    def stop(self) -> None:
        self.otherwise.stop()


def _answer(command: Sequence[str], said: bytes) -> str:
    """Standard output; empty where it failed."""
    done = subprocess.run(command, input=said, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        structlog.get_logger().error("a command failed", command=shlex.join(command), status=done.returncode)
        return ""
    return done.stdout.decode().strip()
