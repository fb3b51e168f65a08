"""Whatever is thrown at the guard, what comes through names nothing but what is allowed: judged by the engine's own parser."""

import re
import string
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.embedded.answers import ACCESS_DENIED, SYNTAX_ERROR
from infra.embedded.tokens import tokens
from infra.sql.vocabulary import FUNCTIONS, KEYWORDS
from schemas.errors import DatabaseError, QueryRefused
from tests.infra.sql.conftest import GUARD, NAME, Stored
from tests.infra.sql.escapes import ESCAPES
from tests.infra.sql.questions import QUESTIONS

OPERATOR_NAMES: Final = """
    and array arrayelement between case casewithexpression caseWithoutExpression cast concat divide equals greater greaterorequals
    ilike in intdiv intervalnanosecond isnotnull isnull lambda less lessorequals like minus modulo multiif multiply negate not
    notequals notilike notin notlike or plus tointervalday tointervalhour tointervalmicrosecond tointervalmillisecond
    tointervalminute tointervalmonth tointervalnanosecond tointervalsecond tointervalweek tointervalyear tuple tupleelement
"""
"""What the engine's parser makes of signs and keywords."""
ALLOWED: Final = frozenset(name.lower() for name in FUNCTIONS) | {name.lower() for name in OPERATOR_NAMES.split()}
FORBIDDEN: Final = [
    "url('http://127.0.0.1/')", "file('/etc/passwd')", "system.users", "system.one", "numbers(10)", "sleep(3)",
    "SETTINGS readonly = 0", "FORMAT CSV", "INTO OUTFILE '/tmp/x'", "UNION ALL SELECT * FROM system.one",
    "; SELECT 1", "{x:Identifier}", "ARRAY JOIN [1] AS z", "file", "`system`", '"system"."one"', "IN system.one",
    "merge('system', '.*')", "throwIf(1)", "arrayJoin([1])", "-> file(x)", "EXCEPT", "APPLY(file)", "WITH RECURSIVE",
    "GLOBAL", "FINAL", "SAMPLE 1", "@@x", "::Enum8('a' = 1)", "COLUMNS('.*')", "remote('h', system.one)",
    "getSetting('x')", "view(SELECT 1)", "currentUser()", "INTERVAL", "WINDOW w AS ()", "OVER w", "USING", "--", "/*",
    "*/", "//", "#", "# ", "'", '"', "`", "\\", "\\'", "''", "$$", "$a$", "\u201c", "\u2018", "\0", "\u00a0",
    "\u212a", "'--'",
]  # fmt: skip
"""Pieces that must not come through, and those by which lexers are led astray."""
MEMBERSHIP: Final = frozenset(["in", "notin", "globalin", "globalnotin"])
"""A bare name behind them is a table."""
NEVER: Final = frozenset(["Set", "QueryParameter", "ColumnsApplyTransformer", "ColumnsRegexpMatcher"])
PIECES: Final = sorted(
    {token.text.encode("latin-1").decode() for one in QUESTIONS for token in tokens(one.encode().decode("latin-1"))}
    | KEYWORDS | set(FORBIDDEN)
)  # fmt: skip
MANY: Final = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


SHORT: Final = [statement for statement, _ in ESCAPES if len(statement) < 500]


@st.composite
def mutations(draw: st.DrawFn, of: Sequence[str] = (*QUESTIONS, *SHORT), most: int = 4) -> str:
    """One of these statements, in which pieces are put, replaced, taken out, doubled or swapped, `most` times at most."""
    parts = re.findall(r"\w+|\s+|[^\w\s]", draw(st.sampled_from(of)))
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(parts) - 1)))
        piece = draw(st.sampled_from(PIECES))
        how = draw(st.sampled_from(["put", "replace", "drop", "double", "swap"]))
        if how == "put":
            parts[at:at] = [" ", piece, " "]
        elif how == "replace":
            parts[at : at + 1] = [piece]
        elif how == "drop":
            parts[at : at + 1] = []
        elif how == "double":
            parts[at:at] = parts[at : at + draw(st.integers(1, 8))]
        else:
            other = draw(st.integers(0, max(0, len(parts) - 1)))
            parts[at : at + 1], parts[other : other + 1] = parts[other : other + 1], parts[at : at + 1]
    return "".join(parts)


