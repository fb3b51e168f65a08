"""URLs are read once and strictly, and every address behind them is judged."""

import asyncio
import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.hooks.targets import Allowed, SystemResolver, Target, checked_address, parse
from schemas.errors import TargetRefused
from tests.infra.hooks.receivers import Answers

PORTS = frozenset({443, 8443})
STRICT = Allowed(PORTS)
DEV = Allowed(PORTS, loopback=True)


def checked(url: str, resolver: Answers | SystemResolver, allowed: Allowed = STRICT) -> str:
    return asyncio.run(checked_address(parse(url, allowed), allowed, resolver))


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example.com", "//hooks.example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
        "http://example.com/", "https:/example.com", "https:example.com", "https://", "https:///path", "https://:443/",
        "https://user@example.com/", "https://user:password@example.com/", "https://example.com@127.0.0.1/",
        "https://@example.com/", "https://example.com\\@127.0.0.1/", "https://127.0.0.1\\.example.com/",
        "https://example.com:22/", "https://example.com:80/", "https://example.com:6379/", "https://example.com:0/",
        "https://example.com:99999/", "https://example.com:port/", "https://example.com:-443/", "https://example.com#@127.0.0.1/",
        "https://0x7f000001/", "https://2130706433/", "https://127.1/", "https://0177.0.0.1/", "https://0x7f.0.0.1/",
        "https://127.0.0.1./x", "https://1.2.3.256/", "https://①②⑦.0.0.1/", "https://ⓔxample.com/", "https://exämple.com/",
        "https://example.com/ü", "https://exam ple.com/", "https://example.com/a b", "https://example.com/\r\nhost: x",
        "https://example.com\t/", "https://example.com/\x00", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/",
        "https://[::1/", "https://[not-v6]/", "https://[v1.x]/", "https://-example.com/", "https://exa_mple.c_m/", "https://a..b/",
        "https://" + "a" * 64 + ".com/", "https://example.com/" + "a" * 2_000, "https://%31%32%37.0.0.1/", "https://*/",
    ],
)  # fmt: skip
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        parse(url, STRICT)


def test_a_url_is_read_into_parts() -> None:
    assert parse("https://Hooks.Example.com/a/b?c=d&e", STRICT) == Target(
        "https", "hooks.example.com", 443, "/a/b?c=d&e"
    )
    assert parse("https://example.com:8443", STRICT) == Target("https", "example.com", 8443, "/")
    assert parse("https://8.8.8.8/", STRICT).host == "8.8.8.8"
    assert parse("https://[2606:4700::1111]:8443/", STRICT).authority == "[2606:4700::1111]:8443"
    assert parse("https://example.com:443/", STRICT).authority == "example.com"


BITS = (
    "https", "http", ":", "/", "//", "@", "[", "]", "%", "127.0.0.1", "::1", "a.b", "0x7f", "443", ".", "?", "#", "\\", "é", " ",
)  # fmt: skip
PIECES = st.lists(st.sampled_from(BITS) | st.text(max_size=3), max_size=12).map("".join)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PIECES | PIECES.map("https://{}".format))
def test_whatever_the_text_it_is_refused_or_its_parts_say_the_same_again(text: str) -> None:
    with contextlib.suppress(TargetRefused):
        target = parse(text, STRICT)
        assert parse(f"{target.scheme}://{target.authority}{target.path}", STRICT) == target


def test_http_and_other_ports_are_allowed_where_that_is_said() -> None:
    allowed = Allowed(frozenset({80, 443}), http=True)
    assert parse("http://example.com/", allowed).port == 80
    with pytest.raises(TargetRefused, match="ports 80, 443"):
        parse("http://example.com:8080/", allowed)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "169.254.169.254",
        "[64:ff9b::a9fe:a9fe]",
        "10.0.0.1",
        "0.0.0.0",
    ],
)
def test_what_the_system_resolves_to_this_machine_or_its_neighbours_is_refused(host: str) -> None:
    with pytest.raises(TargetRefused, match="not public"):
        checked(f"https://{host}/", SystemResolver())


@pytest.mark.parametrize("text", ["0x7f000001", "2130706433", "127.1", "0177.0.0.1"])
def test_even_past_the_form_the_address_behind_an_odd_number_is_judged(text: str) -> None:
    odd = Target("https", text, 443, "/")
    with pytest.raises(TargetRefused, match=r"127\.0\.0\.1 is in 127\.0\.0\.0/8"):
        asyncio.run(checked_address(odd, STRICT, SystemResolver()))


def test_one_private_address_among_public_ones_is_enough() -> None:
    for answer in (["93.184.215.14", "10.0.0.1"], ["10.0.0.1", "93.184.215.14"], ["2606:4700::1111", "fe80::1%2"]):
        with pytest.raises(TargetRefused):
            checked("https://example.com/", Answers(answer))
    with pytest.raises(TargetRefused, match="no address"):
        checked("https://example.com/", Answers([]))


def test_the_resolver_is_asked_once_for_each_connection() -> None:
    """So a resolver that answers otherwise the second time (DNS rebinding) is not asked a second time."""
    rebinding = Answers(["93.184.215.14"], ["127.0.0.1"])
    assert checked("https://example.com/", rebinding) == "93.184.215.14"
    assert rebinding.asked == 1
    with pytest.raises(TargetRefused):
        checked("https://example.com/", rebinding)


def test_the_setting_for_loopback_opens_loopback_alone() -> None:
    assert checked("http://localhost:4000/", Answers(["127.0.0.1"]), DEV) == "127.0.0.1"
    assert checked("https://[::1]:4000/", Answers(["::1"]), DEV) == "::1"
    with pytest.raises(TargetRefused):
        checked("http://localhost:4000/", Answers(["127.0.0.1", "10.0.0.1"]), DEV)
    with pytest.raises(TargetRefused, match="expected https"):
        checked("http://example.com/", Answers(["93.184.215.14"]), DEV)
    with pytest.raises(TargetRefused, match="ports"):
        checked("https://example.com:4000/", Answers(["93.184.215.14"]), DEV)
    with pytest.raises(TargetRefused, match="ports"):
        checked("https://example.com:4000/", Answers(["93.184.215.14", "127.0.0.1"]), DEV)
    assert checked("https://example.com/", Answers(["93.184.215.14"]), DEV) == "93.184.215.14"
