"""What users must not say is refused before the engine sees it."""

import pytest

from schemas.errors import QueryRefused
from tests.infra.sql.conftest import GUARD
from tests.infra.sql.escapes import ESCAPES


def test_there_are_many_and_each_is_another() -> None:
    assert len({statement for statement, _ in ESCAPES}) == len(ESCAPES) >= 200


@pytest.mark.parametrize(("statement", "reason"), ESCAPES, ids=[statement[:60] for statement, _ in ESCAPES])
def test_an_escape_is_refused_for_its_reason(statement: str, reason: str) -> None:
    with pytest.raises(QueryRefused, match=reason):
        GUARD.checked(statement)


@pytest.mark.parametrize(
    ("statement", "sent"),
    [
        ("SELECT /*+ SET_VAR(readonly=0) */ 1 /* SETTINGS readonly = 0 */ -- FORMAT CSV", "SELECT 1"),
        ("SELECT current_user, version FROM trades", 'SELECT "current_user", "version" FROM "tickwire"."trades"'),
        ("SELECT url AS file FROM trades AS system", 'SELECT "url" AS "file" FROM "tickwire"."trades" AS "system"'),
        ("SELECT price FROM trades |> WHERE 1", 'SELECT "price" FROM "tickwire"."trades" WHERE 1'),
        ("SELECT 1;", "SELECT 1"),
    ],
)
def test_what_is_harmless_goes_out_in_our_own_words(statement: str, sent: str) -> None:
    assert GUARD.checked(statement) == sent
