"""Every form of an address that is not public is refused, row by row; public ones are not."""

import pytest

from infra.hooks.addresses import why_refused

REFUSED = {
    "this network": ["0.0.0.0", "0.1.2.3"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1", "fec0::1"],
    "carrier": ["100.64.0.1", "100.127.255.255"],
    "link-local": ["169.254.0.1", "fe80::1", "fe80::1%eth0", "fe80::1%1"],
    "metadata": ["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"],
    "special": [
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "5f00::1",
        "100::1",
    ],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255"],
    "unspecified": ["::"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "0:0:0:0:0:ffff:7f00:1"],
    "NAT64": [
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1::808:808",
    ],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:0a00:0001::1"],
    "Teredo": ["2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "v4-compatible": ["::127.0.0.1", "::a00:1", "::169.254.169.254"],
    "documentation": ["2001:db8::1", "3fff::1"],
    "no address": ["", "example.com", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "[::1]", "1.2.3.4 "],
}
PUBLIC = [
    "93.184.215.14",
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700::1111",
    "2a00:1450:4001:82f::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", [each for row in REFUSED.values() for each in row])
def test_what_is_not_public_is_refused_with_a_reason(address: str) -> None:
    assert why_refused(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address: str) -> None:
    assert why_refused(address) == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_allowed_where_that_is_said(address: str) -> None:
    assert why_refused(address, loopback=True) == ""


@pytest.mark.parametrize(
    "address",
    [
        each
        for name, row in REFUSED.items()
        if name != "loopback"
        for each in row
        if each not in ("::ffff:127.0.0.1", "0:0:0:0:0:ffff:7f00:1")
    ],
)
def test_and_nothing_else_with_it(address: str) -> None:
    assert why_refused(address, loopback=True)
