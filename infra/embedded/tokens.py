"""ClickHouse's lexer, as far as the HTTP interface needs it: where comments, quotes and words begin and end.

The text is bytes decoded as latin-1, so that a position in it is a position in the bytes (data in any format may follow a
statement). Follows src/Parsers/Lexer.cpp of engine 26.9; tests compare it with the engine itself.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias, cast

Kind: TypeAlias = Literal["word", "quoted", "string", "number", "sign"]


class Token(NamedTuple):
    """A piece of a statement that is neither white space nor comment; `text` is as it was written, quotes included."""

    kind: Kind
    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """What a word or a quoted identifier names, in lower case; empty for the rest."""
        if self.kind == "word":
            return self.text.lower()
        if self.kind == "quoted":
            return self.text.strip('"`' + "".join(_CURLY_QUOTES)).lower()
        return ""


class LexicalError(ValueError):
    """A quote or a comment that never ends; `position` is where it begins."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


_CURLY_QUOTES: Final = ("\xe2\x80\x9c", "\xe2\x80\x9d")  # “ and ” in UTF-8, read as latin-1
_LEXER: Final = re.compile(
    r"""
      (?P<space>   [\s\0]+ | (?:--|//)[^\n]* | \#[ !][^\n]* )
    | (?P<comment> /\* )
    | (?P<string>  '(?:[^'\\]|\\.|'')*' | \xe2\x80\x98.*?\xe2\x80\x99 | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<quoted>  "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` | \xe2\x80\x9c.*?\xe2\x80\x9d )
    | (?P<word>    [A-Za-z_$][A-Za-z0-9_$]* )
    | (?P<number>  [0-9]+ )
    | (?P<open>    ['"`] | \xe2\x80[\x98\x9c] )
    | (?P<sign>    . )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_COMMENT_MARK: Final = re.compile(r"/\*|\*/")


def tokens(text: str) -> Iterator[Token]:
    """The tokens of `text`, lazily: what follows the last one taken is never looked at.

    Raises LexicalError for a quote or a comment that never ends.
    """
    position = 0
    while match := _LEXER.match(text, position):
        kind, position = match.lastgroup, match.end()
        if kind == "comment":
            position = _end_of_comment(text, match.start())
        elif kind == "open":
            raise _never_closed(match.group(), match.start())
        elif kind != "space":
            yield Token(cast(Kind, kind), match.group(), match.start(), match.end())


def _end_of_comment(text: str, start: int) -> int:
    """Comments nest: each `/*` inside wants its own `*/`."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    raise _never_closed("/*", start)


def _never_closed(what: str, position: int) -> LexicalError:
    return LexicalError(f"{what} at position {position + 1} is never closed", position)
