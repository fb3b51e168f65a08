"""What every route says of a part of a request that it cannot use."""

from api.problems import FieldError, Problem
from api.times import from_rfc3339


def invalid(where: str, message: str) -> Problem:
    """The refusal of one part, such as `query.start` or `body`."""
    return Problem("invalid-request", f"{where}: {message}", errors=[FieldError(where=where, message=message)])


def time_of(where: str, text: str) -> int:
    """A time in ns since the Unix epoch. Raises: `Problem` invalid-request."""
    try:
        return from_rfc3339(text)
    except ValueError as error:
        raise invalid(where, str(error)) from error
