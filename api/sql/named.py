"""A named query: its statement, its typed parameters and an example, declared once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from api.sql.ports import Value
from api.times import from_rfc3339

MAX_TEXT: Final = 200
MAX_INTEGER: Final = 2**63 - 1
Type: TypeAlias = Literal["text", "integer", "time"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; in the statement text is a `String`, the others are an `Int64` (a time in ns since 1970)."""

    name: str
    type: Type
    description: str
    example: Value
    default: Value | None = None
    """None where it must be given."""

    def parsed(self, value: object) -> Value:
        """The value as the database takes it. Raises: `ValueError` that says what was expected."""
        if self.type == "integer":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
                raise ValueError(f"expected an integer of 0 to {MAX_INTEGER}, found {_shown(value)}")
            return value
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise ValueError(f"expected text of at most {MAX_TEXT} characters, found {_shown(value)}")
        return from_rfc3339(value) if self.type == "time" else value


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A statement that everybody may run who may read; `{name:Type}` in it are its parameters."""

    name: str
    description: str
    sql: str
    parameters: Sequence[Parameter] = ()

    @property
    def example(self) -> Mapping[str, Value]:
        """Parameters with which it can be tried."""
        return {one.name: one.example for one in self.parameters}

    def bound(self, given: Mapping[str, Any]) -> tuple[Mapping[str, Value], Mapping[str, str]]:
        """The values to run it with, and what is wrong with those that are given, by name."""
        values: dict[str, Value] = {}
        wrong: dict[str, str] = {}
        known = {one.name: one for one in self.parameters}
        for name in given.keys() - known.keys():
            wrong[name] = f"{self.name} has no such parameter; it has {', '.join(known) or 'none'}"
        for name, parameter in known.items():
            value = given.get(name, parameter.default)
            if value is None:
                wrong[name] = f"expected {parameter.type}, such as {parameter.example!r}: {parameter.description}"
                continue
            try:
                values[name] = parameter.parsed(value)
            except ValueError as error:
                wrong[name] = str(error)
        return values, wrong


def _shown(value: object) -> str:
    return repr(value)[:60]
