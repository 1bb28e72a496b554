"""Grouped bars as inline SVG: several values for each of some names, such as a score by class of several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from .charts import SIZE, Series
from .svg import Scale, clean, colour_class, element, grid, line_at, short, shorten, text_at, ticks

BAR, GAP = 18, 16


def grouped_bars(
    title: str,
    names: Sequence[str],
    series: Sequence[Series],
    *,
    show: Callable[[float], str] = short,
) -> Markup:
    """Draw a group of vertical bars for each name, one bar of each series.

    title (str): Title, for screen readers.
    names (Sequence[str]): Names of the groups.
    series (Sequence[Series]): A value for each name; None where there is none. Bars of negative values hang down.
    show (Callable): Formats a value.
    RETURNS (Markup): An svg element.
    """
    known = [v for line in series for v in line.values if v is not None]
    low, high = min([0.0, *known]), max([0.0, *known]) or 1.0
    wide = len(series) * BAR + GAP
    width, height = max(SIZE[0], 58 + wide * len(names)), SIZE[1]
    up = Scale(low - 0.06 * (high - low) * (low < 0), high * 1.06, height - 26, 12)
    across = Scale(0, len(names), 46, width - 12)
    body = grid(up, across, ticks(up.low, up.high), show)
    zero = up(0.0)
    for i, name in enumerate(names):
        middle = (across(i) + across(i + 1)) / 2
        body.append(text_at(middle, height - 9, shorten(name, 12), "middle"))
        for j, line in enumerate(series):
            value = line.values[i]
            if value is None:
                continue
            y = up(value)
            left = middle + (j - len(series) / 2) * BAR
            body.append(
                f'<rect class="solid {colour_class(line.colour)}" x="{left + 1:.1f}" y="{min(y, zero)}" '
                f'width="{BAR - 2}" height="{max(abs(zero - y), 1):.2f}" rx="2">'
                f"<title>{clean(name)}, {clean(line.name)}: {clean(show(value))}</title></rect>"
            )
    body.append(line_at("gridline", (across.start, across.end), (zero, zero)))
    facts = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{line.name} {'–' if line.values[i] is None else show(line.values[i] or 0.0)}"
            for line in series
        )
        for i, name in enumerate(names)
    )
    return element(title, facts, (width, height), body)
