"""Carrying out one order: the nightly training over the stretch since the drift, as a child, and its model as a challenger.

What was decided is written down before it is done: started again after a kill, an order goes on with the same stretch, and the
same stretch makes the same model. A model that is a challenger already is not challenged again.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog
from msgspec import Struct

from infra.drift.live import Live
from infra.embedded.service import WRAPPER
from infra.nightly.child import nightly_command
from infra.nightly.plan import replaced
from infra.nightly.run import REPORT
from schemas.drift import RetrainOrder
from schemas.errors import ModelError

Spans = dict[int, tuple[int, int]]
AGAIN_AFTER_S: Final = 60.0
"""Before a training is tried again that found its matrix held by another process."""
FINAL: Final = frozenset({0, 1})
"""Exit statuses that trying again does not change: done, and records that fail their checks."""
TRIES: Final = 4
TRY_AGAIN_AFTER_S: Final = 900.0
"""Before a training is tried again that could not be done: a backend was gone, or the child was killed."""
ANSWER_WITHIN_NS: Final = 86_400_000_000_000
"""A day: a challenge that was asked for on a log that was made anew since is never answered."""
STOP_WITHIN_S: Final = 1.0
"""A child that does not end by itself is killed: what it had finished is on disk."""
NICE: Final = ("nice", "-n", "10")
"""Scoring comes first."""


class Carried(Struct, frozen=True, kw_only=True):
    """How far an order is. Times are our clock's; `model`: what the training made; `asked_ns`: of the control event."""

    order: RetrainOrder
    begin_ns: int
    until_ns: int
    log_id: str = ""
    spans: dict[int, tuple[int, int]] = {}
    model: str = ""
    asked_ns: int = 0


class Log(Protocol):
    """What an order needs of the running system."""

    def spans(self, begin_ns: int, end_ns: int) -> tuple[str, Spans]:
        """The log's id, and the offsets of what the broker took between these times."""

    def live(self) -> Live:
        """Who scores now."""

    def challenge(self, model: str, order: RetrainOrder) -> int:
        """Ask for it on the log; the time of that event."""

    def answer(self, asked_ns: int) -> str | None:
        """Why the fold refused the change, empty where it took it, None where it has not come to it yet."""


