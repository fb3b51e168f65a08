"""Free SQL: what a user says is parsed, judged, and said again in our words; theirs never reach the engine.

Three walls, each of which refuses what it does not know: every node of the tree (`infra.sql.shapes`), every table and
function by name, and, because parser and engine might read one text in two ways, every token of the text that is sent, by
the engine's own lexer. Behind them are `readonly`, the limits, the engine's grants and the kernel's sandbox.
"""

import difflib
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sqlglot import exp
from sqlglot.dialects.clickhouse import ClickHouse
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.parsers.clickhouse import ClickHouseParser

from infra.embedded.tokens import LexicalError, Token, tokens
from infra.sql.shapes import CALLS, refuse_foreign
from infra.sql.vocabulary import FUNCTIONS, INTERVALS, KEYWORDS, SIGNS, TYPES
from schemas.errors import QueryRefused

MAX_BYTES: Final = 16_384
MAX_TOKENS: Final = 1_500
"""To parse so many takes a tenth of a second, in which the feed waits for the interpreter."""
MAX_DEPTH: Final = 24
"""Parentheses within parentheses."""
_NESTING: Final = {"(": 1, "[": 1, "{": 1, "case": 1, ")": -1, "]": -1, "}": -1, "end": -1}
SELECTS: Final = (exp.Select, exp.Union, exp.Intersect, exp.Except, exp.Subquery)
_FUNCTIONS: Final = frozenset(name.lower() for name in FUNCTIONS)
_WORDS: Final = frozenset(word.lower() for word in KEYWORDS | TYPES | INTERVALS)
_BLANK: Final = re.compile(r"\s*\Z", re.ASCII)
_EXPONENT: Final = re.compile(r"[eE][0-9]*", re.ASCII)
logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of statements that are refused here


class _Plain(ClickHouse):
    """ClickHouse's grammar, in which every function is only a name with arguments and goes out as it came in."""

    class Parser(ClickHouseParser):
        FUNCTIONS = {}  # noqa: RUF012
        FUNCTION_PARSERS = {"CAST": ClickHouseParser.FUNCTION_PARSERS["CAST"]}  # noqa: RUF012
        NO_PAREN_FUNCTIONS = {}  # noqa: RUF012
        NO_PAREN_FUNCTION_PARSERS = {"CASE": ClickHouseParser.NO_PAREN_FUNCTION_PARSERS["CASE"]}  # noqa: RUF012


@dataclass(frozen=True)
class Guard:
    """What free SQL may read: tables of one database, and views that take a moment (`view(at = '…')`)."""

    database: str
    tables: Sequence[str]
    views_at: Sequence[str] = ()

    def checked(self, text: str) -> str:
        """The statement to be run in place of `text`. Raises: `QueryRefused`."""
        _check_size(text)
        try:
            sent = _said(self._judged(text))
            tree = self._judged(sent)
            if _said(tree) != sent:
                raise QueryRefused(
                    "this statement can be read in more than one way; say it with parentheses and aliases"
                )
        except SqlglotError as error:
            raise QueryRefused(f"expected one SELECT in ClickHouse's SQL: {_first_line(error)}") from error
        except RecursionError as error:
            raise QueryRefused("the statement is nested too deeply") from error
        self._audit(sent, tree)
        return sent

    def _judged(self, text: str) -> exp.Expr:
        tree = _parsed(text)
        for node in tree.walk():
            refuse_foreign(node)
            if isinstance(node, exp.Identifier):
                node.set("quoted", True)
        self._resolve(tree)
        return tree

    def _resolve(self, tree: exp.Expr) -> None:
        """Names of tables become names within our database; names of functions are looked up."""
        for node in list(tree.walk()):
            if isinstance(node, exp.Table):
                self._resolve_table(node)
            elif isinstance(node, CALLS) and not isinstance(node.parent, exp.Table):
                _refuse_function(node)
        for cte in tree.find_all(exp.CTE):
            if cte.alias in self.tables or cte.alias in self.views_at:
                raise QueryRefused(f"WITH {cte.alias}: this is the name of a table; take another one")

    def _resolve_table(self, node: exp.Table) -> None:
        if isinstance(node.this, exp.Anonymous):
            self._refuse_view(node)
            return
        if not isinstance(node.this, exp.Identifier):
            raise QueryRefused(f"expected a table, found {node.sql(dialect=_Plain)[:80]}")
        database, name = node.args.get("db"), node.name
        if database is None and name in _ctes_seen_by(node):
            return
        if (database is not None and database.name != self.database) or name not in self.tables:
            told = f"{database.name}.{name}" if database is not None else name
            raise QueryRefused(f"there is no table {told[:130]}; there are {', '.join(self.tables)}")
        node.set("db", exp.to_identifier(self.database))

    def _refuse_view(self, node: exp.Table) -> None:
        """No table function but our own views at a moment."""
        call = node.this
        if call.name not in self.views_at or node.args.get("db") is not None:
            raise QueryRefused(
                f"table functions are not allowed, found {call.name[:80]}(); of our own views there are "
                f"{', '.join(f'{name}(at = …)' for name in self.views_at)}"
            )
        match call.expressions:
            case [exp.EQ(this=exp.Column(name="at", table=""), expression=exp.Literal(is_string=True))]:
                return
        raise QueryRefused(f"expected {call.name}(at = '2026-11-22 10:00:00.000')")

    def _audit(self, sent: str, tree: exp.Expr) -> None:
        """The engine's own lexer finds in `sent` our words, and the very names and texts of the tree, and nothing else."""
        raw = sent.encode().decode("latin-1")
        try:
            found = list(tokens(raw))
        except LexicalError as error:
            raise QueryRefused(f"the statement cannot be read: {error}") from error
        _refuse_comments(raw, found)
        ends = Token("sign", "", len(raw), len(raw))
        for (before, token), (_, after) in pairwise(pairwise([ends, *found, ends])):
            if not _is_exponent(before, token):
                self._refuse_token(token, after)
        literals = [_said(one) for one in tree.find_all(exp.Literal) if one.is_string]
        names = [_said(one) for one in tree.find_all(exp.Identifier)]
        for kind, expected in (("string", literals), ("quoted", names)):
            if Counter(one.text for one in found if one.kind == kind) != Counter(_latin(text) for text in expected):
                raise QueryRefused("a text or a name in this statement can be read in more than one way")

    def _refuse_token(self, token: Token, after: Token) -> None:
        called = after.text == "("
        word = token.text.lower()
        if token.kind == "word":
            known = word in _WORDS or (called and (word in _FUNCTIONS or token.text in self.views_at))
        elif token.kind == "sign":
            known = word in SIGNS
        else:
            known = token.kind in ("string", "number") or not called
        if not known:
            raise QueryRefused(f"{token.text[:80]} is not allowed here")


