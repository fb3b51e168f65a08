"""A limiter as a count."""

from collections import Counter
from dataclasses import dataclass, field

from api.access.ports import Allowance


@dataclass
class Count:
    """`Limiter`: so many of each kind for each caller, and never more."""

    most: int
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def close(self) -> None:
        pass

    async def hit(self, who: str, kind: str) -> Allowance:
        self.hits[who, kind] += 1
        left = self.most - self.hits[who, kind]
        return Allowance(
            kind=kind, allowed=left >= 0, limit=self.most, window_s=60, remaining=max(0, left), reset_s=12.3
        )
