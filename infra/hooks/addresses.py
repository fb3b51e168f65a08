"""Which addresses of the network a webhook may reach. A name is never judged, only the address that is connected to.

`ipaddress.is_global` alone is not enough: Python 3.11 says True for NAT64 and 6to4 forms of private addresses, for
`::127.0.0.1` and for multicast.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_V4_REFUSED: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
            "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            "168.63.129.16/32",  # Azure's metadata, on an address that is public
        ),
    )
)  # fmt: skip
_V6_UNICAST: Final = IPv6Network("2000::/3")
"""All that is routed on the Internet; loopback, link-local, private, multicast and v4-compatible forms lie outside."""
_V6_REFUSED: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarking and other special uses
            "2001:db8::/32", "2002::/16", "3ffe::/16", "3fff::/20",  # documentation, 6to4, 6bone
        ),
    )
)  # fmt: skip
_NAT64: Final = IPv6Network("64:ff9b::/96")


def why_refused(text: str, *, loopback: bool = False) -> str:
    """Why nothing may be sent to this address; empty where it may. `loopback`: whether 127/8 and ::1 are allowed.

    >>> why_refused("93.184.215.14"), why_refused("::ffff:169.254.169.254")
    ('', '169.254.169.254 is in 169.254.0.0/16, which is not public')
    """
    try:
        address = ip_address(text)
    except ValueError:
        return f"{text!r} is no IP address"
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return f"{text} has a zone"
        if address.ipv4_mapped is None:
            return "" if loopback and address.is_loopback else _why_v6(address)
        address = address.ipv4_mapped
    if address.is_loopback and loopback:
        return ""
    return _why_v4(address)


def _why_v4(address: IPv4Address) -> str:
    network = next((network for network in _V4_REFUSED if address in network), None)
    return "" if network is None else f"{address} is in {network}, which is not public"


def _why_v6(address: IPv6Address) -> str:
    if address in _NAT64:
        return _why_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address not in _V6_UNICAST:
        return f"{address} is outside {_V6_UNICAST}, so it is not public"
    network = next((network for network in _V6_REFUSED if address in network), None)
    return "" if network is None else f"{address} is in {network}, which is not public"
