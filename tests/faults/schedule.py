"""When what is killed: a list made of a seed alone, so that a run can be repeated."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

EMBEDDED: Final[Mapping[str, float]] = {
    "score": 22, "clickhouse": 18, "redis": 12, "generator": 12, "api": 6, "news": 6, "several": 12, "recovery": 9,
    "failpoint": 3,
}  # fmt: skip
KAFKA3: Final[Mapping[str, float]] = {**EMBEDDED, "broker": 14, "everything": 4}
OURS: Final = ("score", "api", "news")
SERVICES: Final = ("clickhouse", "redis")
FAILPOINTS: Final = (
    "sink.before_insert:kill@{n}", "sink.after_insert:kill@{n}", "topics.before_flush:kill@{few}",
    "topics.after_flush:kill@{few}", "latest.before_write:kill@{many}",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One kill: who dies together, and after how many seconds the first of them dies again while it recovers."""

    kind: str
    victims: tuple[str, ...]
    after_s: float
    """Of undisturbed work, before."""
    again_after_s: float | None = None
    failpoint: str = ""
    """`FP` of the scoring process, which kills itself there."""

    @property
    def kills(self) -> int:
        """Moments at which something is killed."""
        return 1 if self.again_after_s is None else 2


def schedule(seed: int, kills: int, weights: Mapping[str, float], brokers: int = 0) -> list[Step]:
    """Steps that make exactly so many kills."""
    rng = Random(f"{seed} {kills} {sorted(weights)}")
    steps: list[Step] = []
    left = kills
    while left > 0:
        kind = rng.choices(list(weights), list(weights.values()))[0]
        if kind == "recovery" and left < 2:
            continue
        step = _step(kind, rng, brokers)
        steps.append(step)
        left -= step.kills
    return steps


def _step(kind: str, rng: Random, brokers: int) -> Step:
    after_s = rng.uniform(0.2, 1.5)
    if kind == "several":
        ours, services = rng.sample(OURS, rng.randint(1, 3)), rng.sample(SERVICES, rng.randint(0, 2))
        if len(ours) + len(services) < 2:
            services = ["clickhouse"]
        return Step(kind, tuple(ours + services), after_s)
    if kind == "recovery":
        again = rng.choice(("score", "score", "clickhouse"))
        return Step(kind, (again,), after_s, again_after_s=rng.uniform(0.2, 2.0))
    if kind == "broker":
        return Step(kind, (f"broker{rng.randrange(brokers)}",), after_s)
    if kind == "everything":
        return Step(kind, ("up", *OURS, *SERVICES), after_s)
    if kind == "failpoint":
        n, few, many = rng.randint(1, 60), rng.randint(1, 20), rng.randint(20, 300)
        return Step(kind, ("score",), after_s, failpoint=rng.choice(FAILPOINTS).format(n=n, few=few, many=many))
    return Step(kind, (kind,), after_s)
