"""In which form an answer is wanted."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from api.problems import Problem

FileKind: TypeAlias = Literal["csv", "arrow", "parquet"]
FILES: Final[Mapping[str, FileKind]] = {
    "text/csv": "csv",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.parquet": "parquet",
}
JSON: Final = "application/json"


def wanted(accept: str) -> str:
    """The first media type of `accept` that we have; its weights are not looked at. Raises: `Problem` not-acceptable."""
    asked = [part.partition(";")[0].strip().lower() for part in accept.split(",") if part.strip()] or ["*/*"]
    for one in asked:
        if one in ("*/*", "application/*", JSON):
            return JSON
        if one in FILES:
            return one
        if one == "text/*":
            return "text/csv"
    raise Problem("not-acceptable", f"expected {', '.join((JSON, *FILES))}, found {accept[:200]}")
