"""Where the lexer says that comments and quotes end, the engine must agree: the guard sees what the engine will see."""

import pytest

from infra.embedded.tokens import LexicalError, Token, tokens
from tests.infra.embedded.conftest import ClickHouse


def texts(statement: str) -> list[str]:
    """The tokens as the guard sees them."""
    return [token.text for token in tokens(statement.encode().decode("latin-1"))]


def test_comments_and_white_space_are_no_tokens() -> None:
    statement = "SELECT -- one\n 1 /* two\n */ , 2 # three\n, 3 #! four\n , 4 // five"
    assert texts(statement) == ["SELECT", "1", ",", "2", ",", "3", ",", "4"]


def test_a_comment_inside_a_string_is_text() -> None:
    assert texts("SELECT '-- /* it\\'s', \"--\", `/*`") == ["SELECT", "'-- /* it\\'s'", ",", '"--"', ",", "`/*`"]


def test_doubled_and_escaped_quotes_do_not_end_a_string() -> None:
    assert texts(r"'a''b' 'a\'b' 'a\\' `a``b`") == ["'a''b'", r"'a\'b'", r"'a\\'", "`a``b`"]


def test_a_heredoc_is_one_string() -> None:
    assert [token.kind for token in tokens("SELECT $x$ it's -- $$ $x$, $$'$$")] == ["word", "string", "sign", "string"]


def test_a_dollar_that_begins_no_heredoc_belongs_to_a_word() -> None:
    assert texts("SELECT $a b$") == ["SELECT", "$a", "b$"]


def test_names_are_compared_in_lower_case_and_without_quotes() -> None:
    assert [token.name for token in tokens("File `File` \"FILE\" 'file'")] == ["file", "file", "file", ""]


def test_positions_count_bytes() -> None:
    raw = "SELECT 'é', x".encode()
    *_, last = tokens(raw.decode("latin-1"))
    assert raw[last.start : last.end] == b"x"


def test_what_follows_the_last_token_taken_is_never_looked_at() -> None:
    stream = tokens("INSERT 'never closed")
    assert next(stream) == Token("word", "INSERT", 0, 6)


@pytest.mark.parametrize(
    "statement", ["SELECT 'open", 'SELECT "open', "SELECT `open", "SELECT /* open", "SELECT ‘open"]
)
def test_a_quote_or_comment_without_an_end_is_refused(statement: str) -> None:
    with pytest.raises(LexicalError, match=r"at position 8 is never closed"):
        texts(statement)


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("SELECT 1 /* /* ' */ , 3 */ , 2", "1\t2"),
        ("SELECT 1 /*/**/*/ , 2", "1\t2"),
        ("SELECT 1 /*/ */ , 2", "1\t2"),
        ("SELECT 1 /***/ , 2", "1\t2"),
        ("SELECT 1 /* ' */ , 2 -- '", "1\t2"),
        ("SELECT 1 // '\n , 2 // '", "1\t2"),
        ("SELECT 1 # '\n , 2", "1\t2"),
        ("SELECT 1 -- '\n , 2", "1\t2"),
        ("SELECT ‘--’, 2", "--\t2"),
        ("SELECT $$ -- $$, 2", " -- \t2"),
        ("SELECT $t$ $$ ' $t$, 2", " $$ \\' \t2"),
        ("SELECT '\\'', 2", "\\'\t2"),
        ("SELECT '\\\\', 2", "\\\\\t2"),
        ("SELECT 'it''s', 2", "it\\'s\t2"),
        ("SELECT “a”, 2 FROM (SELECT 1 AS a)", "1\t2"),
    ],
)
def test_the_engine_cuts_statements_where_we_do(clickhouse: ClickHouse, statement: str, rows: str) -> None:
    seen = texts(statement)
    assert clickhouse.run(statement) == f"{rows}\n"
    assert seen.count(",") == rows.count("\t")
    assert "2" in seen
