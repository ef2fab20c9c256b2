"""Histograms, bars and curves as SVG: text, which needs no plotting library and diffs well."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 240, 48, 34, 28
_BAR_ROW, _BAR_LABEL = 22, 210
_COLOURS = ("#1f4e79", "#c0392b", "#2e7d32", "#8e44ad", "#d68910", "#555555", "#16a085")


def histogram(
    values: Sequence[float], title: str, unit: str = "", bound: float | None = None, bins: int = 32
) -> str:
    """Return an SVG histogram.

    Args:
        values: at least one.
        title: above the plot.
        unit: below the horizontal axis.
        bound: a vertical line, such as the limit of a filter.
    """
    counts, edges = np.histogram(np.asarray(values, dtype=np.float64), bins=bins)
    low, high, most = float(edges[0]), float(edges[-1]), max(1, int(counts.max()))
    width, height = _WIDTH - _LEFT - 12, _HEIGHT - _BOTTOM - _TOP

    def x(value: float) -> float:
        return _LEFT + width * (value - low) / max(high - low, 1e-12)

    parts = [_text(_LEFT, 18, title, weight="bold")]
    for count, start, end in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
        tall = height * count / most
        parts.append(
            f'<rect x="{x(start):.1f}" y="{_TOP + height - tall:.1f}" '
            f'width="{max(0.5, x(end) - x(start) - 1):.1f}" height="{tall:.1f}" fill="#4878a8"/>'
        )
    base = _TOP + height
    parts.append(f'<path d="M{_LEFT} {base}H{_LEFT + width}" stroke="#444"/>')
    for value in np.linspace(low, high, 5).tolist():
        parts.append(_text(x(value), base + 14, f"{value:.3g}", anchor="middle"))
    parts.append(_text(_LEFT + width / 2, base + 29, unit, anchor="middle"))
    parts.append(_text(_LEFT - 6, _TOP + 8, str(most), anchor="end"))
    if bound is not None and low <= bound <= high:
        line = f'<path d="M{x(bound):.1f} {_TOP}V{base}" stroke="#c0392b" stroke-dasharray="4 3"/>'
        parts.append(line)
    return _svg(_HEIGHT, parts)


def bars(counts: Mapping[str, int], title: str) -> str:
    """Return horizontal SVG bars, in the order given."""
    most = max([1, *counts.values()])
    parts = [_text(12, 18, title, weight="bold")]
    for row, (name, count) in enumerate(counts.items()):
        y = _TOP + row * _BAR_ROW
        wide = (_WIDTH - _BAR_LABEL - 60) * count / most
        parts.append(_text(_BAR_LABEL - 8, y + 14, name, anchor="end"))
        parts.append(
            f'<rect x="{_BAR_LABEL}" y="{y + 3}" width="{wide:.1f}" height="14" fill="#4878a8"/>'
        )
        parts.append(_text(_BAR_LABEL + wide + 6, y + 14, str(count)))
    return _svg(_TOP + _BAR_ROW * len(counts) + 8, parts)


def grouped_bars(groups: Mapping[str, Mapping[str, float]], title: str) -> str:
    """Return horizontal SVG bars in groups, each group to its own scale, in the order given."""
    parts = [_text(12, 18, title, weight="bold")]
    y = float(_TOP)
    for group, values in groups.items():
        parts.append(_text(12, y + 14, group, weight="bold"))
        y += _BAR_ROW
        most = max([1e-12, *values.values()])
        for name, value in values.items():
            wide = (_WIDTH - _BAR_LABEL - 60) * value / most
            parts.append(_text(_BAR_LABEL - 8, y + 14, name, anchor="end"))
            parts.append(
                f'<rect x="{_BAR_LABEL}" y="{y + 3:.1f}" width="{wide:.1f}" height="14" '
                'fill="#4878a8"/>'
            )
            parts.append(_text(_BAR_LABEL + wide + 6, y + 14, f"{value:.3g}"))
            y += _BAR_ROW
    return _svg(round(y) + 8, parts)


def waterfall(stages: Mapping[str, float], title: str) -> str:
    """Return SVG bars of stages that follow one another: each begins where the last one ends.

    Args:
        stages: name -> its length, in the order in which they happen; at least one above 0.
        title: above the plot; names the unit.
    """
    left = _BAR_LABEL + 40
    scale = (_WIDTH - left - 60) / max(1e-12, sum(stages.values()))
    parts, begun = [_text(12, 18, title, weight="bold")], 0.0
    for row, (name, long) in enumerate(stages.items()):
        y, x, wide = _TOP + row * _BAR_ROW, left + scale * begun, scale * long
        parts.append(_text(left - 8, y + 14, name, anchor="end"))
        parts.append(
            f'<rect x="{x:.1f}" y="{y + 3}" width="{max(0.5, wide):.1f}" height="14" '
            f'fill="{_COLOURS[row % len(_COLOURS)]}"/>'
        )
        parts.append(_text(x + wide + 6, y + 14, _plain(long)))
        begun += long
    y = _TOP + len(stages) * _BAR_ROW
    parts.append(_text(left - 8, y + 14, "together", anchor="end", weight="bold"))
    parts.append(_text(left + scale * begun + 6, y + 14, _plain(begun), weight="bold"))
    return _svg(y + _BAR_ROW + 8, parts)


def intervals(
    rows: Sequence[tuple[str, float, float, float]], title: str, low: float, high: float
) -> str:
    """Return a row for each label: its value as a dot, its interval as a line.

    Args:
        rows: (label, value, low end, high end).
        title: above the plot.
        low, high: ends of the axis.
    """
    wide = _WIDTH - _BAR_LABEL - 60

    def x(value: float) -> float:
        return _BAR_LABEL + wide * (min(max(value, low), high) - low) / max(high - low, 1e-12)

    parts = [_text(12, 18, title, weight="bold")]
    base = _TOP + len(rows) * _BAR_ROW
    for value in np.linspace(low, high, 5).tolist():
        parts.append(f'<path d="M{x(value):.1f} {_TOP}V{base}" stroke="#ddd"/>')
        parts.append(_text(x(value), base + 14, _plain(value), anchor="middle"))
    for row, (name, value, start, end) in enumerate(rows):
        y = _TOP + row * _BAR_ROW + 10
        parts.append(_text(_BAR_LABEL - 8, y + 4, name[:36], anchor="end"))
        line = f'<path d="M{x(start):.1f} {y}H{x(end):.1f}" stroke="#4878a8" stroke-width="3"/>'
        parts.append(line)
        parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="4.5" fill="#1f4e79"/>')
        parts.append(_text(_WIDTH - 54, y + 4, f"{value:.1f}" if high > 10 else f"{value:.2f}"))
    return _svg(base + 22, parts)


def curves(lines: Mapping[str, Sequence[tuple[float, float, str]]], title: str, unit: str) -> str:
    """Return an SVG plot of several curves over one axis, values 0 to 1 or to the largest.

    Args:
        lines: name -> points (x, value, what is written at the point), x rising; at least one.
        title: above the plot.
        unit: of x, below the axis.
    """
    points = [point for line in lines.values() for point in line]
    most_x = max(1e-12, *(x for x, _, _ in points))
    most = max(1.0, *(value for _, value, _ in points))
    plot, names = 260, 16 * len(lines)
    width = _WIDTH - _LEFT - 40
    base = _TOP + plot
    parts = [_text(_LEFT, 18, title, weight="bold")]
    for part in range(6):
        value = most * part / 5
        y = base - plot * part / 5
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_LEFT + width}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{value:.2g}", anchor="end"))
    for x in sorted({x for x, _, _ in points}):
        at = _LEFT + width * x / most_x
        parts.append(_text(at, base + 14, _plain(x), anchor="middle"))
    parts.append(_text(_LEFT + width / 2, base + 29, unit, anchor="middle"))
    for row, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        spots = [(_LEFT + width * x / most_x, base - plot * v / most, note) for x, v, note in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in spots)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, note in spots:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
            parts.append(_text(x + 5, y - 6, note))
        y = base + 40 + 16 * row
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="12" height="10" fill="{colour}"/>')
        parts.append(_text(_LEFT + 18, y + 9, name))
    return _svg(base + 48 + names, parts)


def _plain(value: float) -> str:
    """Return three digits of a number, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-size="11" font-family="sans-serif" fill="#222">{html.escape(text)}</text>'
    )


def _svg(height: int, parts: Sequence[str]) -> str:
    inner = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}"><rect width="100%" height="100%" fill="white"/>\n'
        f"{inner}\n</svg>\n"
    )
