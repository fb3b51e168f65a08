"""What the supervisor knows of one service."""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from infra.embedded.service import Process, Service

DEATHS: Final = 5
Phase: TypeAlias = Literal["running", "waiting", "held", "failed", "stopped"]


@dataclass
class Watched:
    """A service and what became of it; `waiting` is the pause before it is started again, `held` the wait for another one."""

    service: Service
    log: Path
    process: Process
    phase: Phase = "running"
    restarts: int = 0
    restart_at: float = 0.0
    broken: bool = False
    """Died, and was not mended since."""
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))

    @property
    def pid(self) -> int:
        return self.process.pid
