"""A picture of what was measured over time: panels below each other, as one SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WIDTH = 760
PANEL = 150
LEFT, RIGHT, TOP, BETWEEN = 64, 120, 34, 46
COLOURS = ("#2563eb", "#d97706", "#059669")
INK, GRID = "#475569", "#e2e8f0"


class Line(NamedTuple):
    """One quantity over time: pairs of seconds and values."""

    name: str
    points: Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """Quantities that share an axis."""

    title: str
    lines: Sequence[Line]


def svg(panels: Sequence[Panel]) -> str:
    """Draw *panels* over one axis of seconds."""
    height = TOP + len(panels) * (PANEL + BETWEEN)
    last = max((p[0] for panel in panels for line in panel.lines for p in line.points), default=1)
    body = [_panel(panel, TOP + n * (PANEL + BETWEEN), last) for n, panel in enumerate(panels)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' font-family="system-ui, sans-serif" font-size="11" fill="{INK}">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel, top: int, last: float) -> str:
    most = _round_up(max((p[1] for line in panel.lines for p in line.points), default=1))
    right, bottom = WIDTH - RIGHT, top + PANEL

    def place(point: tuple[float, float]) -> str:
        x = LEFT + point[0] / last * (right - LEFT)
        return f"{x:.1f},{bottom - point[1] / most * PANEL:.1f}"

    parts = [f'<text x="{LEFT}" y="{top - 10}" font-size="13">{panel.title}</text>']
    for share in (0, 0.5, 1):
        y = bottom - share * PANEL
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}" stroke="{GRID}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{share * most:g}</text>')
    for quarter in range(5):
        x = LEFT + quarter / 4 * (right - LEFT)
        shown = f"{quarter / 4 * last:.0f} s"
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{shown}</text>')
    for n, line in enumerate(panel.lines):
        colour = COLOURS[n % len(COLOURS)]
        points = " ".join(map(place, line.points))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        parts.append(f'<text x="{right + 8}" y="{top + 12 + n * 16}" fill="{colour}">')
        parts.append(f"{line.name}</text>")
    return "\n".join(parts)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, … that is not less."""
    step = 1.0
    while True:
        for factor in (1, 2, 5):
            if value <= factor * step:
                return factor * step
        step *= 10
