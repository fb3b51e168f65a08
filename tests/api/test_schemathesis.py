"""Every operation of the OpenAPI document, asked with good and bad requests made from it: it answers as it says it does."""

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.access.ports import Access
from tests.api.access.keys import Keys
from tests.api.whole import whole

EXAMPLES = 40
BEYOND_SCHEMAS: list[CheckFunction] = [positive_data_acceptance]
"""It wants every text that a schema allows to be a cursor of ours, a feature that there is, a time within our years."""
schema = schemathesis.openapi.from_asgi("/openapi.json", whole(Path(mkdtemp(prefix="tickwire-")), Access(Keys())).app())


@schema.auth()
class Admin:
    """Without it every operation must refuse; that is one of the checks."""

    def get(self, case: Any, context: Any) -> str:
        return "Bearer tk_admin"

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": data}


@pytest.mark.timeout(600)
@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_an_operation_answers_as_it_is_described(case: Any) -> None:
    case.call_and_validate(excluded_checks=BEYOND_SCHEMAS)
