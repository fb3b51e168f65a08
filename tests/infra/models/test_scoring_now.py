"""Who scores now is asked once a second, and whoever does not answer is not believed to have said nothing."""

import pytest

from infra.models.scoring_now import KNOWN_S, ScoringNow
from schemas.errors import SchemaError, StoreUnavailable, TickwireError


def test_what_was_said_holds_for_a_second() -> None:
    said, now = ["mlp-3", "mlp-2", "mlp-1"], [0.0]
    scoring = ScoringNow(said.pop, lambda: now[0])
    assert (scoring(), scoring()) == ("mlp-1", "mlp-1")
    now[0] = KNOWN_S
    assert (scoring(), scoring()) == ("mlp-2", "mlp-2")


@pytest.mark.parametrize("error", [StoreUnavailable("no answer"), SchemaError("another build")])
def test_while_nobody_answers_what_was_said_before_still_holds(error: TickwireError) -> None:
    asked, now = [0], [0.0]

    def ask() -> str:
        asked[0] += 1
        if asked[0] > 1:
            raise error
        return "mlp-1"

    scoring = ScoringNow(ask, lambda: now[0])
    assert scoring() == "mlp-1"
    now[0] = KNOWN_S
    assert [scoring() for _ in range(3)] == ["mlp-1"] * 3
    assert asked == [2]
