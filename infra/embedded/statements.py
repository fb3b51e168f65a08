"""What one request asks for: the statement's text, its format, and where the data of an INSERT begins."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from infra.embedded.answers import NOT_IMPLEMENTED, SYNTAX_ERROR, EngineError
from infra.embedded.tokens import LexicalError, Token, tokens

Kind: TypeAlias = Literal["insert", "rows", "other"]
"""An INSERT with its data behind it; a statement that answers with rows; any other."""

ANSWERS_WITH_ROWS: Final = frozenset(
    ["select", "with", "show", "desc", "describe", "exists", "explain", "check", "kill", "from", "values", "("]
)
STREAMED: Final = frozenset(["select", "with", "from", "("])
"""What may be answered block by block."""
_NAME_FOLLOWS: Final = frozenset(["insert", "into", "table", "function", "."])
_QUERY_BEGINS: Final = frozenset(["select", "with", "from", "watch", "explain"])


@dataclass(frozen=True)
class Statement:
    """One statement; `tokens` are those of its text only, never of data."""

    kind: Kind
    text: str
    tokens: Sequence[Token] = field(repr=False)
    format: str | None = None
    streamable: bool = False


def parse_query(raw: bytes) -> Statement:
    """A statement that brings no data.

    Raises EngineError with ClickHouse's code 62 for an empty query, an open quote, and more than one statement.
    """
    found = _one_statement(_all_tokens(raw))
    if not found:
        raise EngineError(SYNTAX_ERROR, "Empty query")
    text = _decoded(raw[: found[-1].end])
    first = found[0].text.lower()
    if _names(found, "kill", "query"):
        text = _by_client_query_id(raw, found)
    rows = first in ANSWERS_WITH_ROWS and not (first == "with" and any(token.name == "insert" for token in found))
    return Statement("rows" if rows else "other", text, found, _format_of(found), rows and first in STREAMED)


def parse_insert(raw: bytes) -> tuple[Statement, int] | None:
    """An INSERT with data behind it, and where in `raw` the data begins; None for every other statement.

    The statement's text comes without its FORMAT or VALUES clause. `raw` may end anywhere in the data.
    """
    seen: list[Token] = []
    depth = 0
    try:
        for token in tokens(raw.decode("latin-1")):
            if not seen and token.text.lower() != "insert":
                return None
            if seen and _begins_a_query(token, seen[-1]):
                _refuse_input_function(raw)
                return None
            depth += _nesting(token)
            if depth == 0 and token.kind == "word" and _is_format_of(seen):
                return _insert(raw, seen[:-1], token.text), token.end + _gap(raw, token.end)
            if depth == 0 and token.text.lower() == "values" and not _is_a_name(seen):
                return _insert(raw, seen, "Values"), token.end
            seen.append(token)
    except LexicalError as error:
        raise EngineError(SYNTAX_ERROR, f"Syntax error: {error}") from error
    return (_insert(raw, seen, None), len(raw)) if seen else None


def around_data(statement: Statement) -> tuple[str, str]:
    """An INSERT cut where ClickHouse wants its FROM INFILE: in front of a SETTINGS clause, which is empty where none is."""
    depth = 0
    for before, token in pairwise(statement.tokens):
        depth += _nesting(before)
        if depth == 0 and token.kind == "word" and token.name == "settings" and before.name not in _NAME_FOLLOWS:
            raw = statement.text.encode()
            return _decoded(raw[: token.start]), _decoded(raw[token.start :])
    return statement.text, ""


def _is_format_of(before: Sequence[Token]) -> bool:
    """Whether what follows `before` is the name of a format."""
    return bool(before) and before[-1].text.lower() == "format" and not _is_a_name(before[:-1])


def _insert(raw: bytes, found: Sequence[Token], input_format: str | None) -> Statement:
    return Statement("insert", _decoded(raw[: found[-1].end]), tuple(found), input_format)


def _gap(raw: bytes, start: int) -> int:
    """White space between FORMAT and data: up to the end of the line, or all there is where no line ends."""
    rest = raw[start : start + 4096].decode("latin-1")
    line = re.match(r"[ \t\f]*;?[ \t\f]*\r?\n", rest)
    if line:
        return line.end()
    blank = re.match(r"[ \t\f;]*", rest)
    return blank.end() if blank else 0


def _begins_a_query(token: Token, before: Token) -> bool:
    """`INSERT INTO t SELECT …`, `INSERT INTO t (SELECT …)`; a column named `with` stands behind a name or a comma."""
    return token.kind == "word" and token.name in _QUERY_BEGINS and before.text.lower() not in _NAME_FOLLOWS | {","}


def _is_a_name(before: Sequence[Token]) -> bool:
    """Whether what follows `before` is the name of a table, whatever word it is."""
    return not before or before[-1].text.lower() in _NAME_FOLLOWS


def _refuse_input_function(raw: bytes) -> None:
    found = _all_tokens(raw)
    if any(token.name == "input" and after.text == "(" for token, after in pairwise(found)):
        raise EngineError(
            NOT_IMPLEMENTED,
            "INSERT … SELECT … FROM input() is not served by the embedded engine, which would insert no row and say "
            "nothing; insert into the table directly (INSERT INTO t FORMAT …), or into a table with a materialized view",
        )


def _all_tokens(raw: bytes) -> list[Token]:
    try:
        return list(tokens(raw.decode("latin-1")))
    except LexicalError as error:
        raise EngineError(SYNTAX_ERROR, f"Syntax error: {error}") from error


def _one_statement(found: list[Token]) -> list[Token]:
    while found and found[-1].text == ";":
        found.pop()
    for token in found:
        if token.text == ";":
            raise EngineError(
                SYNTAX_ERROR, f"Syntax error (Multi-statements are not allowed): failed at position {token.end} (;)"
            )
    return found


def _format_of(found: Sequence[Token]) -> str | None:
    """The name in a FORMAT clause at the end, or before a SETTINGS clause."""
    depth = 0
    for index in range(len(found) - 1, 0, -1):
        depth += _nesting(found[index])
        before, token = found[index - 1], found[index]
        if depth == 0 and before.kind == "word" and before.name == "format" and token.kind == "word":
            behind = found[index + 1].name if index + 1 < len(found) else ""
            if behind in ("", "settings") and (index < 2 or found[index - 2].name not in (",", ".", "by")):
                return token.text
    return None


def _by_client_query_id(raw: bytes, found: Sequence[Token]) -> str:
    """KILL QUERY by the id the client gave: the engine has its own ids, ours is kept in `log_comment`."""
    text, at = b"", 0
    for token in found:
        if token.name == "query_id":
            text, at = text + raw[at : token.start] + b"Settings['log_comment']", token.end
    return _decoded(text + raw[at : found[-1].end])


def _names(found: Sequence[Token], *words: str) -> bool:
    return tuple(token.name for token in found[: len(words)]) == words


def _nesting(token: Token) -> int:
    return {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token.text, 0)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise EngineError(SYNTAX_ERROR, f"Syntax error: the statement is not UTF-8 at byte {error.start}") from error
