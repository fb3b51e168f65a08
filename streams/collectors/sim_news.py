"""Headlines of the simulated companies."""

from typing import Final

import numpy as np

from schemas.events import NewsItem

SOURCE: Final = "SIMNEWS"
COMPANIES: Final = (
    "Alder Works", "Basalt Foods", "Cobalt Air", "Dune Energy", "Ember Motors", "Fjord Shipping", "Garnet Bank",
    "Harbor Media", "Indigo Labs", "Juniper Steel", "Kelp Pharma", "Lumen Grid", "Maple Rail", "Nimbus Cloud",
    "Onyx Mining", "Prairie Retail", "Quartz Chips", "Raven Robotics", "Saffron Hotels", "Tundra Gas",
    "Umber Paper", "Violet Health", "Willow Homes", "Xenon Space", "Yarrow Seeds", "Zephyr Wind",
)  # fmt: skip
GOOD: Final = (
    "{name} beats estimates and raises guidance",
    "{name} wins contract in record quarter",
    "Broker upgrades {name} on strong demand",
    "{name} profit rose {percent} % from a year ago",
    "{name} announces buyback after blockbuster sales",
)
BAD: Final = (
    "{name} misses estimates and cuts guidance",
    "{name} faces lawsuit over data breach",
    "Broker downgrades {name} on weak demand",
    "{name} profit fell {percent} % from a year ago",
    "{name} warns of shortfall, shares plunge",
)
PLAIN: Final = (
    "{name} to hold annual meeting in spring",
    "{name} names new head of accounting",
    "{name} publishes its calendar for next year",
    "Trading volume in {name} in line with last week",
)
PAIR: Final = "{name} and {other} announce talks"
TEMPLATES: Final = (*((text, 1.0) for text in GOOD), *((text, -1.0) for text in BAD), *((text, 0.0) for text in PLAIN))
PAIRS: Final = 0.1
CASHTAGS: Final = 0.15
"""Of all items, those that name their symbol by cashtag in the title only."""


def symbol_name(row: int) -> str:
    """SIMA to SIMZ, then SIMAA and on.

    >>> symbol_name(0), symbol_name(25), symbol_name(26)
    ('SIMA', 'SIMZ', 'SIMAA')
    """
    letters = ""
    row += 1
    while row:
        row, letter = divmod(row - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return "SIM" + letters


def company(row: int) -> str:
    """A name that nobody can take for a real company."""
    return f"Simulated {COMPANIES[row % len(COMPANIES)]}"


def headline(
    rng: np.random.Generator, item_id: str, ts_ns: int, symbols: int
) -> tuple[NewsItem, tuple[int, ...], float]:
    """One item, the rows of the symbols it is about, and its tone in [-1, 1]."""
    row, other = (int(value) for value in rng.integers(0, symbols, 2))
    text, tone = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
    rows: tuple[int, ...] = (row,)
    style = rng.random()
    if style < PAIRS and other != row:
        text, tone, rows = PAIR, 0.0, (row, other)
    title = text.format(name=company(row), other=company(other), percent=int(rng.integers(3, 40)))
    cashtag = style > 1.0 - CASHTAGS
    return (
        NewsItem(
            item_id=item_id, source=SOURCE, ts_event=ts_ns, ts_ingest=ts_ns,
            title=f"{title} ${symbol_name(row)}" if cashtag else title,
            symbols=() if cashtag else tuple(symbol_name(each) for each in rows), language="en",
        ),
        rows,
        tone,
    )  # fmt: skip
