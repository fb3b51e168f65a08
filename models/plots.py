"""Plots as SVG text: lines and points with their axes, readable on light and dark pages, and nothing to install."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from models.model import Column

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 78, 200, 44, 52
COLOURS: Final = ("#6b7280", "#9ca3af", "#a16207", "#0f766e", "#2563eb", "#c026d3", "#dc2626", "#16a34a")
INK: Final = "#374151"
MOST_POINTS: Final = 400
TICKS: Final = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One named curve, float64 [n] each; with a mark at every point where `points`."""

    name: str
    x: Column
    y: Column
    colour: int = 0
    """Which of `COLOURS`: one candidate has the same in every plot."""
    points: bool = False


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values from `low` to `high`, drawn from pixel `start` to pixel `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Column, start: float, end: float) -> "_Axis":
        told = values[np.isfinite(values)]
        low, high = (float(told.min()), float(told.max())) if len(told) else (0.0, 1.0)
        room = 0.05 * (high - low) or max(abs(high) * 0.05, 1e-9)
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> Column:
        """Round numbers within."""
        raw = (self.high - self.low) / TICKS
        power = 10.0 ** np.floor(np.log10(raw))
        step = power * min((1.0, 2.0, 5.0, 10.0), key=lambda factor: abs(factor * power - raw))
        first = np.ceil(self.low / step)
        found: Column = np.arange(first, np.floor(self.high / step) + 1) * step
        return found


def plot(title: str, x_label: str, y_label: str, lines: Sequence[Line], *, diagonal: bool = False) -> str:
    """An SVG file. `diagonal`: with the line on which x equals y."""
    x = _Axis.over(np.concatenate([line.x for line in lines]), LEFT, WIDTH - RIGHT)
    y = _Axis.over(np.concatenate([line.y for line in lines]), HEIGHT - BOTTOM, TOP)
    parts = [_text(LEFT, 22, title, size=15), *_grid(x, y, x_label, y_label)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(_path([(x.at(low), y.at(low)), (x.at(high), y.at(high))], INK, dashed=True))
    for number, line in enumerate(lines):
        colour = COLOURS[line.colour % len(COLOURS)]
        parts += _drawn(line, x, y, colour)
        parts.append(_text(WIDTH - RIGHT + 14, TOP + 16 + 20 * number, f"● {line.name}", colour=colour))
    return _document(parts, WIDTH, HEIGHT)


def intervals(title: str, x_label: str, rows: Sequence[tuple[str, int, float, float, float]]) -> str:
    """An SVG file of one line a row, `(name, colour, value, low, high)`, and a mark at 0; a row without interval stays empty."""
    height = TOP + BOTTOM + 34 * len(rows)
    told = np.array([[value, low, high] for _, _, value, low, high in rows]).ravel()
    x = _Axis.over(np.append(told, 0.0), 190, WIDTH - 30)
    parts = [_text(20, 22, title, size=15), _text((x.start + x.end) / 2, height - 10, x_label, anchor="middle")]
    for tick in x.ticks().tolist():
        parts.append(_path([(x.at(tick), TOP), (x.at(tick), height - BOTTOM)], "#d1d5db"))
        parts.append(_text(x.at(tick), height - BOTTOM + 18, f"{tick:g}", anchor="middle"))
    parts.append(_path([(x.at(0.0), TOP), (x.at(0.0), height - BOTTOM)], INK, dashed=True))
    for number, (name, shade, value, low, high) in enumerate(rows):
        at = TOP + 20 + 34 * number
        parts.append(_text(180, at + 4, name, anchor="end"))
        if np.isfinite([value, low, high]).all():
            colour = COLOURS[shade % len(COLOURS)]
            parts += [_path([(x.at(low), at), (x.at(high), at)], colour, width=3), _dot(x.at(value), at, colour, 5)]
    return _document(parts, WIDTH, height)


def _drawn(line: Line, x: _Axis, y: _Axis, colour: str) -> list[str]:
    kept = np.unique(np.linspace(0, len(line.x) - 1, min(len(line.x), MOST_POINTS)).round().astype(int))
    places = [(x.at(a), y.at(b)) for a, b in zip(line.x[kept].tolist(), line.y[kept].tolist(), strict=True)]
    drawn = [_path(places, colour)] if len(places) > 1 else []
    return drawn + [_dot(a, b, colour, 3.5) for a, b in places] if line.points or len(places) == 1 else drawn


def _grid(x: _Axis, y: _Axis, x_label: str, y_label: str) -> list[str]:
    parts = []
    for tick in x.ticks().tolist():
        parts.append(_path([(x.at(tick), y.start), (x.at(tick), y.end)], "#d1d5db"))
        parts.append(_text(x.at(tick), y.start + 18, f"{tick:g}", anchor="middle"))
    for tick in y.ticks().tolist():
        parts.append(_path([(x.start, y.at(tick)), (x.end, y.at(tick))], "#d1d5db"))
        parts.append(_text(x.start - 8, y.at(tick) + 4, f"{tick:g}", anchor="end"))
    parts.append(_text((x.start + x.end) / 2, HEIGHT - 12, x_label, anchor="middle"))
    middle = (y.start + y.end) / 2
    parts.append(f'<g transform="rotate(-90 18 {middle:.1f})">{_text(18, middle, y_label, anchor="middle")}</g>')
    return parts


def _path(places: Sequence[tuple[float, float]], colour: str, *, width: float = 1.5, dashed: bool = False) -> str:
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dash}/>'


def _dot(x: float, y: float, colour: str, radius: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", colour: str = INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )


def _document(parts: Sequence[str], width: int, height: int) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
