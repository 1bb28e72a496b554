"""Pieces of charts in inline SVG: scales, ticks, texts.

Colours are CSS classes (s0 for outside, s1 to s7 for series), so that the page sets them for light
and dark mode. All text is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup, escape

N_COLOURS = 7
LINE_HEIGHT = 13
CHAR_WIDTH = 6.4


@dataclass(frozen=True)
class Scale:
    """A linear map of numbers from low to high to pixels from start to end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + share * (self.end - self.start), 2)


def clean(text: object) -> Markup:
    """Escape text for HTML and XML, without characters that neither may have."""
    return escape(printable(text))


def printable(text: object) -> str:
    """Replace each character that HTML or XML may not have by a space."""
    known = str(text).encode("utf8", "replace").decode("utf8")
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]", " ", known)


def colour_class(number: int) -> str:
    """Return the CSS class of a colour: 0 for outside, else from 1."""
    return "s0" if number <= 0 else f"s{(number - 1) % N_COLOURS + 1}"


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Choose round numbers from low to high, at steps of 1, 2 or 5 times a power of ten.

    low (float): Lower end.
    high (float): Upper end.
    wanted (int): About how many numbers.
    RETURNS (list[float]): Ascending.
    """
    span = high - low
    if not span > 0:
        return [low]
    power = 10 ** math.floor(math.log10(span / wanted))
    steps = [s * power for s in (10, 5, 2, 1)]
    n_fit = sum(span / step <= wanted * 1.01 for step in steps)
    # if no multiple of a step lies between the ends, take the next smaller step
    for step in steps[n_fit - 1 :]:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if first <= last:
            break
    return [round(i * step, 10) + 0.0 for i in range(first, last + 1)]


def short(value: float) -> str:
    """Format a number in few characters: 12k, 3.5, 0.04."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}".replace("-", "−")


def percent(value: float) -> str:
    """Format a fraction in percent."""
    return f"{100 * value:.3g} %"


def element(title: str, facts: str, size: tuple[int, int], body: Sequence[str]) -> Markup:
    inside = "\n".join(body)
    return Markup(
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" style="max-width:{size[0] * 1.35:.0f}px">'
        f"<title>{clean(title)}</title><desc>{clean(facts)}</desc>\n{inside}\n</svg>"
    )


def text_at(x: float, y: float, text: str, anchor: str = "start", css: str = "tick") -> str:
    return (
        f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{clean(text)}</text>'
    )


def line_at(css: str, x: tuple[float, float], y: tuple[float, float]) -> str:
    return f'<line class="{css}" x1="{x[0]}" x2="{x[1]}" y1="{y[0]}" y2="{y[1]}"/>'


def shorten(name: str, size: int) -> str:
    return name if len(name) <= size else name[: size - 1] + "…"


def around(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis that holds all values, with a margin."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 0.5
    return (0.0 if 0 <= low <= high / 2 else low - room), high + room


def grid(
    up: Scale, across: Scale, places: Sequence[float], show: Callable[[float], str]
) -> list[str]:
    lines = []
    for place in places:
        y = up(place)
        lines.append(line_at("gridline", (across.start, across.end), (y, y)))
        lines.append(text_at(across.start - 7, y + 4, show(place), "end"))
    return lines


def spread(heights: Sequence[float], top: float, bottom: float) -> list[float]:
    """Move sorted heights apart as little as needed, and keep them within the chart.

    heights (Sequence[float]): Ascending.
    top (float): Smallest height.
    bottom (float): Largest height, if there is enough room.
    RETURNS (list[float]): Heights at least a line apart.
    """
    inside = [max(height, top) for height in heights]
    lowered = [*accumulate(inside, lambda above, height: max(height, above + LINE_HEIGHT))]
    inside = [min(height, bottom) for height in reversed(lowered)]
    raised = [*accumulate(inside, lambda below, height: min(height, below - LINE_HEIGHT))]
    return raised[::-1]
