"""Sums that do not depend on the order of their addends: fixed-point numbers wide enough for any of them.

A sum is LIMBS integers of 32 bits each, the lowest worth 2**-128; carries wait until the sum is asked for, so up to 2**31
addends fit. Every addend is cut below 2**-128 by itself (nothing is cut of one above 2**-75), and the sum is rounded once,
half to even: then it is what `math.fsum` says. After Kulisch's long accumulator.
"""

import math
from typing import Final

import numpy as np
from numba import njit

from processors.batch import Column

LIMBS: Final = 8
LOWEST: Final = 128
"""The lowest bit is worth 2**-LOWEST; addends stay below 2**(32 * LIMBS - LOWEST - 32)."""
_MASK: Final = 0xFFFFFFFF


def exact_sum(values: Column) -> float:
    """The sum of positive numbers below 2**96, the same bits in any order."""
    return float(_sum(values))


@njit(cache=True)
def _sum(values):  # type: ignore[no-untyped-def]
    sums = np.zeros((1, LIMBS), np.int64)
    for value in values:
        add(sums, 0, split(value))
    return rounded(sums, 0)


@njit(cache=True)
def split(value):  # type: ignore[no-untyped-def]
    """A positive number as (lowest limb it touches, what it adds to that one and to the two above)."""
    fraction, exponent = math.frexp(value)
    bits = np.int64(fraction * 9007199254740992.0)
    low = exponent - 53 + LOWEST
    if low < 0:
        bits = bits >> min(-low, 63)
        low = 0
    shift = low % 32
    above = bits >> (32 - shift)
    return low // 32, (bits << shift) & _MASK, above & _MASK, above >> 32


@njit(cache=True)
def add(sums, n, parts):  # type: ignore[no-untyped-def]
    """Add what `split` made to sum number `n`; sums: int64 [any, LIMBS]."""
    at, low, middle, high = parts
    sums[n, at] += low
    sums[n, at + 1] += middle
    sums[n, at + 2] += high


@njit(cache=True)
def clear(sums):  # type: ignore[no-untyped-def]
    """Make all sums zero."""
    for n in range(sums.shape[0]):
        for k in range(LIMBS):
            sums[n, k] = 0


@njit(cache=True)
def rounded(sums, n):  # type: ignore[no-untyped-def]
    """Sum number `n` as the nearest float, half to even; its limbs keep their worth."""
    carry = np.int64(0)
    top = -1
    for k in range(LIMBS):
        here = sums[n, k] + carry
        sums[n, k] = here & _MASK
        carry = here >> 32
        if sums[n, k] != 0:
            top = k
    if top < 0:
        return 0.0
    head = np.uint64(sums[n, top]) << np.uint64(32)
    if top >= 1:
        head |= np.uint64(sums[n, top - 1])
    below = np.uint64(sums[n, top - 2]) if top >= 2 else np.uint64(0)
    shift = np.uint64(0)
    while (head >> np.uint64(63)) == 0:
        head = (head << np.uint64(1)) | ((below >> np.uint64(31)) & np.uint64(1))
        below = (below << np.uint64(1)) & np.uint64(_MASK)
        shift += np.uint64(1)
    more = below != 0
    for k in range(top - 2):
        more = more or sums[n, k] != 0
    kept, rest = head >> np.uint64(11), head & np.uint64(0x7FF)
    if rest > 0x400 or (rest == 0x400 and (more or (kept & np.uint64(1)) == 1)):
        kept += np.uint64(1)
    return math.ldexp(np.float64(kept), 32 * (top - 1) - LOWEST - int(shift) + 11)