def _check_size(text: str) -> None:
    raw = text.encode(errors="replace")
    if len(raw) > MAX_BYTES:
        raise QueryRefused(f"expected at most {MAX_BYTES} bytes of SQL, found {len(raw)}")
    if "\0" in text or raw.decode() != text:
        raise QueryRefused("a statement is text without byte 0 and without halves of characters")
    depth = deepest = count = 0
    try:
        for token in tokens(raw.decode("latin-1")):
            count += 1
            depth += _NESTING.get(token.text.lower(), 0)
            deepest = max(deepest, depth)
    except LexicalError as error:
        raise QueryRefused(f"the statement cannot be read: {error}") from error
    if count > MAX_TOKENS or deepest > MAX_DEPTH:
        raise QueryRefused(
            f"expected at most {MAX_TOKENS} words and signs and {MAX_DEPTH} levels, found {count} and {deepest}"
        )


def _parsed(text: str) -> exp.Expr:
    """The one query in `text`, as a tree."""
    found = [one for one in _Plain().parse(text, error_level=ErrorLevel.IMMEDIATE) if one is not None]
    if len(found) != 1:
        raise QueryRefused(f"expected one statement, found {len(found)}")
    if not isinstance(found[0], SELECTS):
        raise QueryRefused("expected a SELECT; nothing else is run here")
    return found[0]


def _said(node: exp.Expr) -> str:
    """The text of a tree: comments left out, every name in quotes."""
    return node.sql(dialect=_Plain, identify=True, comments=False, unsupported_level=ErrorLevel.RAISE)


def _refuse_function(node: exp.Expr) -> None:
    if not isinstance(node.this, str) or node.this.lower() not in _FUNCTIONS:
        name = str(node.name or node.this)[:80]
        raise QueryRefused(f"the function {name} is not allowed; {_nearest(name, FUNCTIONS)}")


def _ctes_seen_by(node: exp.Expr) -> Iterator[str]:
    """Names that WITH gave to subqueries around `node`, as far as they come before it."""
    inside, parent = node, node.parent
    while parent is not None:
        clause = parent if isinstance(parent, exp.With) else parent.args.get("with_")
        if clause is not None and clause is not inside:
            for cte in clause.expressions:
                if cte is inside:
                    break
                if not cte.args.get("scalar"):
                    yield cte.alias
        inside, parent = parent, parent.parent


def _refuse_comments(raw: str, found: list[Token]) -> None:
    """What lies between tokens is white space."""
    ends = [0, *(token.end for token in found)]
    starts = [*(token.start for token in found), len(raw)]
    if not all(_BLANK.match(raw[end:start]) for end, start in zip(ends, starts, strict=True)):
        raise QueryRefused("two signs of this statement make a comment; put a parenthesis between them")


def _is_exponent(before: Token, token: Token) -> bool:
    """Whether `token` is the `e9` of `1e9`, which the lexer takes for a word."""
    return (before.kind, before.end) == ("number", token.start) and _EXPONENT.fullmatch(token.text) is not None


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else "GET /v1/sql/queries lists what there is"


def _latin(text: str) -> str:
    return text.encode().decode("latin-1")


def _first_line(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split("\n", 1)[0][:200]
