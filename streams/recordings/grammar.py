"""The grammar of a headerless CSV row: strict, one regular expression, with a word on what does not fit."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

WHOLE: Final = (r"\d{1,15}", "digits")
MILLISECONDS: Final = (r"\d{1,8}(?:\.\d{1,9})?", "milliseconds since midnight")
DECIMAL: Final = (r"\d{1,12}(?:\.\d{1,12})?", "a decimal number")
LETTER: Final = (r"[A-Z]?", "one capital letter or nothing")
HEX: Final = (r"[0-9A-Fa-f]{0,8}", "up to 8 hexadecimal digits")
FLAG: Final = (r"[01]", "0 or 1")


@dataclass(frozen=True)
class Grammar:
    """Columns by name, each with its pattern and what the pattern means.

    >>> Grammar("pair", (("price", WHOLE), ("sign", FLAG))).explain(b"12,x")
    "column 2 (sign): expected 0 or 1, found 'x'"
    """

    name: str
    columns: Sequence[tuple[str, tuple[str, str]]]
    match: Callable[[bytes], Any] = field(init=False, repr=False, compare=False)
    """The row's columns as groups of a match, or none."""

    def __post_init__(self) -> None:
        pattern = ",".join(f"({pattern})" for _, (pattern, _) in self.columns)
        object.__setattr__(self, "match", re.compile(pattern.encode() + rb"\r?").fullmatch)

    def explain(self, line: bytes) -> str:
        """Why the row does not match."""
        cells = line.rstrip(b"\r").split(b",")
        if len(cells) != len(self.columns):
            names = ", ".join(name for name, _ in self.columns)
            return f"expected {len(self.columns)} columns ({names}), found {len(cells)}"
        for number, (cell, (name, (pattern, meaning))) in enumerate(zip(cells, self.columns, strict=True), 1):
            if re.fullmatch(pattern.encode(), cell) is None:
                return f"column {number} ({name}): expected {meaning}, found {cell[:40].decode(errors='replace')!r}"
        return "the row does not fit"
