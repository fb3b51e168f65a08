"""The page at `/`: one file that asks nobody else for anything."""

import re

from fastapi.testclient import TestClient

from api.page import policy_of
from tests.api.fakes import world


def test_the_page_is_small_and_loads_nothing_from_elsewhere() -> None:
    answer = TestClient(world().app()).get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert len(answer.content) < 15_000
    assert re.findall(r"(?:https?:|[\"'(])//", answer.text) == []
    assert re.findall(r'(?:src|href)="(?!/|data:,)', answer.text) == []


def test_the_policy_allows_its_own_script_and_style_and_no_other() -> None:
    policy = TestClient(world().app()).get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self' 'sha256-")
    assert "unsafe" not in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy


def test_the_policy_names_the_hash_that_a_browser_computes() -> None:
    # printf 'alert(1)' | openssl dgst -sha256 -binary | base64
    assert "script-src 'self' 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in policy_of(
        "<script>alert(1)</script><style>p{}</style>"
    )


def test_the_page_puts_text_into_the_document_as_text_only() -> None:
    text = TestClient(world().app()).get("/").text
    assert "innerHTML" not in text
    assert "eval(" not in text
