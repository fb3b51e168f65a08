"""How a route declares its scope, and the check that every route has."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from re import Pattern
from typing import Any, Final

from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection
from starlette.routing import compile_path

from api.access.gate import Gate
from api.access.scopes import OPEN, SCOPES
from schemas.errors import AccessError

PER_CHANNEL: Final = "per channel"
"""What the feed's door declares: each channel has its own scope."""


@dataclass(frozen=True)
class Needs:
    """A dependency that lets only callers with the scope reach the route."""

    scope: str

    def __post_init__(self) -> None:
        if self.scope not in {*SCOPES, OPEN, PER_CHANNEL}:
            raise AccessError(f"expected one of the scopes {', '.join(SCOPES)}, or {OPEN}; was {self.scope!r}")

    async def __call__(self, connection: HTTPConnection) -> None:
        """Raises: `Problem`."""
        if self.scope != PER_CHANNEL:
            gate: Gate = connection.app.state.gate
            await gate.admit(connection, self.scope)


def needs(scope: str) -> Any:
    """For `dependencies=[…]` of a router or a route."""
    return Depends(Needs(scope))


@dataclass(frozen=True, slots=True)
class Declared:
    """A route and its scope; `methods` is empty for a WebSocket. `path` is as in the API's description."""

    path: str
    methods: frozenset[str]
    scope: str
    pattern: Pattern[str]


def declarations(app: FastAPI) -> Iterator[Declared]:
    """The scope of every route. Raises: `AccessError` for a route that has not exactly one: nobody would be kept out."""
    for route in iter_route_contexts(app.routes):
        path = route.path or "?"
        scopes = set(_declared(route.dependencies)) if hasattr(route, "dependencies") else set()
        if path == app.openapi_url:  # FastAPI's own, and it takes no dependencies
            scopes = {OPEN}
        if len(scopes) != 1:
            raise AccessError(
                f"route {path}: expected one declared scope, found {sorted(scopes) or 'none'}; give its router or the route "
                "dependencies=[needs(…)] with a scope of api.access.scopes"
            )
        pattern, template, _ = compile_path(path)
        yield Declared(template, frozenset(route.methods or ()), scopes.pop(), pattern)


def methods_of(declared: Iterable[Declared], path: str) -> list[str]:
    """Every method of this path, sorted: the framework asks only the first route that fits. What is named beats a parameter."""
    fitting = [each for each in declared if each.pattern.match(path)]
    named = [each for each in fitting if each.path == path]
    return sorted({method for each in named or fitting for method in each.methods})


def _declared(dependencies: Iterable[Any]) -> Iterator[str]:
    return (each.dependency.scope for each in dependencies if isinstance(each.dependency, Needs))
