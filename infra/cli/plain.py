"""Values as they are: on a terminal, where rich would take `[b]` for markup and `:cat:` for a picture, and as JSON."""

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console


def plain(*, stderr: bool = False) -> Console:
    """A console that prints what it is given; our own colours are a `rich.text.Text` with a style."""
    return Console(stderr=stderr, markup=False, emoji=False)


def finite(value: Any) -> Any:
    """The same without NaN and infinities, which JSON has not: None in their place.

    >>> finite({"price": float("nan"), "sizes": (1.0, float("inf"))})
    {'price': None, 'sizes': [1.0, None]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
