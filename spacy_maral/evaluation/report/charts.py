"""Charts as inline SVG: lines, histograms, heat maps, points and bars, with titles for screen readers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .svg import (
    CHAR_WIDTH,
    Scale,
    around,
    clean,
    colour_class,
    element,
    grid,
    line_at,
    short,
    shorten,
    spread,
    text_at,
    ticks,
)

Values = Sequence[float | None]

MANY_EPOCHS = 12
SIZE = (380, 210)
MAP_SIZE = (760, 520)


@dataclass(frozen=True)
class Series:
    """Named values. colour: 0 for outside, else from 1, repeated after N_COLOURS."""

    name: str
    values: Values
    colour: int = 1

    def known(self, x: Sequence[int]) -> list[tuple[int, float]]:
        """Return the places and values that are not None."""
        return [(p, v) for p, v in zip(x, self.values, strict=True) if v is not None]


@dataclass(frozen=True)
class Curve:
    """A line through points (x, y)."""

    points: Sequence[tuple[float, float]]
    css: str


@dataclass(frozen=True)
class Points:
    """Points of one class and one shape, with a text for each."""

    name: str
    xy: Sequence[tuple[float, float]]
    texts: Sequence[str]
    colour: int
    marker: str


def line_chart(
    title: str,
    x: Sequence[int],
    series: Sequence[Series],
    *,
    y_range: tuple[float, float] | None = None,
    reference: tuple[float, str] | None = None,
    marked: int | None = None,
    show: Callable[[float], str] = short,
) -> Markup:
    """Draw values over epochs, with the name of each line at its right end.

    title (str): Title, for screen readers.
    x (Sequence[int]): Epochs.
    series (Sequence[Series]): Lines; a value is None where there is none.
    y_range (tuple): Ends of the vertical axis; by default they fit the values.
    reference (tuple): A value to compare with, and its name.
    marked (int): An epoch to mark by a vertical line.
    show (Callable): Formats a value.
    RETURNS (Markup): An svg element.
    """
    width, height = SIZE
    known = [v for line in series for v in line.values if v is not None]
    low, high = y_range or around([*known, *([reference[0]] if reference else [])])
    drawn = [line for line in series if line.known(x)]
    right = 24 + CHAR_WIDTH * max([min(len(line.name), 14) for line in drawn], default=0)
    alone = len(x) == 1
    across = Scale(min(x) - alone, max(x) + alone, 46, width - right - 6)
    up = Scale(low, high, height - 26, 12)
    body = grid(up, across, ticks(low, high), show)
    step = math.ceil(len(x) / 10)
    body += [text_at(across(n), height - 9, str(n), "middle") for n in x[::step]]
    if marked is not None and marked in x and not alone:
        body.append(line_at("marked", (across(marked), across(marked)), (6, up.start)))
    if reference is not None:
        y = up(reference[0])
        body.append(line_at("ref", (across.start, across.end), (y, y)))
        body.append(text_at(across.start + 4, y - 4, reference[1], css="note"))
    for line in drawn:
        body += _line(line, x, across, up, show)
    body += _end_labels(drawn, x, across, up)
    facts = []
    for line in drawn:
        points = line.known(x)
        (first, start), (last, end) = points[0], points[-1]
        facts.append(f"{line.name}: {show(start)} at epoch {first}, {show(end)} at epoch {last}")
    return element(title, "; ".join(facts), SIZE, body)


def histogram(
    title: str,
    edges: Sequence[float],
    stacks: Sequence[tuple[str, Sequence[int], str]],
    *,
    curves: Sequence[Curve] = (),
    cut: float | None = None,
    size: tuple[int, int] = SIZE,
) -> Markup:
    """Draw stacked counts in bins, with curves and a vertical cut.

    title (str): Title, for screen readers.
    edges (Sequence[float]): Ends of the bins, one more than there are bins.
    stacks (Sequence[tuple]): Name, count of each bin, and CSS class; the first is at the bottom.
    curves (Sequence[Curve]): In the units of the axes.
    cut (float): Place of the cut, if there is one.
    size (tuple): Width and height.
    RETURNS (Markup): An svg element.
    """
    width, height = size
    sums = [sum(bins) for bins in zip(*(counts for _, counts, _ in stacks), strict=True)]
    top = max([*sums, *(y for curve in curves for _, y in curve.points), 1]) * 1.04
    across = Scale(edges[0], edges[-1], 46, width - 12)
    up = Scale(0, top, height - 26, 22)
    body = grid(up, across, ticks(0, top), short)
    body += [
        text_at(across(t), height - 9, short(t), "middle") for t in ticks(edges[0], edges[-1], 6)
    ]
    base = [0] * len(sums)
    for name, counts, css in stacks:
        for i, count in enumerate(counts):
            if count:
                x, right = across(edges[i]), across(edges[i + 1])
                y, bottom = up(base[i] + count), up(base[i])
                body.append(
                    f'<rect class="bar {css}" x="{x}" y="{y}" width="{max(right - x - 0.6, 0.4):.2f}" '
                    f'height="{bottom - y:.2f}"><title>{clean(name)}: {count:,} from '
                    f"{short(edges[i])} to {short(edges[i + 1])}</title></rect>"
                )
                base[i] += count
    for curve in curves:
        points = " ".join(f"{across(x)},{up(y)}" for x, y in curve.points)
        body.append(f'<polyline class="curve {curve.css}" points="{points}"/>')
    if cut is not None and edges[0] <= cut <= edges[-1]:
        x = across(cut)
        shift, anchor = (5, "start") if x < (across.start + across.end) / 2 else (-5, "end")
        body.append(line_at("cut", (x, x), (10, up.start)))
        body.append(text_at(x + shift, 17, f"cut {short(cut)}", anchor, "note"))
    facts = ", ".join(f"{sum(counts):,} {name}" for name, counts, _ in stacks)
    return element(title, facts + (f"; cut at {short(cut)}" if cut is not None else ""), size, body)


def heat_map(
    title: str,
    names: Sequence[str],
    values: Sequence[Values],
    *,
    strengths: Sequence[Values],
    show: Callable[[float], str] = short,
    axes: tuple[str, str] | None = None,
) -> Markup:
    """Draw a square table of numbers on coloured ground.

    title (str): Title, for screen readers.
    names (Sequence[str]): Names of the rows, and of the columns.
    values (Sequence): Rows of numbers.
    strengths (Sequence): Colour of each value, from -1 (one hue) over 0 (none) to 1 (another).
    show (Callable): Formats a value.
    axes (tuple): Names of the two axes, rows first, if they need any.
    RETURNS (Markup): An svg element.
    """
    cell = (58, 38)
    longest = max(min(len(name), 12) for name in names)
    room = 16 if axes else 0
    left, top = 16 + room + CHAR_WIDTH * longest, 24 + room
    size = (round(left + cell[0] * len(names) + 4), top + cell[1] * len(names) + 4)
    body = []
    if axes:
        body.append(text_at(left, 13, f"{axes[1]} →", css="note"))
        body.append(text_at(2, top - 8, f"{axes[0]} ↓", css="note"))
    for i, name in enumerate(names):
        body.append(text_at(left + (i + 0.5) * cell[0], top - 8, shorten(name, 8), "middle"))
        y = top + i * cell[1]
        body.append(text_at(left - 8, y + cell[1] / 2 + 4, shorten(name, 12), "end"))
        for j, value in enumerate(values[i]):
            x = left + j * cell[0]
            share = max(-1.0, min(1.0, strengths[i][j] or 0.0))
            shown = "–" if value is None else show(value)
            body.append(
                f'<rect class="cell {"neg" if share < 0 else "pos"}" x="{x + 1:.1f}" y="{y + 1}" '
                f'width="{cell[0] - 2}" height="{cell[1] - 2}" rx="4" '
                f'fill-opacity="{0.06 + 0.54 * abs(share):.3f}">'
                f"<title>{clean(name)}, {clean(names[j])}: {clean(shown)}</title></rect>"
            )
            body.append(text_at(x + cell[0] / 2, y + cell[1] / 2 + 4, shown, "middle", "value"))
    return element(title, f"{len(names)} rows, {len(names)} columns", size, body)


def scatter(title: str, groups: Sequence[Points]) -> Markup:
    """Draw points without axes: only their distances mean something.

    title (str): Title, for screen readers.
    groups (Sequence[Points]): Points; the marker is "circle" or "diamond".
    RETURNS (Markup): An svg element.
    """
    width, height = MAP_SIZE
    xs = [x for group in groups for x, _ in group.xy]
    ys = [y for group in groups for _, y in group.xy]
    across = Scale(min(xs, default=0), max(xs, default=1), 12, width - 12)
    up = Scale(min(ys, default=0), max(ys, default=1), height - 12, 12)
    body = []
    for group in groups:
        body.append(f'<g class="point {colour_class(group.colour)} {group.marker}">')
        for (x, y), text in zip(group.xy, group.texts, strict=True):
            px, py = across(x), up(y)
            shape, place = "circle", f'cx="{px}" cy="{py}" r="2.8"'
            if group.marker != "circle":
                shape, place = "path", f'd="M{px} {round(py - 4, 2)}l4 4l-4 4l-4-4z"'
            body.append(f"<{shape} {place}><title>{clean(text)}</title></{shape}>")
        body.append("</g>")
    facts = ", ".join(f"{len(group.xy):,} {group.name}" for group in groups)
    return element(title, facts, MAP_SIZE, body)


def bar_chart(
    title: str, bars: Sequence[tuple[str, float, int]], *, show: Callable[[float], str] = short
) -> Markup:
    """Draw horizontal bars, each between its name and its value.

    title (str): Title, for screen readers.
    bars (Sequence[tuple]): Name, length (not below 0) and colour of each bar.
    show (Callable): Formats a length.
    RETURNS (Markup): An svg element.
    """
    left = 14 + CHAR_WIDTH * max((len(name) for name, *_ in bars), default=0)
    room = 12 + CHAR_WIDTH * max((len(show(value)) for _, value, _ in bars), default=0)
    across = Scale(0, max((value for _, value, _ in bars), default=0) or 1, left, SIZE[0] - room)
    body = []
    for i, (name, value, colour) in enumerate(bars):
        y, shown = 6 + 28 * i, show(value)
        body.append(text_at(left - 8, y + 14, name, "end"))
        length = across(value) - across.start
        body.append(
            f'<rect class="solid {colour_class(colour)}" x="{left:.1f}" y="{y}" '
            f'width="{max(length, 1):.2f}" height="20" rx="3">'
            f"<title>{clean(name)}: {clean(shown)}</title></rect>"
        )
        body.append(text_at(left + length + 6, y + 14, shown, css="value"))
    facts = ", ".join(f"{name}: {show(value)}" for name, value, _ in bars)
    return element(title, facts, (SIZE[0], 28 * len(bars) + 8), body)


def _line(
    line: Series, x: Sequence[int], across: Scale, up: Scale, show: Callable[[float], str]
) -> list[str]:
    """Draw a line, broken where values are missing, and its markers."""
    css = colour_class(line.colour)
    runs: list[list[str]] = [[]]
    marks = []
    radius = 3.2 if len(x) <= MANY_EPOCHS else 2.2
    for place, value in zip(x, line.values, strict=True):
        if value is None:
            runs.append([])
            continue
        px, py = across(place), up(value)
        runs[-1].append(f"{px},{py}")
        tip = f"{clean(line.name)}, epoch {place}: {clean(show(value))}"
        marks.append(f'<circle cx="{px}" cy="{py}" r="{radius}"><title>{tip}</title></circle>')
    drawn = [f'<polyline points="{" ".join(run)}"/>' for run in runs if len(run) > 1]
    return [f'<g class="line {css}">', *drawn, *marks, "</g>"]


def _end_labels(series: Sequence[Series], x: Sequence[int], across: Scale, up: Scale) -> list[str]:
    """Write names of lines at their last values, moved apart where they would overlap."""
    places = sorted(((up(line.known(x)[-1][1]), line) for line in series), key=lambda p: p[0])
    heights = spread([y for y, _ in places], up.end, up.start)
    labels = []
    for y, (_, line) in zip(heights, places, strict=True):
        key = f"key {colour_class(line.colour)}"
        labels.append(line_at(key, (across.end + 8, across.end + 16), (y, y)))
        labels.append(text_at(across.end + 20, y + 4, shorten(line.name, 14), css="label"))
    return labels