@dataclass
class Training:
    """One order. `step` does what can be done now and never waits long."""

    folder: Path
    train_on_ns: int
    log: Log
    command: Callable[[Carried, Path], list[str]]
    now_ns: Callable[[], int] = time.time_ns
    _child: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _not_before: float = field(default=0.0, init=False)
    _failed: int = field(default=0, init=False)
    """Tries in a row that could not be done."""

    def step(self, order: RetrainOrder) -> str | None:
        """The challenger; empty where nothing came of the order, which was said; None while it is being carried out."""
        carried = self._carried(order)
        if carried.model:
            return self._challenged(carried)
        if not carried.spans:
            if self.now_ns() < carried.until_ns:
                return None
            log_id, spans = self.log.spans(carried.begin_ns, carried.until_ns)
            if not spans:
                return self._nothing("nothing came in the order's stretch", carried)
            carried = self._kept(msgspec.structs.replace(carried, log_id=log_id, spans=spans))
        return self._trained(carried)

    def stop(self) -> None:
        """Let the child end; the order is carried on by whoever is started next."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._child = None

    def _carried(self, order: RetrainOrder) -> Carried:
        path = self._path(order)
        if path.exists():
            return msgspec.json.decode(path.read_bytes(), type=Carried)
        begin_ns = self.now_ns() - (order.ts_event - order.since)
        carried = self._kept(Carried(order=order, begin_ns=begin_ns, until_ns=begin_ns + self.train_on_ns))
        structlog.get_logger().info(
            "training waits for its stretch", order=order.id, minutes=round((carried.until_ns - self.now_ns()) / 60e9)
        )
        return carried

    def _kept(self, carried: Carried) -> Carried:
        replaced(self._path(carried.order), msgspec.json.encode(carried))
        return carried

    def _path(self, order: RetrainOrder) -> Path:
        return self.folder / f"{order.id}.json"

    def _trained(self, carried: Carried) -> str | None:
        """Start the child, or look what became of it."""
        if time.monotonic() < self._not_before:
            return None
        said = self.folder / f"{carried.order.id}.said"
        if self._child is None:
            with said.open("wb") as out:
                self._child = subprocess.Popen(
                    self.command(carried, self._matrix(carried)), stdin=subprocess.DEVNULL, stdout=out
                )
            return None
        code = self._child.poll()
        if code is None:
            return None
        self._child = None
        if self._again(code, carried):
            return None
        kept = _last_object(said).get("kept") if code == 0 else None
        if not isinstance(kept, dict) or not kept.get("model_id"):
            return self._nothing("the training made no model", carried, status=code)
        if kept.get("fault"):
            self._say("the registry does not have the model", carried, reason=kept["fault"])
        carried = self._kept(msgspec.structs.replace(carried, model=str(kept["model_id"])))
        return self._challenged(carried)

    def _again(self, code: int, carried: Carried) -> bool:
        """Whether the child is started once more, after a pause."""
        if code == os.EX_TEMPFAIL:
            self._not_before = time.monotonic() + AGAIN_AFTER_S
            return True
        self._failed = 0 if code in FINAL else self._failed + 1
        if not 0 < self._failed < TRIES:
            self._failed = 0
            return False
        self._not_before = time.monotonic() + TRY_AGAIN_AFTER_S
        self._say("the training is tried again", carried, status=code, after_s=TRY_AGAIN_AFTER_S)
        return True

    def _challenged(self, carried: Carried) -> str | None:
        """The model, once the fold has taken it as a challenger."""
        self._tidy(carried)
        live = self.log.live()
        if carried.model in live.challengers:
            return carried.model
        if carried.model == live.serving:
            return self._nothing("the training made the model that serves", carried)
        if not carried.asked_ns:
            return self._ask(carried)
        refused = self.log.answer(carried.asked_ns)
        if refused:
            return self._nothing("the challenger was refused", carried, reason=refused)
        if refused is None:
            waited_ns = self.now_ns() - carried.asked_ns
            return None if waited_ns < ANSWER_WITHIN_NS else self._nothing("nobody answered to the challenger", carried)
        if carried.model in self.log.live().challengers:  # it was taken since we looked
            return carried.model
        return self._nothing("the challenger was taken, and scores no longer", carried)

    def _ask(self, carried: Carried) -> str | None:
        try:
            asked_ns = self.log.challenge(carried.model, carried.order)
        except ModelError as error:
            return self._nothing("the challenger cannot score", carried, reason=str(error))
        self._kept(msgspec.structs.replace(carried, asked_ns=asked_ns))
        return None

    def _tidy(self, carried: Carried) -> None:
        """The report stays; the matrix can be made again."""
        matrix = self._matrix(carried)
        if matrix.exists():
            if (
                matrix / REPORT
            ).exists():  # not where we were killed while throwing it away, or where no checks were made
                shutil.copyfile(matrix / REPORT, self.folder / f"{carried.order.id}.md")
            shutil.rmtree(matrix)

    def _nothing(self, what: str, carried: Carried, **more: object) -> str:
        """End the order: nothing came of it."""
        self._tidy(carried)
        self._say(what, carried, **more)
        return ""

    def _matrix(self, carried: Carried) -> Path:
        return self.folder / f"{carried.order.id}.matrix"

    @staticmethod
    def _say(what: str, carried: Carried, **more: object) -> None:
        structlog.get_logger().warning(what, order=carried.order.id, model=carried.model, **more)


def nightly_child(carried: Carried, matrix: Path) -> list[str]:
    """`tickwire nightly` over the order's stretch, which ends with us."""
    wanted = [*nightly_command(carried.spans, as_json=True), "--into", str(matrix), "--log", carried.log_id]
    return [*NICE, sys.executable, "-I", "-S", str(WRAPPER), str(os.getpid()), *wanted]


def _last_object(path: Path) -> dict[str, Any]:
    lines = path.read_text().strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