SOUP = st.lists(st.sampled_from(PIECES), min_size=1, max_size=25).map(lambda pieces: "SELECT " + " ".join(pieces))
NOISE = st.text(
    st.sampled_from(string.printable + "\0\u00a0\u2018\u2019\u201c\u201d\u212a\ud83d\ude00"), max_size=80
).map(lambda text: "SELECT " + text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def sent_for(statement: str) -> str | None:
    """What the guard lets through; anything but its own refusal is a failure."""
    try:
        return GUARD.checked(statement)
    except QueryRefused:
        return None


def judged(lines: Sequence[str], sent: str) -> list[str]:
    """What the engine's syntax tree names that is not allowed."""
    wrong = []
    for at, line in enumerate(lines):
        what, _, rest = line.strip().partition(" ")
        name = rest.split(" (")[0].strip()
        if what == "Function":
            of_table = name.lower() in MEMBERSHIP and _second(lines[at:]).startswith("Identifier")
            called = name.lower().removesuffix("distinct")  # count(DISTINCT x) is countDistinct(x)
            if of_table or not (called in ALLOWED or name in GUARD.views_at):
                wrong.append(line)
        elif what == "TableIdentifier":
            database, _, table = name.rpartition(".")
            ours = database == NAME and table in GUARD.tables
            if not (ours or (not database and f'"{table}" AS (' in sent)):  # else a subquery that WITH gave a name
                wrong.append(line)
        elif what in (
            "Set",
            "QueryParameter",
            "InsertQuery",
            "Asterisk_apply",
            "ColumnsApplyTransformer",
            "ColumnsRegexpMatcher",
        ):
            wrong.append(line)
    return wrong


def _second(lines: Sequence[str]) -> str:
    """The second argument of the function in the first line: two deeper, below a list."""
    deep = [len(line) - len(line.lstrip()) for line in lines]
    arguments = []
    for line, depth in zip(lines[1:], deep[1:], strict=True):
        if depth <= deep[0]:
            break
        if depth == deep[0] + 2:
            arguments.append(line.strip())
    return arguments[1] if len(arguments) > 1 else ""


def names_of(stored: Stored, sent: str) -> list[str]:
    """The engine's syntax tree, line by line; none where its parser refuses."""
    try:
        return [str(row[0]) for row in stored.database.rows(f"EXPLAIN AST {sent}").rows]
    except DatabaseError as error:
        if error.code not in (SYNTAX_ERROR, ACCESS_DENIED):  # the latter for a column that is called `file`
            raise
        return []


@MANY
@given(NOISE | SOUP | mutations())
def test_the_guard_lets_through_or_refuses_and_never_breaks(statement: str) -> None:
    sent = sent_for(statement)
    if sent is not None:
        assert sent_for(sent) == sent


@pytest.mark.embedded
@pytest.mark.timeout(280)
def test_what_comes_through_names_only_what_is_allowed(stored: Stored) -> None:
    through: set[str] = {sent for statement in QUESTIONS if (sent := sent_for(statement)) is not None}

    @MANY
    @given(mutations(QUESTIONS, 1) | mutations(QUESTIONS, 2) | mutations())
    def collect(statement: str) -> None:
        sent = sent_for(statement)
        if sent is not None:
            through.add(sent)

    collect()
    assert len(through) > len(QUESTIONS) + 15
    wrong = {sent: judged(names_of(stored, sent), sent) for sent in sorted(through)}
    assert {sent: lines for sent, lines in wrong.items() if lines} == {}


@pytest.mark.embedded
def test_the_judge_sees_what_is_not_allowed(stored: Stored) -> None:
    for statement in (
        "SELECT sleep(1)", "SELECT * FROM system.one", "SELECT * FROM numbers(1)", "SELECT 1 IN (system.one)",
        "SELECT arrayMap(x -> sleep(x), [1])", "SELECT 1 SETTINGS max_threads = 1",
    ):  # fmt: skip
        assert judged(names_of(stored, statement), statement), statement
